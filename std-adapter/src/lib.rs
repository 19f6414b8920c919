//! The std adapter of spanlet.

pub mod trace;
