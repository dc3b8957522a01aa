//! Asks each exchange for its `Timing`, and adds it to the phases when its body has gone.

use std::sync::Arc;

use axum::http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Service, service_fn};
use tower_upstream::Timing;

use crate::phases::Phases;

struct Record {
    timing: Timing,
    phases: Arc<Phases>,
}

/// The service must always be ready, as a handle and what is made of one are.
pub(crate) fn timed<S, B, R>(
    mut service: S,
    phases: Arc<Phases>,
) -> impl Service<
    Request<B>,
    Response = Response<impl Body<Data = R::Data, Error = R::Error> + Send + Unpin>,
    Error = S::Error,
    Future: Send,
> + Clone
+ Send
+ Sync
where
    S: Service<Request<B>, Response = Response<R>, Error: Send, Future: Send> + Clone + Send + Sync,
    R: Body + Send + Unpin,
{
    service_fn(move |mut request: Request<B>| {
        let timing = request.extensions_mut().get_or_insert_default::<Timing>();
        let record = Record {
            timing: timing.clone(),
            phases: phases.clone(),
        };
        let response = service.call(request);
        async move {
            let response = response.await?;
            Ok(response.map(|body| {
                body.map_err(move |error| {
                    // It goes with the body, and after it: the drop of a body is an exchange's end.
                    let _held = &record;
                    error
                })
            }))
        }
    })
}

impl Drop for Record {
    fn drop(&mut self) {
        self.phases.record(&self.timing);
    }
}
