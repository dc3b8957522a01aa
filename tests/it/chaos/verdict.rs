//! What may have become of a request.

use std::{fmt, ops::AddAssign};

use serde_json::Value;
use tower_upstream::{Error, ErrorKind};

use super::plan::{Act, Place, Plan};

/// How many characters are wanted of what is cut.
pub(super) const CUT: usize = 50;

/// The text that a request's own upstream has for it, and no other upstream nor for any other request.
pub(super) fn page(place: Place, id: usize, act: Act) -> Vec<u8> {
    let times = match act {
        // More than what is read on of a body that was dropped.
        Act::Large => 3500,
        Act::Slow => 1,
        _ => 10,
    };
    format!("{id} {} naïve 漢字; ", place as usize)
        .repeat(times)
        .into_bytes()
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered {
        status: u16,
        id: String,
        text: String,
    },
    /// With what had come of the body.
    Failed {
        error: Error,
        text: String,
    },
    Left,
}

/// How many came to what.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: usize,
    faulty: usize,
    gathered: usize,
    answered: usize,
    failed: usize,
    left: usize,
    refused: usize,
    drains: usize,
}

impl Plan {
    fn page(&self) -> String {
        String::from_utf8(page(self.place, self.id, self.act)).unwrap()
    }

    /// Whether the whole answer can have come, or all of it that is wanted.
    fn can_be_answered(&self, cut: bool) -> bool {
        match self.act {
            _ if self.place == Place::Dead => false,
            Act::Close | Act::Reset | Act::Garbage | Act::HalfHead | Act::Silent => false,
            Act::CutShort | Act::CutChunks | Act::Stalled => {
                let page = page(self.place, self.id, self.act);
                let half = String::from_utf8_lossy(&page[..page.len() / 2]).into_owned();
                cut && half.chars().count() > CUT
            }
            _ => true,
        }
    }

    /// Whether it can have failed so.
    fn can_fail(&self, error: &Error, draining: bool) -> bool {
        use ErrorKind::{
            BodyIncomplete, Closed, ConnectRefused, Draining, Protocol, ReadTimeout, Reset,
        };
        let kind = error.kind();
        if kind == Draining {
            return draining;
        }
        if self.place == Place::Dead {
            return kind == ConnectRefused;
        }
        let of_its_act = match self.act {
            Act::Silent | Act::Stalled => kind == ReadTimeout,
            Act::Close | Act::Reset => kind == Closed || kind == Reset,
            Act::Garbage => matches!(kind, Protocol | Reset),
            Act::HalfHead => matches!(kind, Protocol | Closed | Reset),
            Act::CutShort | Act::CutChunks => kind == BodyIncomplete,
            _ => false,
        };
        // Over HTTP/2 it shares the fate of its connection. Over HTTP/1.1 the one before it may have
        // closed that, and what may have been done already is not sent again.
        let of_its_connection = if self.place.is_http2() {
            matches!(kind, Closed | Reset | BodyIncomplete)
        } else {
            self.post && kind == Closed && error.was_sent()
        };
        of_its_act || of_its_connection
    }

    pub(super) fn judge(&self, outcome: &Outcome, draining: bool) {
        match outcome {
            Outcome::Answered { status, id, text } => {
                assert_eq!(*id, self.id.to_string(), "its own answer: {self:?}");
                let is_error = self.act == Act::Error;
                assert_eq!(*status == 500, is_error, "its own status: {self:?}");
                // What is no success passes whole.
                let cut = self.cut && !is_error;
                let mut wanted = self.page();
                if cut && let Some((end, _)) = wanted.char_indices().nth(CUT) {
                    wanted.truncate(end);
                }
                assert_eq!(*text, wanted, "its own text, and all of it: {self:?}");
                assert!(self.can_be_answered(cut), "whence? {self:?}");
            }
            Outcome::Failed { error, text } => {
                assert!(
                    self.page().starts_with(text),
                    "its own text: {self:?}, {text:?}"
                );
                assert!(self.can_fail(error, draining), "{self:?} failed: {error:?}");
            }
            Outcome::Left => {}
        }
    }

