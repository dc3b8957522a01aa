//! Call other HTTP services from a tower server.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
pub mod limit;
mod load;
mod origin;

pub use crate::{
    error::{Error, ErrorKind, Phase},
    load::CompleteOnBodyEnd,
    origin::Origin,
};
