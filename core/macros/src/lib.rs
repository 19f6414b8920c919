//! `#[instrument]` for spanlet.
