//! The `spanlet` command.
fn main() {}
