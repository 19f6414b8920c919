//! rates-service: exchange rates, on a host that should have been switched off.

use super::shop::{Failure, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("rates-service")?.serve(|shop, request| {
        let mut span = request.span("GET /rates");
        span.set_static("deployment.environment.name", "staging");
        shop.work("rates.quote");
        Ok(request.end(span, 200))
    })
}
