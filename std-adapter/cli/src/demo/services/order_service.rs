//! order-service: reserves, has the customer pay, stores the order, and tells the queue.

use super::client::query;
use super::shop::{Failure, Request, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("order-service")?.serve(order)
}

fn order(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let mut span = request.span("POST /orders");
    let id = format!("order-{:06}", shop.plan.dice("order") % 1_000_000);
    span.set_attribute("order.id", id.as_str());
    span.set_attribute("order.items", 3);
    shop.work("order.validate");
    if shop.plan.has("order.parallel") {
        // An open call may be sent by another thread; its span goes with it.
        let reserve = shop.begin("POST /reserve", "inventory-service", &span, request);
        let pay = shop.begin("POST /payments", "payment-service", &span, request);
        let reserved = std::thread::spawn(|| reserve.send());
        pay.send()?;
        reserved.join().map_err(|_| "the call panicked")??;
    } else {
        if shop.plan.has("inventory.reserve") {
            shop.call("POST /reserve", "inventory-service", &span, request)?;
        }
        if shop.plan.has("order.rates") {
            let host = "rates-service.staging.example";
            let rates = shop.begin("GET /rates", host, &span, request);
            // An address that nobody answers at, until another one is tried.
            shop.work("order.rates");
            rates.send()?;
        }
        shop.call("POST /payments", "payment-service", &span, request)?;
    }
    if shop.plan.has("order.insert") {
        let sql = "INSERT INTO orders (id, tenant, total) VALUES ($1, $2, $3)";
        let _insert = query("INSERT orders", "postgresql", sql, &span);
        shop.work("order.insert");
    }
    if shop.plan.has("notification.direct") {
        shop.call("POST /notify", "notification-service", &span, request)?;
    } else {
        shop.publish(&id, &span, request)?;
    }
    shop.work("order.finish");
    Ok(request.end(span, 200))
}