    /// The same of one line of a gather's answer.
    fn judge_leg(&self, line: &Value, draining: bool) -> bool {
        let text = line["text"].as_str().unwrap_or_default();
        let page = self.page();
        assert!(page.starts_with(text), "its own text: {self:?}, {line}");
        if line.get("error").is_some() {
            let sound = !self.is_faulty() && !self.place.is_http2() && !draining;
            assert!(!sound, "{self:?} failed: {line}");
            return false;
        }
        let is_error = self.act == Act::Error;
        assert_eq!(line["status"] == 500, is_error, "its own status: {line}");
        let wanted = if line["truncated"] == true {
            CUT
        } else {
            page.chars().count()
        };
        assert_eq!(text.chars().count(), wanted, "all of it: {self:?}, {line}");
        assert!(self.can_be_answered(true), "whence? {self:?}, {line}");
        true
    }
}

impl Tally {
    pub(super) fn count(&mut self, plan: &Plan, outcome: &Outcome) {
        self.requests += 1;
        self.faulty += usize::from(plan.is_faulty());
        match outcome {
            Outcome::Answered { .. } => self.answered += 1,
            Outcome::Failed { error, .. } if error.kind() == ErrorKind::Draining => {
                self.refused += 1;
            }
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Left => self.left += 1,
        }
    }

    /// Judges a gather's answer, `None` where nobody waited for its end.
    pub(super) fn judge_gather(&mut self, legs: &[Plan], answer: Option<&str>, draining: bool) {
        self.requests += legs.len();
        self.gathered += legs.len();
        self.faulty += legs.iter().filter(|leg| leg.is_faulty()).count();
        let Some(answer) = answer else {
            self.left += legs.len();
            return;
        };
        let lines: Vec<Value> = answer
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        assert_eq!(lines.len(), legs.len() + 1, "a line a leg: {answer}");
        assert_eq!(lines[legs.len()]["done"], true, "and the last: {answer}");
        for (i, (leg, line)) in legs.iter().zip(&lines).enumerate() {
            assert_eq!(line["index"], i, "in the order of the requests");
            if leg.judge_leg(line, draining) {
                self.answered += 1;
            } else {
                self.failed += 1;
            }
        }
    }

    pub(super) fn drained(&mut self) {
        self.drains += 1;
    }

    /// There was enough of everything.
    pub(super) fn assert_chaotic(&self) {
        let share = |n: usize| n as f64 / self.requests as f64;
        assert!(share(self.faulty) >= 0.3, "faults: {self}");
        assert!(share(self.left) >= 0.2, "cancellations: {self}");
        assert!(share(self.gathered) >= 0.1, "gathers: {self}");
        assert!(share(self.answered) >= 0.25, "answers: {self}");
        assert!(self.drains > 0 && self.refused > 0, "drains: {self}");
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        // Destructured, so that a new count cannot be forgotten here.
        let Self {
            requests,
            faulty,
            gathered,
            answered,
            failed,
            left,
            refused,
            drains,
        } = other;
        self.requests += requests;
        self.faulty += faulty;
        self.gathered += gathered;
        self.answered += answered;
        self.failed += failed;
        self.left += left;
        self.refused += refused;
        self.drains += drains;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |n: usize| 100.0 * n as f64 / self.requests as f64;
        write!(
            f,
            "{} requests, {:.1} % with a fault, {:.1} % in gathers; {:.1} % answered, {:.1} % failed, \
             {:.1} % left, {:.1} % refused by {} drains",
            self.requests,
            share(self.faulty),
            share(self.gathered),
            share(self.answered),
            share(self.failed),
            share(self.left),
            share(self.refused),
            self.drains,
        )
    }
}
