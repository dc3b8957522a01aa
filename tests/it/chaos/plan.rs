//! What is to become of each request, drawn from a seed.

use std::time::Duration;

use crate::support::random::Random;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Place {
    Plain,
    Other,
    Tls,
    TlsHttp2,
    Http2,
    /// Nobody listens there.
    Dead,
}

impl Place {
    /// Where somebody listens, each at its own number.
    pub(super) const LIVE: [Self; 5] = [
        Self::Plain,
        Self::Other,
        Self::Tls,
        Self::TlsHttp2,
        Self::Http2,
    ];

    pub(super) fn is_http2(self) -> bool {
        matches!(self, Self::TlsHttp2 | Self::Http2)
    }
}

/// What its upstream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Act {
    Sized,
    Chunked,
    Large,
    Slow,
    /// Says 500, in good order.
    Error,
    /// Answers before it has read the request's body.
    Early,
    /// Answers, and closes without a word: over HTTP/2, with a GOAWAY.
    HangUp,
    /// Sends a second response with the first. Nothing like it is possible over HTTP/2.
    Extra,
    /// Closes before the head. Over HTTP/2, resets the stream.
    Close,
    /// Resets the connection before the head.
    Reset,
    /// Sends what is not HTTP. Over HTTP/2, refuses the stream.
    Garbage,
    /// Closes within the head. Over HTTP/2, resets the stream.
    HalfHead,
    /// Closes in the middle of the body. Over HTTP/2, resets the stream.
    CutShort,
    /// The same of a body in chunks. Over HTTP/2, the reset names no error.
    CutChunks,
    /// Never answers.
    Silent,
    /// Stops in the middle of the body.
    Stalled,
}

pub(super) const ACTS: [Act; 16] = [
    Act::Sized,
    Act::Chunked,
    Act::Large,
    Act::Slow,
    Act::Error,
    Act::Early,
    Act::HangUp,
    Act::Extra,
    Act::Close,
    Act::Reset,
    Act::Garbage,
    Act::HalfHead,
    Act::CutShort,
    Act::CutChunks,
    Act::Silent,
    Act::Stalled,
];

/// How many of them, from the first, are no fault.
const GOOD: usize = 4;

/// How often they are drawn.
const GOOD_ONES: [Act; 8] = [
    Act::Sized,
    Act::Sized,
    Act::Sized,
    Act::Chunked,
    Act::Chunked,
    Act::Slow,
    Act::Slow,
    Act::Large,
];

/// When whoever asked loses interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Never,
    /// The so-manieth time that there is nothing to do but to wait.
    AtWait(u64),
    After(Duration),
    AtHead,
    InBody,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) id: usize,
    pub(super) place: Place,
    pub(super) act: Act,
    pub(super) post: bool,
    /// How long its own body is.
    pub(super) sends: usize,
    /// Whether only the first of the answer is wanted.
    pub(super) cut: bool,
    pub(super) leave: Leave,
}

/// What is done at once.
#[derive(Clone, Debug)]
pub(super) enum Job {
    One(Plan),
    Gather(Vec<Plan>, Leave),
}

impl Plan {
    fn random(random: &mut Random, id: usize) -> Self {
        use Place::{Dead, Http2, Other, Plain, Tls, TlsHttp2};
        let places = [
            Plain, Plain, Plain, Plain, Plain, Plain, Other, Other, Other, Other, Other, Http2,
            Http2, Http2, Http2, Http2, Http2, Tls, TlsHttp2, Dead,
        ];
        let post = random.percent(30);
        Self {
            id,
            place: random.pick(&places),
            act: if random.percent(42) {
                random.pick(&ACTS[GOOD..])
            } else {
                random.pick(&GOOD_ONES)
            },
            post,
            sends: if post && random.percent(70) {
                random.index(3000)
            } else {
                0
            },
            cut: random.percent(40),
            leave: Leave::random(random),
        }
    }

    /// Whether anything is amiss with it, or may be.
    pub(super) fn is_faulty(&self) -> bool {
        self.act as usize >= GOOD || self.place == Place::Dead
    }

    /// Whether only a timeout ends it.
    pub(super) fn stalls(&self) -> bool {
        matches!(self.act, Act::Silent | Act::Stalled)
    }

    pub(super) fn path(&self) -> String {
        format!("/{}/{}", self.id, self.act as usize)
    }
}

impl Leave {
    fn random(random: &mut Random) -> Self {
        match random.below(100) {
            0..=11 => Self::AtWait(random.below(6)),
            12..=16 => Self::After(Duration::from_millis(random.below(4))),
            17..=26 => Self::AtHead,
            27..=34 => Self::InBody,
            _ => Self::Never,
        }
    }
}

/// What to do about the requests from `next` on, of which there are `left`.
pub(super) fn job(random: &mut Random, next: usize, left: usize) -> Job {
    if left < 5 || !random.percent(10) {
        return Job::One(Plan::random(random, next));
    }
    let legs = 2 + random.index(4);
    let legs = (next..next + legs).map(|id| Plan {
        post: false,
        sends: 0,
        cut: true,
        leave: Leave::Never,
        ..Plan::random(random, id)
    });
    let legs = legs.collect();
    Job::Gather(legs, Leave::random(random))
}
