//! payment-service: has the payment checked for fraud, and charges the customer.

use super::shop::{Failure, Request, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("payment-service")?.serve(pay)
}

fn pay(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let mut span = request.span("POST /payments");
    span.set_static("payment.provider", "acme")
        .set_attribute("payment.amount", 129.9);
    shop.work("payment.prepare");
    let check = ("POST /check", "fraud-check.shop.internal", "/check");
    let has_check = shop.plan.has("fraud.score") || shop.plan.has("fraud.inference");
    let mut status = 200;
    if shop.plan.has("payment.bank") {
        // Two questions that do not depend on each other: asked at once.
        let check = shop.call(check, &span, request);
        let bank = shop.call(
            ("POST /authorize", "api.bank.example", "/payment.bank"),
            &span,
            request,
        );
        let bank = std::thread::spawn(|| bank.send());
        status = check.send()?;
        bank.join().map_err(|_| "the call of the bank panicked")??;
        // Two more that do not either, asked one after the other: what the trace is to show.
        let limits = ("GET /limits", "limits.bank.example", "/payment.limits");
        shop.call(limits, &span, request).send()?;
        let points = ("GET /points", "points.bank.example", "/payment.points");
        shop.call(points, &span, request).send()?;
    } else if has_check {
        status = shop.call(check, &span, request).send()?;
    }
    if shop.plan.has("card.charge") {
        let charge = ("POST /charge", "card-processing.shop.internal", "/charge");
        status = status.max(shop.call(charge, &span, request).send()?);
    }
    if shop.plan.has("payment.external") {
        let charge = (
            "POST /v1/charges",
            "api.payments.example",
            "/payment.external",
        );
        status = status.max(shop.call(charge, &span, request).send()?);
    }
    shop.work("payment.finish");
    Ok(request.end(span, status))
}
