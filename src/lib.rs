//! Call other HTTP services from a tower server.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod conn;
mod connect;
mod error;
mod gather;
pub mod limit;
mod load;
mod origin;
mod pool;
mod stats;
mod truncate;
mod upstream;

pub use crate::{
    config::{Limits, RemainderPolicy, Timeouts},
    connect::public_addresses,
    error::{Error, ErrorKind, Phase},
    gather::{Format, Gather, GatherBody, Leg, Legs, Order},
    load::CompleteOnBodyEnd,
    origin::Origin,
    stats::{CloseCause, Drained, Gauges, Stats},
    truncate::{
        Invalid, Truncate, TruncateBody, TruncateFuture, TruncateLayer, TruncateService,
        Truncation, TruncationOutcome, Uncuttable,
    },
    upstream::{AtOrigin, ResponseFuture, Upstream, UpstreamBody, UpstreamBuilder},
};
