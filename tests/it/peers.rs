//! Programs that are not ours on the other side of the wire.

mod churn;
mod nginx;
mod python;
mod support;
mod tools;
