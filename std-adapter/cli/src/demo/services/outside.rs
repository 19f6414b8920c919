//! Services of other companies: they answer, after a while, and send no spans.

use super::shop::{Failure, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::untraced()?.serve(|shop, request| {
        shop.work(request.path().trim_start_matches('/'));
        Ok(200)
    })
}
