//! What is shared between threads by hand takes its parts from here, so that the test
//! `interleavings` can put a model checker's in their place.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};

pub(crate) use futures_util::task::AtomicWaker;
