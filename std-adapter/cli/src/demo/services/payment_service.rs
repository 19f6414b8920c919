//! payment-service: has the payment checked for fraud, and charges the customer.

use super::shop::{Failure, Request, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("payment-service")?.serve(pay)
}

fn pay(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let mut span = request.span("POST /payments");
    span.set_static("payment.provider", "acme");
    span.set_attribute("payment.amount", 129.9);
    shop.work("payment.prepare");
    if shop.plan.has("payment.bank") {
        // Two questions that do not depend on each other: asked at once.
        let bank = shop.begin("POST /authorize", "api.bank.example", &span, request);
        let check = shop.begin("POST /check", "fraud-check", &span, request);
        let bank = std::thread::spawn(|| bank.send());
        check.send()?;
        bank.join().map_err(|_| "the call panicked")??;
        // Two more that do not either, one after the other: that is what the trace is to show.
        shop.call("GET /limits", "limits.bank.example", &span, request)?;
        shop.call("GET /points", "points.bank.example", &span, request)?;
    }
    if shop.plan.has("fraud.score") {
        shop.call("POST /check", "fraud-check", &span, request)?;
    }
    if shop.plan.has("card.charge") {
        shop.call("POST /charge", "card-processing", &span, request)?;
    }
    if shop.plan.has("payment.external") {
        shop.call("POST /charges", "api.payments.example", &span, request)?;
    }
    shop.work("payment.finish");
    Ok(request.end(span, 200))
}
