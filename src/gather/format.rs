use std::{borrow::Cow, fmt::Write as _};

use bytes::BytesMut;
use http::{HeaderValue, StatusCode};

use super::{
    json,
    report::{End, Failure, Report, Tally},
};

/// How the answers of a [`Gather`](crate::Gather) are joined. Default: [`text`](Self::text).
///
/// All three count the requests from 0, as [`Leg::index`](crate::Leg::index) does, and send
/// `x-content-type-options: nosniff`, so that no browser takes an upstream's text for HTML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Format {
    shape: Shape,
    separator: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    #[default]
    Text,
    Ndjson,
    Json,
}

impl Format {
    /// For people: `text/plain; charset=utf-8`, the texts with a [`separator`](Self::separator)
    /// between them.
    ///
    /// What is not an answer stands in brackets, on a line of its own, in the answer's place:
    ///
    /// ```text
    /// [3: upstream refused the connection]
    ///
    /// [4: status 404 Not Found]
    /// There is no such page.
    ///
    /// Half of a sto
    /// [5: upstream response broke off]
    /// ```
    ///
    /// An answer may hold such lines, or the separator, itself: programs should read
    /// [`ndjson`](Self::ndjson) or [`json`](Self::json).
    pub fn text() -> Self {
        Self::new(Shape::Text)
    }

    /// For programs that read on as it comes: `application/x-ndjson`, one object a line.
    ///
    /// ```json
    /// {"index":0,"status":200,"text":"Once upon a time","truncated":true}
    /// {"index":1,"error":{"kind":"connection_refused","message":"upstream refused the connection","status":502}}
    /// {"index":2,"status":200,"text":"Half of a sto","truncated":true,"error":{"kind":"http_response_incomplete","message":"upstream response broke off","status":502}}
    /// {"done":true,"ok":1,"failed":2}
    /// ```
    ///
    /// `status` is the upstream's, `text` what it said, `truncated` whether that is, or may be,
    /// less than all of it. `error.kind` is an RFC 9209 error type or one of `failed` (an error
    /// that is not this crate's), `given_up` (another request failed, and the gather was to [fail
    /// fast](crate::Gather::fail_fast)) and `too_many` ([`max_legs`](crate::Gather::max_legs)).
    /// `ok` counts the legs that were answered with a 2xx status and did not break off. Without the
    /// last line, the whole is incomplete.
    pub fn ndjson() -> Self {
        Self::new(Shape::Ndjson)
    }

    /// For programs that read the whole: `application/json`, an array of the objects that
    /// [`ndjson`](Self::ndjson) has, without the counts.
    pub fn json() -> Self {
        Self::new(Shape::Json)
    }

    fn new(shape: Shape) -> Self {
        Self {
            shape,
            separator: None,
        }
    }

    /// What stands between two texts. Default: a blank line, `"\n\n"`. The JSON formats have none.
    pub fn separator(mut self, separator: impl Into<Cow<'static, str>>) -> Self {
        self.separator = Some(separator.into());
        self
    }

    pub(super) fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.shape {
            Shape::Text => "text/plain; charset=utf-8",
            Shape::Ndjson => "application/x-ndjson",
            Shape::Json => "application/json",
        })
    }
}

/// By how much the output grows at least.
const ROOM: usize = 512;

/// Writes reports in the order in which it is given them.
#[derive(Debug)]
pub(super) struct Writer {
    format: Format,
    out: BytesMut,
    /// Legs that were begun.
    begun: usize,
    /// Whether the last leg may go on.
    open: bool,
    last: Last,
}

/// What the text written last for this leg was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// The separator, or nothing.
    Nothing,
    LineEnd,
    Text,
    Remark,
}

