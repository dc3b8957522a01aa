//! What hyper's errors mean for an exchange.

use std::{error::Error as StdError, io};

use super::head::Late;
use crate::{
    conn::{Conn, Order, Upload, WriteTimedOut},
    error::{Error, ErrorKind, Phase},
    pool::Lease,
};

/// The connection ended before the request was sent.
pub(super) fn closed(conn: &Conn) -> Error {
    let kind = match conn.current_order() {
        Order::Drain => ErrorKind::Draining,
        _ => ErrorKind::Closed,
    };
    Error::new(kind)
        .with_phase(Phase::Write)
        .with_origin(conn.origin())
}

/// The request was under way, and no head came.
pub(super) fn before_head(error: hyper::Error, lease: &Lease) -> Error {
    let conn = lease.conn();
    let timed_out = find::<WriteTimedOut>(&error).map(|timed_out| timed_out.0);
    let mut unprocessed = false;
    let (kind, phase) = if conn.current_order() == Order::Drain {
        (ErrorKind::Draining, Phase::Read)
    } else if timed_out.is_some() {
        lease
            .pool()
            .count(|stats| stats.count_timed_out(Phase::Write));
        (ErrorKind::WriteTimeout, Phase::Write)
    } else if lease.upload().is_some_and(Upload::has_failed) {
        (ErrorKind::RequestBody, Phase::Write)
    } else if let Some(reset) = find::<h2::Error>(&error).filter(|error| !error.is_io()) {
        let is_refused = reset.reason() == Some(h2::Reason::REFUSED_STREAM);
        unprocessed = reset.is_remote() && is_refused || is_beyond_goaway(&error);
        // It is ours where the upstream has broken HTTP/2's rules.
        let kind = if reset.is_library() {
            ErrorKind::Protocol
        } else {
            ErrorKind::Reset
        };
        (kind, Phase::Read)
    } else if error.is_parse() {
        (parse_kind(&error), Phase::Read)
    } else if error.is_user() && find::<io::Error>(&error).is_none() && !is_dispatch_gone(&error) {
        (ErrorKind::InvalidTarget, Phase::Write)
    } else {
        (ErrorKind::Closed, Phase::Read)
    };
    let error = Error::new(kind)
        .with_phase(phase)
        .with_origin(conn.origin())
        .with_source(error);
    let error = timed_out.into_iter().fold(error, Error::after);
    // RFC 9113 §8.7: such a stream has not been looked at.
    if unprocessed { error } else { error.sent() }
}

/// Whether a GOAWAY says that this stream was not looked at. One that was goes on, or fails with its
/// socket.
pub(super) fn is_beyond_goaway(error: &hyper::Error) -> bool {
    find::<h2::Error>(error).is_some_and(|error| error.is_go_away() && error.is_remote())
}

/// What came is HTTP, and no answer to the request.
pub(super) fn no_answer(lease: Lease, fault: &'static str) -> Error {
    let error = Error::new(ErrorKind::Protocol)
        .with_detail(fault)
        .with_phase(Phase::Read)
        .with_origin(lease.conn().origin())
        .sent();
    // Before the response, whose end would have hyper look for more on the connection.
    drop(lease);
    error
}

/// The upstream let its time pass.
pub(super) fn late(lease: &Lease, late: Late) -> Error {
    let (kind, phase, limit) = match late {
        Late::Write(limit) => (ErrorKind::WriteTimeout, Phase::Write, limit),
        Late::Read(limit) => (ErrorKind::ReadTimeout, Phase::Read, limit),
    };
    lease.pool().count(|stats| stats.count_timed_out(phase));
    Error::new(kind)
        .with_phase(phase)
        .with_origin(lease.conn().origin())
        .after(limit)
        .sent()
}

/// The body broke off.
pub(super) fn in_body(conn: &Conn) -> Error {
    let kind = match conn.current_order() {
        Order::Drain => ErrorKind::Draining,
        _ => ErrorKind::BodyIncomplete,
    };
    Error::new(kind)
        .with_phase(Phase::Read)
        .with_origin(conn.origin())
        .sent()
}

fn parse_kind(error: &hyper::Error) -> ErrorKind {
    // hyper has a predicate for it, but only with its server's feature.
    if error.to_string().contains("too large") {
        ErrorKind::HeadTooLarge
    } else {
        ErrorKind::Protocol
    }
}

/// hyper calls it the user's mistake when a connection's task is dropped. Here the pool does that.
fn is_dispatch_gone(error: &hyper::Error) -> bool {
    error.to_string().contains("dispatch")
}

/// The first cause of this type. An [`io::Error`] shows what it wraps only when asked.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|wrapped| wrapped.downcast_ref());
        wrapped.or_else(|| error.downcast_ref())
    })
}
