//! order-service: reserves, has the customer pay, stores the order, and tells the queue.

use super::shop::{ALLOWED, Failure, Message, Request, Shop, database};
use spanlet::SpanKind;
use spanlet_std::Span;
use spanlet_std::propagation::MessageFields;

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("order-service")?.serve(order)
}

fn order(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let mut span = request.span("POST /orders");
    let id = format!("order-{:06}", shop.plan.dice("order") % 1_000_000);
    span.set_attribute("order.id", id.as_str())
        .set_attribute("order.items", 3);
    shop.work("order.validate");
    let reserve = (
        "POST /reserve",
        "inventory-service.shop.internal",
        "/reserve",
    );
    let pay = (
        "POST /payments",
        "payment-service.shop.internal",
        "/payments",
    );
    let status = if shop.plan.has("order.parallel") {
        // A client's span may be sent off to another thread.
        let (reserve, pay) = (
            shop.call(reserve, &span, request),
            shop.call(pay, &span, request),
        );
        let reserved = std::thread::spawn(|| reserve.send());
        let paid = pay.send()?;
        reserved
            .join()
            .map_err(|_| "the call of the inventory panicked")??
            .max(paid)
    } else {
        if shop.plan.has("inventory.reserve") {
            shop.call(reserve, &span, request).send()?;
        }
        if shop.plan.has("order.rates") {
            let call = shop.call(
                ("GET /rates", "rates-old.staging.example", "/rates"),
                &span,
                request,
            );
            shop.work("order.rates"); // an address that nobody answers at, until another is tried
            call.send()?;
        }
        shop.call(pay, &span, request).send()?
    };
    if shop.plan.has("order.insert") {
        let insert = "INSERT INTO orders (id, tenant, total) VALUES ($1, $2, $3)";
        let _insert = database("postgresql", insert, "INSERT orders", &span);
        shop.work("order.insert");
    }
    if shop.plan.has("notification.direct") {
        let notify = (
            "POST /notify",
            "notification-service.shop.internal",
            "/notify",
        );
        shop.call(notify, &span, request).send()?;
    } else {
        let producer = spanlet_std::span("send order.created").kind(SpanKind::Producer);
        let mut publish: Span = producer.parent(&span).start();
        publish
            .set_static("messaging.system", "demo_queue")
            .set_static("messaging.destination.name", "order.created")
            .set_static("messaging.operation.type", "send")
            .set_attribute("messaging.message.id", id.as_str());
        shop.work("order.publish");
        let mut fields = MessageFields::new();
        request.context.inject(&publish, ALLOWED, &mut fields)?;
        shop.queue("/order.created", Some(&Message { fields, body: id }))?;
    }
    shop.work("order.finish");
    Ok(request.end(span, status))
}
