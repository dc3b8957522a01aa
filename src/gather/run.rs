//! Sets a gather going.

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use tower::{BoxError, Service};

use super::{
    Gather, GatherBody, Legs,
    body::Joint,
    deadline::Deadline,
    format::Writer,
    legs::{Call, Head, Running},
    order::Line,
    read::Read,
    report::{Refusal, Tally},
    stream::Raw,
};
use crate::{
    answer::RETRY_AFTER,
    truncate::{Invalid, Truncate, Uncuttable},
};

impl<B> Gather<B> {
    /// Sends the requests and joins the answers; the head comes once the status is known, and the
    /// body streams.
    ///
    /// Each request is [prepared](Truncate::prepare) first: it asks for `Accept-Encoding: identity`, and
    /// a `GET` or `HEAD` loses its `Range` and conditional fields. The response has
    /// `Cache-Control: no-store` and `X-Content-Type-Options: nosniff`.
    ///
    /// # Errors
    ///
    /// None: failures stand in the response. It is 200 as soon as one leg was answered with a 2xx
    /// status, or if there are no legs; if all failed, it is 502, or 504 if the worst was a
    /// timeout, or 503 with `Retry-After` if all were turned away.
    ///
    /// # Cancellation
    ///
    /// Dropping the future or the body drops every leg, and frees what it holds. They run in the
    /// caller's task, and only while it polls.
    pub fn send<S, RB>(
        self,
        service: &S,
    ) -> impl Future<Output = Response<GatherBody>> + Send + use<S, B, RB>
    where
        S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Send + 'static,
        RB: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let content_type = self.format.content_type();
        let mut body = self.body(service);
        async move {
            let status = std::future::poll_fn(|cx| body.poll_status(cx)).await;
            respond(status, content_type, body)
        }
    }

    /// Sends the requests and hands the responses out as they are, for those who join them
    /// otherwise.
    ///
    /// Here a leg may keep its connection while another waits for one: a head that waits for its
    /// turn, a body that the caller has not read. Two callers that do that can wait for each other,
    /// until the pool's timeout. With [`Order::Completion`](crate::Order::Completion), and each
    /// body read to its end before the next leg is taken, they cannot.
    ///
    /// The requests are sent as they are; see [`Truncate::prepare`] for cutting the answers.
    pub fn stream<S, RB>(self, service: &S) -> Legs<RB>
    where
        S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Send + 'static,
        RB: Send + 'static,
    {
        let (order, fail_fast, at_once) = (self.order, self.fail_fast, self.max_concurrent);
        let deadline = Deadline::new(self.deadline);
        let line = Line::new(order, self.targets.len());
        let service = service.clone();
        let heads = self.targets();
        let heads = heads.map(move |(index, target)| Head::new(index, target, service.clone()));
        Legs::new(Raw {
            legs: Running::new(heads, at_once),
            line,
            fail_fast,
            deadline,
        })
    }

    fn body<S, RB>(mut self, service: &S) -> GatherBody
    where
        S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Send + 'static,
        RB: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let legs = self.targets.len().min(self.max_legs).max(1);
        let room = self.max_output / legs;
        let truncate = as_text(self.truncate.take(), room);
        for request in self.targets.iter_mut().flatten() {
            truncate.prepare(request);
        }
        let (order, format) = (self.order, std::mem::take(&mut self.format));
        let (fail_fast, at_once) = (self.fail_fast, self.max_concurrent);
        let deadline = Deadline::new(self.deadline);
        let line = Line::new(order, self.targets.len());
        let service = service.clone();
        let reads = self.targets().map(move |(index, target)| {
            let call = Call::new(target, service.clone());
            Read::new(index, call, truncate.clone(), room)
        });
        GatherBody::new(Joint {
            legs: Running::new(reads, at_once),
            line,
            tally: Tally::default(),
            writer: Writer::new(format),
            fail_fast,
            deadline,
        })
    }

    /// What the legs are to ask for, in request order, and each leg's index.
    fn targets(self) -> impl Iterator<Item = (usize, Result<Request<B>, Refusal>)> {
        let max_legs = self.max_legs;
        let targets = self.targets.into_iter().enumerate();
        targets.map(move |(index, target)| {
            let target = target.map_err(Refusal::Target);
            let target = target.and_then(|request| match index < max_legs {
                true => Ok(request),
                false => Err(Refusal::TooMany),
            });
            (index, target)
        })
    }
}

/// Reads everything as text, up to the user's limit.
fn as_text(limit: Option<Truncate>, room: usize) -> Truncate {
    // A character is at least one byte, so that this never ends what has room.
    let limit = limit.unwrap_or_else(|| Truncate::chars(room as u64 + 1));
    limit
        .any_type()
        .any_status()
        .invalid(Invalid::Replace)
        .uncuttable(Uncuttable::Refuse)
}

fn respond(
    status: StatusCode,
    content_type: HeaderValue,
    body: GatherBody,
) -> Response<GatherBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    let no_sniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}
