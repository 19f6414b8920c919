//! spanlet's benches.
