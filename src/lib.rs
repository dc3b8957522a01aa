//! Call other HTTP services from a tower server.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod gather;
mod origin;
mod truncate;

pub use crate::{
    error::{Error, ErrorKind, Phase},
    gather::{Format, Gather, GatherBody, Leg, Legs, Order},
    origin::Origin,
    truncate::{
        Invalid, Truncate, TruncateBody, TruncateFuture, TruncateLayer, TruncateService,
        Truncation, TruncationOutcome, Uncuttable,
    },
};
