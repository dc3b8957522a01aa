//! The server's side: [`UpstreamLayer`] over the handlers.

mod admission;
mod body;
mod layer;
mod refuse;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    body::UpstreamServiceBody,
    layer::UpstreamLayer,
    service::{UpstreamService, UpstreamServiceFuture},
};
