//! Call other HTTP services from a tower server.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod config;
mod conn;
mod connect;
mod error;
#[cfg(feature = "axum")]
mod extract;
mod forward;
mod gather;
mod grpc;
pub mod limit;
mod load;
mod middleware;
mod origin;
mod pool;
pub mod recipes;
mod stats;
#[cfg(feature = "tonic")]
mod status;
mod truncate;
mod upstream;

pub use crate::{
    config::{Limits, RemainderPolicy, Timeouts},
    connect::public_addresses,
    error::{Error, ErrorKind, Phase},
    forward::{Forward, ForwardBody, ForwardFuture, ForwardedHeaders},
    gather::{Format, Gather, GatherBody, Leg, Legs, Order},
    grpc::GrpcDeadline,
    load::CompleteOnBodyEnd,
    middleware::{UpstreamLayer, UpstreamService, UpstreamServiceBody, UpstreamServiceFuture},
    origin::Origin,
    stats::{CloseCause, Drained, Gauges, Stats},
    truncate::{
        Invalid, Truncate, TruncateBody, TruncateFuture, TruncateLayer, TruncateService,
        Truncation, TruncationOutcome, Uncuttable,
    },
    upstream::{AtOrigin, ResponseFuture, Upstream, UpstreamBody, UpstreamBuilder},
};

#[cfg(feature = "axum")]
pub use crate::extract::MissingUpstream;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
