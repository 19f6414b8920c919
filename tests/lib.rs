//! spanlet's tests.
