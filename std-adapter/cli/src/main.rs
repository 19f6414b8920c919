//! The `spanlet` command.
#![deny(unsafe_code)]
fn main() {}
