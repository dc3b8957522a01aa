//! Call other HTTP services from a tower server.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod origin;
mod truncate;

pub use crate::{
    error::{Error, ErrorKind, Phase},
    origin::Origin,
    truncate::{
        Invalid, Truncate, TruncateBody, TruncateFuture, TruncateLayer, TruncateService,
        Truncation, TruncationOutcome, Uncuttable,
    },
};
