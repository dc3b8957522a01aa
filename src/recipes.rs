//! How an [`Upstream`](crate::Upstream) goes with what tower and tower-http have. A page of examples,
//! without items.
//!
//! The handle is an ordinary service, so it stands at the bottom of any client stack; each request
//! that comes through takes its place in the one pool.
//!
//! * [Retries within a budget](#retries-within-a-budget)
//! * [Several origins in balance](#several-origins-in-balance)
//! * [Redirects](#redirects)
//! * [Compressed bodies](#compressed-bodies)
//! * [Fields for every request](#fields-for-every-request)
//! * [Traces](#traces)
//!
//! # Retries within a budget
//!
//! The handle sends a request once, but for the cases that [`send`](crate::Upstream::send) names. More
//! is a matter of policy, which tower's `retry` takes: this one tries again what was never sent,
//! whatever its method, and what an overloaded upstream refused if that may be sent twice. The budget,
//! shared by all, keeps retries from adding to an overload: a tenth of the requests, and a few more.
//!
//! ```
//! use std::{future::{Ready, ready}, sync::Arc, time::Duration};
//!
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{
//!     ServiceBuilder, ServiceExt,
//!     retry::{Policy, RetryLayer, budget::{Budget, TpsBudget}},
//! };
//! use tower_upstream::{Error, Upstream, UpstreamBody};
//!
//! #[derive(Clone)]
//! struct Again {
//!     budget: Arc<TpsBudget>,
//!     tries_left: usize,
//! }
//!
//! impl Policy<Request<Full<Bytes>>, Response<UpstreamBody>, Error> for Again {
//!     type Future = Ready<()>;
//!
//!     fn retry(
//!         &mut self,
//!         request: &mut Request<Full<Bytes>>,
//!         result: &mut Result<Response<UpstreamBody>, Error>,
//!     ) -> Option<Ready<()>> {
//!         let worth_it = match result {
//!             Ok(response) => {
//!                 response.status() == StatusCode::SERVICE_UNAVAILABLE
//!                     && request.method().is_idempotent()
//!             }
//!             Err(error) => !error.was_sent(),
//!         };
//!         if !worth_it {
//!             self.budget.deposit();
//!             return None;
//!         }
//!         self.tries_left = self.tries_left.checked_sub(1)?;
//!         self.budget.withdraw().then(|| ready(()))
//!     }
//!
//!     fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
//!         Some(request.clone())
//!     }
//! }
//!
//! # use std::sync::atomic::{AtomicBool, Ordering};
//! # use axum::{Router, routing::get};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let origin = format!("http://{}", listener.local_addr()?);
//! # let busy = Arc::new(AtomicBool::new(true));
//! # let app = Router::new().route("/", get(async move || {
//! #     if busy.swap(false, Ordering::Relaxed) {
//! #         return StatusCode::SERVICE_UNAVAILABLE;
//! #     }
//! #     StatusCode::OK
//! # }));
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! let policy = Again {
//!     budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.1)),
//!     tries_left: 2,
//! };
//! let upstream = Upstream::builder().build()?;
//! let client = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(upstream);
//!
//! // The server refuses the first.
//! let request = Request::get(origin).body(Full::default())?;
//! assert_eq!(client.oneshot(request).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! # Several origins in balance
//!
//! [`at`](crate::Upstream::at) makes a service of each origin, tower's balancer picks the one of two
//! with fewer requests under way, and [`CompleteOnBodyEnd`](crate::CompleteOnBodyEnd) has one count as
//! such until its body ends. They share the handle's pool and its limits.
//!
//! ```
//! use http::Request;
//! use http_body_util::BodyExt;
//! use tower::{
//!     Service, ServiceExt, balance::p2c::Balance, discover::ServiceList, load::PendingRequests,
//! };
//! use tower_upstream::{CompleteOnBodyEnd, Origin, Upstream};
//!
//! # use axum::{Router, routing::get};
//! # async fn serve(name: &'static str) -> Result<Origin, tower::BoxError> {
//! #     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! #     let origin = format!("http://{}", listener.local_addr()?).parse()?;
//! #     let app = Router::new().route("/", get(move || async move { name }));
//! #     tokio::spawn(async move { axum::serve(listener, app).await });
//! #     Ok(origin)
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower::BoxError> {
//! # let origins = [serve("a").await?, serve("b").await?];
//! let upstream = Upstream::builder().build()?;
//! let endpoints = origins.map(|origin| {
//!     PendingRequests::new(upstream.at(origin), CompleteOnBodyEnd::default())
//! });
//! let mut balance = Balance::new(ServiceList::new::<Request<String>>(endpoints));
//!
//! let request = || Request::get("/").body(String::new());
//! let first = balance.ready().await?.call(request()?).await?;
//! let second = balance.ready().await?.call(request()?).await?;
//! // The first is not over, so the second went to the other one.
//! let (first, second) = (first.collect().await?.to_bytes(), second.collect().await?.to_bytes());
//! assert_ne!(first, second);
//! # Ok(())
//! # }
//! ```
//!
//! # Redirects
//!
//! tower-http's `FollowRedirect` drops credentials on the way to another origin, and they stay
//! dropped. It drops the request's extensions too, a [`Timeouts`](crate::Timeouts) among them, unless
//! its policy is told to keep them. Where URIs come from users, the builder's
//! [`allow_addresses`](crate::UpstreamBuilder::allow_addresses) looks at each hop.
//!
//! ```
//! use http::{Request, header::AUTHORIZATION};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http::follow_redirect::FollowRedirectLayer;
//! use tower_upstream::Upstream;
//!
//! # use axum::{Router, http::HeaderMap, response::Redirect, routing::get};
//! # async fn serve(app: Router) -> std::io::Result<String> {
//! #     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! #     let origin = format!("http://{}", listener.local_addr()?);
//! #     tokio::spawn(async move { axum::serve(listener, app).await });
//! #     Ok(origin)
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seen = async |headers: HeaderMap| format!("{:?}", headers.get(AUTHORIZATION));
//! # let elsewhere = serve(
//! #     Router::new()
//! #         .route("/", get(async || Redirect::temporary("/again")))
//! #         .route("/again", get(seen)),
//! # )
//! # .await?;
//! # let to = elsewhere.clone();
//! # let origin = serve(
//! #     Router::new()
//! #         .route("/", get(async || Redirect::temporary("/here")))
//! #         .route("/here", get(seen))
//! #         .route("/away", get(async move || Redirect::temporary(&to))),
//! # )
//! # .await?;
//! let upstream = Upstream::builder().build()?;
//! let client = ServiceBuilder::new()
//!     .layer(FollowRedirectLayer::new())
//!     .service(upstream);
//!
//! # for (path, sent) in [("/", true), ("/away", false)] {
//! let request = Request::get(format!("{origin}{path}"))
//!     .header(AUTHORIZATION, "Bearer token")
//!     .body(String::new())?;
//! let response = client.clone().oneshot(request).await?;
//! # let text = response.into_body().text(1000).await?;
//! # assert_eq!(text != "None", sent, "credentials stay with their origin: {text}");
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Compressed bodies
//!
//! tower-http's `Decompression` asks for them and inflates them as they stream. What they inflate to
//! has no bound but the reader's; [`Truncate`](crate::Truncate) cuts what it is given.
//!
//! ```
//! use http::Request;
//! use http_body_util::{BodyExt, Limited};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http::decompression::DecompressionLayer;
//! use tower_upstream::Upstream;
//!
//! # use axum::{Router, routing::get};
//! # use tower_http::compression::CompressionLayer;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let origin = format!("http://{}", listener.local_addr()?);
//! # let app = Router::new().route("/", get(async || "hello, ".repeat(100)));
//! # let app = app.layer(CompressionLayer::new());
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! let upstream = Upstream::builder().build()?;
//! let client = ServiceBuilder::new()
//!     .layer(DecompressionLayer::new())
//!     .service(upstream);
//!
//! let response = client.oneshot(Request::get(origin).body(String::new())?).await?;
//! let body = Limited::new(response.into_body(), 1_000_000);
//! assert_eq!(body.collect().await?.to_bytes(), "hello, ".repeat(100));
//! # Ok(())
//! # }
//! ```
//!
//! # Fields for every request
//!
//! ```
//! use http::{HeaderValue, Request, header::USER_AGENT};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http::set_header::SetRequestHeaderLayer;
//! use tower_upstream::Upstream;
//!
//! # use axum::{Router, http::HeaderMap, routing::get};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let origin = format!("http://{}", listener.local_addr()?);
//! # let app = Router::new().route("/", get(async |headers: HeaderMap| {
//! #     headers[USER_AGENT].to_str().unwrap_or_default().to_owned()
//! # }));
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! let upstream = Upstream::builder().build()?;
//! let agent = HeaderValue::from_static("previews/1.0");
//! let client = ServiceBuilder::new()
//!     .layer(SetRequestHeaderLayer::if_not_present(USER_AGENT, agent))
//!     .service(upstream);
//!
//! let response = client.oneshot(Request::get(origin).body(String::new())?).await?;
//! assert_eq!(response.into_body().text(100).await?, "previews/1.0");
//! # Ok(())
//! # }
//! ```
//!
//! # Traces
//!
//! A span for each request, that lasts until its body ends. tower-http's own records the whole URI,
//! and a query may hold a secret; this one keeps to the path.
//!
//! ```
//! use http::Request;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http::trace::TraceLayer;
//! use tower_upstream::Upstream;
//!
//! # use axum::{Router, routing::get};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let origin = format!("http://{}", listener.local_addr()?);
//! # let app = Router::new().route("/", get(async || "hello"));
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! let upstream = Upstream::builder().build()?;
//! let trace = TraceLayer::new_for_http().make_span_with(|request: &Request<String>| {
//!     tracing::info_span!("upstream", method = %request.method(), path = request.uri().path())
//! });
//! let client = ServiceBuilder::new().layer(trace).service(upstream);
//!
//! let response = client.oneshot(Request::get(origin).body(String::new())?).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
