//! The queue between order-service and notification-service: somebody else's software, which sends no spans.
//!
//! `POST` puts a message, `GET` takes the next one, or `null`. Each message brings its own fields.

use super::shop::{Failure, Shop};
use std::collections::VecDeque;

pub(crate) fn main() -> Result<(), Failure> {
    let mut messages = VecDeque::new();
    Shop::untraced()?.serve(move |_, request| {
        if request.is_post() {
            messages.push_back(request.body());
        } else {
            request.answer = messages.pop_front().unwrap_or_else(|| "null".into());
        }
        Ok(200)
    })
}
