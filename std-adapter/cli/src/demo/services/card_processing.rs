//! card-processing: charges a card.

use super::shop::{Failure, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("card-processing")?.serve(|shop, request| {
        let mut span = request.span("POST /charge");
        span.set_static("payment.method", "card");
        shop.try_work(&mut span, "card.charge");
        Ok(request.end(span, 200))
    })
}
