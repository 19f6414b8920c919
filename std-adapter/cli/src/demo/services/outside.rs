//! Services of other companies: they answer, after a while, and send no spans.

use super::shop::{Failure, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::untraced()?.serve(|shop, request| {
        shop.work(match request.path() {
            "/authorize" => "payment.bank",
            "/limits" => "payment.limits",
            "/points" => "payment.points",
            "/charges" => "payment.external",
            _ => return Ok(404),
        });
        Ok(200)
    })
}
