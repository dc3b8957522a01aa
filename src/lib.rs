//! Call other HTTP services from a tower server.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod truncate;

pub use self::truncate::{
    Invalid, Truncate, TruncateBody, TruncateFuture, TruncateLayer, TruncateService, Truncation,
    TruncationOutcome, Uncuttable,
};
