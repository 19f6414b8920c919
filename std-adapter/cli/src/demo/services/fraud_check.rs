//! fraud-check: scores a payment, sometimes with a model.

use super::shop::{Failure, Request, Shop};
use spanlet_std::{Span, span};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("fraud-check")?.serve(check)
}

fn check(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let mut span_of_check = request.span("POST /check");
    if shop.plan.has("fraud.inference") {
        shop.work("fraud.prepare");
        let mut inference: Span = span("ML inference").parent(&span_of_check).start();
        inference.set_static("gen_ai.request.model", "fraud-gbm-7");
        shop.try_work(&mut inference, "fraud.inference");
        inference.end();
        shop.work("fraud.answer");
    } else {
        shop.try_work(&mut span_of_check, "fraud.score");
    }
    span_of_check
        .set_attribute("fraud.score", 0.07)
        .set_attribute("fraud.is_suspect", false);
    Ok(request.end(span_of_check, 200))
}
