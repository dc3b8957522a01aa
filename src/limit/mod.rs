//! Limits that last as long as the response body.
//!
//! tower's limit layers free their permit when the response *future* is done, which for HTTP is at
//! the head: a hundred responses that are still being streamed count as none.
//! [`UntilBodyEndLayer`] takes any such layer as it is and makes its permit last until the body
//! ends, fails or is dropped, whichever is first. It also moves the waiting from `poll_ready` into
//! the call, so that an idle server connection, which servers are free to poll for readiness, holds
//! nothing. [`WaitLayer`] puts a bound on that waiting.
//!
//! # Example
//!
//! Ten requests at work at once, twenty more that wait for at most a second, and a refusal at once
//! for the rest:
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{
//!     BoxError, Service, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer,
//!     load_shed::LoadShedLayer, service_fn,
//! };
//! use tower_upstream::limit::{UntilBodyEndLayer, WaitLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let admission = ServiceBuilder::new()
//!     .layer(LoadShedLayer::new())
//!     .layer(GlobalConcurrencyLimitLayer::new(10 + 20))
//!     .layer(WaitLayer::new(Duration::from_secs(1)))
//!     .layer(GlobalConcurrencyLimitLayer::new(10));
//!
//! let service = ServiceBuilder::new()
//!     .layer(UntilBodyEndLayer::new(admission))
//!     .service(service_fn(async |_: Request<()>| {
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
//!     }));
//!
//! let response = service.oneshot(Request::new(())).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Under axum
//!
//! `Router::layer` applies a layer once per route, and `ConcurrencyLimitLayer` makes a limit of its
//! own each time: use `GlobalConcurrencyLimitLayer`, whose copies share one. A limit that only waits
//! has the error type of the service below it, and so needs no `HandleErrorLayer`; one that sheds or
//! times out does. [`UpstreamLayer`](crate::UpstreamLayer) is the stack above with its refusals
//! turned into responses.

mod held;
#[cfg(test)]
mod tests;
mod until_body_end;
mod wait;

pub(crate) use self::until_body_end::{ErasedPermit, Stop};
pub use self::{
    held::HeldBody,
    until_body_end::{
        Admit, Candidate, Permit, UntilBodyEnd, UntilBodyEndFuture, UntilBodyEndLayer,
    },
    wait::{Wait, WaitFuture, WaitLayer, WaitTimeout},
};
