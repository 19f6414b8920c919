//! The std adapter of spanlet.
//!
//! [`config`] (what the environment asks for) → [`export`] (encoded batches to a collector) →
//! [`receiver`] (what takes them in, for tests and demonstrations) → [`trace`] (traces as people see them).
#![deny(unsafe_code)]

pub mod config;

pub mod export;

pub mod receiver;

pub mod trace;
