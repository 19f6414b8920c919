//! The std adapter of spanlet.
