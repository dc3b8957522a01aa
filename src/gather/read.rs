use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tower::{BoxError, Service};

use super::{
    legs::{Call, Task},
    report::{End, Failure, Report},
    text::Text,
};
use crate::{
    error::ErrorKind,
    truncate::{Truncate, TruncateBody},
};

pin_project! {
    /// One leg from its call to its end. It reads on whether or not its turn has come: see the
    /// module's docs for why.
    pub(super) struct Read<S: Service<Request<B>>, B, RB> {
        report: Report,
        truncate: Truncate,
        #[pin]
        state: State<S, B, RB>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S: Service<Request<B>>, B, RB> {
        Call { #[pin] call: Call<S, B> },
        Body { #[pin] body: TruncateBody<RB> },
    }
}

impl<S: Service<Request<B>>, B, RB> Read<S, B, RB> {
    /// Reads at most `room` bytes of text.
    pub(super) fn new(index: usize, call: Call<S, B>, truncate: Truncate, room: usize) -> Self {
        let report = Report {
            index,
            text: Text::with_room(room),
            ..Report::default()
        };
        Self {
            report,
            truncate,
            state: State::Call { call },
        }
    }

    /// What there is so far.
    pub(super) fn report(self: Pin<&mut Self>) -> &mut Report {
        self.project().report
    }
}

impl<S, B, RB> Future for Read<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>, Error: Into<BoxError>>,
    RB: Body<Error: Into<BoxError>>,
{
    type Output = Report;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let mut this = self.project();
        loop {
            let end = match this.state.as_mut().project() {
                StateProj::Call { call } => match ready!(call.poll(cx)) {
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        match this.truncate.apply_to_body(&head, body) {
                            Some(body) => {
                                this.report.status = Some(head.status);
                                this.state.set(State::Body { body });
                                None
                            }
                            None => Some(End::Failed(Failure::Kind(ErrorKind::Decode))),
                        }
                    }
                    Err(error) => Some(End::Failed(Failure::before_head(&*error))),
                },
                StateProj::Body { mut body } => {
                    let frame = ready!(body.as_mut().poll_frame(cx));
                    take_in(frame, &mut this.report.text, body.is_cut())
                }
            };
            if let Some(end) = end {
                this.report.end = end;
                return Poll::Ready(std::mem::take(this.report));
            }
        }
    }
}

impl<S, B, RB> Task for Read<S, B, RB>
where
    Self: Future<Output = Report>,
    S: Service<Request<B>>,
{
    fn abandon(self: Pin<&mut Self>, why: Failure) -> Report {
        let mut report = std::mem::take(self.report());
        report.end = End::Failed(why);
        report
    }
}

/// Takes a frame in; returns how the leg ended, if it did.
fn take_in(
    frame: Option<Result<Frame<Bytes>, BoxError>>,
    text: &mut Text,
    is_cut: bool,
) -> Option<End> {
    let result = match frame {
        Some(Ok(frame)) => text.push(frame.into_data().ok()?),
        Some(Err(error)) => return Some(End::Failed(Failure::in_body(&*error))),
        None if is_cut => return Some(End::Cut),
        None => match text.finish() {
            Ok(()) => return Some(End::Whole),
            full => full,
        },
    };
    result.is_err().then_some(End::Full)
}