impl Writer {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            out: BytesMut::new(),
            begun: 0,
            open: false,
            last: Last::Nothing,
        }
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Option<BytesMut> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// Writes what a leg that is still running has so far, if the format can.
    pub(super) fn part(&mut self, report: &mut Report) {
        if self.format.shape == Shape::Text && !report.text.is_empty() {
            self.text(report);
        }
    }

    /// Writes (the rest of) a leg that has ended.
    pub(super) fn whole(&mut self, mut report: Report) {
        match self.format.shape {
            Shape::Text => {
                self.text(&mut report);
                match report.end {
                    End::Failed(failure) => self.remark(report.index, &failure.text()),
                    End::Full => self.remark(report.index, "cut at the output limit"),
                    End::Whole | End::Cut => {}
                }
            }
            Shape::Ndjson => {
                self.object(&mut report);
                self.out.extend_from_slice(b"\n");
            }
            Shape::Json => {
                let before = if self.begun == 0 { "[" } else { ",\n" };
                self.out.extend_from_slice(before.as_bytes());
                self.object(&mut report);
            }
        }
        self.begun += usize::from(!self.open);
        self.open = false;
    }

    /// Writes what stands behind the last leg.
    pub(super) fn finish(&mut self, tally: &Tally) {
        match self.format.shape {
            Shape::Text => {}
            Shape::Ndjson => {
                let Tally { ok, failed, .. } = tally;
                self.push(format_args!(
                    "{{\"done\":true,\"ok\":{ok},\"failed\":{failed}}}\n"
                ));
            }
            Shape::Json => {
                let end = if self.begun == 0 { "[]\n" } else { "]\n" };
                self.out.extend_from_slice(end.as_bytes());
            }
        }
    }

    // --- text ---

    fn text(&mut self, report: &mut Report) {
        if !self.open {
            self.open(report);
        }
        let text = report.text.take();
        if text.is_empty() {
            return;
        }
        if self.last == Last::Remark {
            self.out.extend_from_slice(b"\n");
        }
        self.last = if text.ends_with(b"\n") {
            Last::LineEnd
        } else {
            Last::Text
        };
        if self.out.is_empty() && text.len() >= ROOM {
            self.out = text;
        } else {
            append(&mut self.out, &text);
        }
    }

    fn open(&mut self, report: &Report) {
        if self.begun > 0 {
            let separator = self.format.separator.as_deref().unwrap_or("\n\n");
            append(&mut self.out, separator.as_bytes());
        }
        self.begun += 1;
        self.open = true;
        self.last = Last::Nothing;
        if let Some(status) = report.status.filter(|status| !status.is_success()) {
            let reason = status.canonical_reason().unwrap_or_default();
            let remark = format!("status {} {reason}", status.as_u16());
            self.remark(report.index, remark.trim_end());
        }
    }

    fn remark(&mut self, index: usize, remark: &str) {
        if matches!(self.last, Last::Text | Last::Remark) {
            self.out.extend_from_slice(b"\n");
        }
        self.push(format_args!("[{index}: {remark}]"));
        self.last = Last::Remark;
    }

    // --- JSON ---

    fn object(&mut self, report: &mut Report) {
        self.push(format_args!("{{\"index\":{}", report.index));
        if let Some(status) = report.status {
            self.push(format_args!(",\"status\":{},\"text\":", status.as_u16()));
            json::string(&mut self.out, &String::from_utf8_lossy(&report.text.take()));
            let truncated = report.end != End::Whole;
            self.push(format_args!(",\"truncated\":{truncated}"));
        }
        if let End::Failed(failure) = report.end {
            self.error(failure);
        }
        self.out.extend_from_slice(b"}");
    }

    fn error(&mut self, failure: Failure) {
        let (name, status): (_, StatusCode) = (failure.name(), failure.status());
        self.push(format_args!(
            ",\"error\":{{\"kind\":\"{name}\",\"message\":"
        ));
        json::string(&mut self.out, &failure.text());
        self.push(format_args!(",\"status\":{}}}", status.as_u16()));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // A buffer that grows takes everything.
        let _ = self.out.write_fmt(text);
    }
}

/// Makes room for what follows, too.
fn append(out: &mut BytesMut, bytes: &[u8]) {
    if out.capacity() - out.len() < bytes.len() {
        out.reserve(bytes.len().max(ROOM));
    }
    out.extend_from_slice(bytes);
}
