use http::Response;
use http_body::Body;
use tower::load::completion::TrackCompletion;

use crate::limit::HeldBody;

/// Counts a request as done when its response body has ended: for tower's load metrics.
///
/// tower's own `CompleteOnResponse` ends at the response's head, so that a balancer takes an
/// endpoint with a hundred downloads under way for an idle one. This is for
/// [`PendingRequests`](tower::load::PendingRequests), which counts. It suits
/// [`PeakEwma`](tower::load::PeakEwma) less, which measures time: a client that reads slowly would
/// make its endpoint look slow.
///
/// ```
/// use std::convert::Infallible;
///
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Service, load::{Load, PendingRequests}, service_fn};
/// use tower_upstream::CompleteOnBodyEnd;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Infallible> {
/// let service = service_fn(async |_: Request<()>| {
///     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
/// });
/// let mut service = PendingRequests::new(service, CompleteOnBodyEnd::default());
///
/// let idle = service.load();
/// let response = service.call(Request::new(())).await?;
/// assert!(service.load() > idle, "its body is still to come");
/// drop(response);
/// assert_eq!(service.load(), idle);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CompleteOnBodyEnd;

impl<H, B: Body> TrackCompletion<H, Response<B>> for CompleteOnBodyEnd {
    type Output = Response<HeldBody<B, H>>;

    fn track_completion(&self, handle: H, response: Response<B>) -> Self::Output {
        response.map(|body| HeldBody::new(body, handle))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt, channel::Channel};
    use tower::{
        Service,
        load::{Load, PendingRequests},
        service_fn,
    };

    use super::*;

    #[tokio::test]
    async fn a_request_is_pending_until_its_body_ends() {
        let (sender, body) = Channel::<Bytes>::new(1);
        let mut body = Some(body);
        let service = service_fn(move |_: Request<()>| {
            let body = body.take().unwrap();
            async { Ok::<_, &str>(Response::new(body)) }
        });
        let mut service = PendingRequests::new(service, CompleteOnBodyEnd);
        let idle = service.load();
        let mut response = service.call(Request::new(())).await.unwrap();
        assert!(service.load() > idle, "a streamed response counts");
        drop(sender);
        assert!(response.frame().await.is_none());
        assert_eq!(service.load(), idle, "one that has ended does not");
    }
}
