//! Every interleaving of the threads that share a connection by hand, by loom: the files under test
//! are taken in as they are, with loom's locks and wakers for `crate::sync`.
//!
//!     cargo test --test interleavings

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the files under test serve the crate"
)]

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    future::block_on,
    sync::atomic::{AtomicBool, AtomicUsize},
    thread,
};

#[path = "../src/conn/mailbox.rs"]
mod mailbox;
#[path = "../src/upstream/place.rs"]
mod place;
#[path = "../src/conn/upload.rs"]
mod upload;

mod sync {
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    };

    /// loom's, with the signature of futures-util's.
    #[derive(Debug)]
    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self(loom::future::AtomicWaker::new())
        }

        pub(crate) fn register(&self, waker: &std::task::Waker) {
            self.0.register_by_ref(waker);
        }

        pub(crate) fn wake(&self) {
            self.0.wake();
        }
    }
}

use mailbox::{Mailbox, Order};
use place::{Expired, Place};
use sync::Ordering;
use upload::Upload;

/// A letter that counts its end.
struct Letter(Arc<AtomicUsize>);

impl Drop for Letter {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads until `enough` letters have come, asleep between them.
fn read(mailbox: &Mailbox<Letter>, enough: usize) {
    let mut read = 0;
    block_on(std::future::poll_fn(|cx| {
        mailbox.listen(cx.waker());
        while mailbox.next().is_some() {
            read += 1;
        }
        if read >= enough {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
}

#[test]
fn what_is_left_wakes_the_driver_and_is_read_once() {
    loom::model(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let mailbox = Arc::new(Mailbox::new());
        let exchange = thread::spawn({
            let (mailbox, letter) = (mailbox.clone(), Letter(ended.clone()));
            move || {
                let back = mailbox.leave(letter);
                assert!(back.is_none(), "the driver is there to take it");
            }
        });
        // A wake that is lost would leave this asleep for ever, which loom reports.
        read(&mailbox, 1);
        exchange.join().unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1, "read once, and ended once");
    });
}

#[test]
fn what_is_left_to_a_driver_that_ends_is_never_lost() {
    loom::model(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let mailbox = Arc::new(Mailbox::new());
        let driver = thread::spawn({
            let mailbox = mailbox.clone();
            move || {
                drop(mailbox.next());
                drop(mailbox.close());
            }
        });
        // It comes back, or the driver has it: in no case does it stay in the box, where the lease
        // in it would keep the connection's memory for ever.
        drop(mailbox.leave(Letter(ended.clone())));
        driver.join().unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1, "the letter has ended");
    });
}

#[test]
fn an_order_wakes_the_driver_and_a_lower_one_does_not_undo_it() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::<Letter>::new());
        let pool = thread::spawn({
            let mailbox = mailbox.clone();
            move || {
                mailbox.order(Order::Abort);
                mailbox.order(Order::Close);
            }
        });
        block_on(std::future::poll_fn(|cx| {
            mailbox.listen(cx.waker());
            match mailbox.current_order() {
                Order::Abort => Poll::Ready(()),
                _ => Poll::Pending,
            }
        }));
        pool.join().unwrap();
        assert_eq!(mailbox.current_order(), Order::Abort);
    });
}

#[test]
fn the_end_of_an_upload_is_never_missed_by_who_waits_for_it() {
    loom::model(|| {
        let upload = Arc::new(Upload::new());
        let sender = thread::spawn({
            let upload = upload.clone();
            move || upload.end(upload::End::Failed)
        });
        block_on(std::future::poll_fn(|cx| upload.poll_done(cx)));
        assert!(upload.has_failed(), "and how it ended is told with it");
        sender.join().unwrap();
    });
}

/// A body under a deadline, of which nothing more comes.
fn stalled(place: &mut Option<Letter>, _: &mut Context<'_>) -> Poll<bool> {
    match place {
        Some(_) => Poll::Pending,
        None => Poll::Ready(true),
    }
}

#[test]
fn a_deadline_wakes_the_reader_and_is_never_taken_for_a_good_end() {
    loom::model(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let place = Arc::new(Place::new(Letter(ended.clone())));
        let clock = thread::spawn({
            let place = place.clone();
            move || place.expire(drop)
        });
        assert!(!place.is_over(), "nothing has come to its end");
        let read = block_on(std::future::poll_fn(|cx| place.poll(cx, stalled)));
        assert!(matches!(read, Err(Expired)), "what is missing is told");
        clock.join().unwrap();
        assert!(!place.is_over(), "nor is it one afterwards");
        assert_eq!(ended.load(Ordering::SeqCst), 1, "and the lease has ended");
    });
}

#[test]
fn a_last_piece_that_comes_at_the_deadline_is_whole_or_missing_and_never_both() {
    loom::model(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let place = Arc::new(Place::new(Letter(ended.clone())));
        let clock = thread::spawn({
            let place = place.clone();
            move || place.expire(drop)
        });
        let read = block_on(std::future::poll_fn(|cx| {
            place.poll(cx, |place, _| Poll::Ready(place.take().is_some()))
        }));
        match read {
            Ok(whole) => assert!(whole && place.is_over(), "all has come, and in time"),
            Err(Expired) => assert!(!place.is_over(), "it was too late"),
        }
        clock.join().unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1, "the lease ends once");
    });
}

#[test]
fn a_reader_that_leaves_at_the_deadline_leaves_nothing_behind() {
    loom::model(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let place = Arc::new(Place::new(Letter(ended.clone())));
        let clock = thread::spawn({
            let place = place.clone();
            move || place.expire(drop)
        });
        drop(place.take());
        clock.join().unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1, "the lease ends once");
    });
}

/// A waker that only notes that it was woken: for the assertion that the models above can fail.
struct Noted(AtomicBool);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_driver_that_looks_before_it_listens_would_miss_what_is_left() {
    // The wrong order, for once: there must be an interleaving in which nobody is woken.
    let missed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = missed.clone();
    loom::model(move || {
        let ended = Arc::new(AtomicUsize::new(0));
        let mailbox = Arc::new(Mailbox::new());
        let exchange = thread::spawn({
            let mailbox = mailbox.clone();
            move || drop(mailbox.leave(Letter(ended)))
        });
        let noted = Arc::new(Noted(AtomicBool::new(false)));
        let read = mailbox.next();
        mailbox.listen(&Waker::from(noted.clone()));
        exchange.join().unwrap();
        if read.is_none() && !noted.0.load(Ordering::SeqCst) {
            seen.store(true, Ordering::SeqCst);
        }
    });
    assert!(missed.load(Ordering::SeqCst), "the model finds lost wakes");
}
