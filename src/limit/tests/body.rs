//! What ends a body, and so gives back what it holds.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};

use super::streamed;
use crate::limit::{Admit, HeldBody, WaitTimeout};

fn permit() -> (Arc<()>, Arc<()>) {
    let permit = Arc::new(());
    (Arc::clone(&permit), permit)
}

fn is_free(permit: &Arc<()>) -> bool {
    Arc::strong_count(permit) == 1
}

#[tokio::test]
async fn a_body_that_ends_frees_while_it_is_kept() {
    let (held, permit) = permit();
    let (mut sender, body) = streamed();
    let mut body = HeldBody::new(body, held);

    sender.send_data("hello".into()).await.unwrap();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert!(!is_free(&permit), "after a frame, more may come");
    drop(sender);
    assert!(body.frame().await.is_none());
    assert!(is_free(&permit), "after the end, none can");
    assert!(body.is_end_stream(), "and the body says so");
    assert!(body.frame().await.is_none(), "however often it is asked");
}

#[tokio::test]
async fn a_dropped_body_frees() {
    let (held, permit) = permit();
    let (_sender, body) = streamed();
    let body = HeldBody::new(body, held);
    assert!(!is_free(&permit), "a body that has not begun holds");
    drop(body);
    assert!(is_free(&permit), "a body that is gone does not");
}

#[tokio::test]
async fn a_body_that_fails_frees_and_stays_ended() {
    let (held, permit) = permit();
    let frames = [Err("boom"), Ok(Frame::data(Bytes::from("more")))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let mut body = HeldBody::new(body, held);

    assert_eq!(body.frame().await.unwrap().unwrap_err(), "boom");
    assert!(is_free(&permit), "after an error nothing is to come");
    assert!(
        body.frame().await.is_none(),
        "whatever the body inside has to say"
    );
    assert_eq!(body.size_hint().exact(), Some(0), "its size says the same");
}

#[tokio::test]
async fn the_last_frame_frees_where_it_is_known_to_be_the_last() {
    let (held, permit) = permit();
    let mut body = HeldBody::new(Full::new(Bytes::from("hello")), held);
    assert_eq!(body.size_hint().exact(), Some(5), "the size is passed on");
    assert!(!is_free(&permit));
    assert!(body.frame().await.is_some());
    assert!(is_free(&permit), "no server polls again to hear of the end");
}

#[tokio::test]
async fn a_body_without_frames_never_holds() {
    let (held, permit) = permit();
    let body = HeldBody::new(Empty::<Bytes>::new(), held);
    assert!(is_free(&permit), "it had ended before it began");
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn trailers_are_passed_on_and_held_for() {
    let (held, permit) = permit();
    let (mut sender, body) = streamed();
    let mut body = HeldBody::new(body, held);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    sender.send_trailers(trailers.clone()).await.unwrap();
    assert!(!is_free(&permit), "trailers are still to come");
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    drop(sender);
    assert!(body.frame().await.is_none());
    assert!(is_free(&permit), "and then there is nothing more");
}

/// Says what its fields say, to see that it is asked.
struct Scripted {
    frames: usize,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.frames -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from("x")))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames == 0
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.frames as u64);
        hint
    }
}

#[tokio::test]
async fn every_method_asks_the_body_inside() {
    let (held, permit) = permit();
    let mut body = HeldBody::new(Scripted { frames: 2 }, held);
    assert_eq!(body.size_hint().lower(), 2);
    assert!(body.frame().await.is_some());
    assert_eq!(body.size_hint().lower(), 1);
    assert!(!body.is_end_stream() && !is_free(&permit), "one is left");
    assert!(body.frame().await.is_some());
    assert!(body.is_end_stream() && is_free(&permit), "none is");
    assert!(
        body.frame().await.is_none(),
        "a body that has ended is not polled again: this one would panic"
    );
}

#[test]
fn auto_traits_are_those_of_the_parts() {
    fn is_send_sync_unpin<T: Send + Sync + Unpin>() {}
    is_send_sync_unpin::<HeldBody<Full<Bytes>, ()>>();
    is_send_sync_unpin::<WaitTimeout>();
    // Of the service it has only the error type, so it asks nothing of it.
    is_send_sync_unpin::<Admit<*const ()>>();
}
