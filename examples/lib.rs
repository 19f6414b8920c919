//! spanlet's examples.
