//! api-gateway: where requests enter. A device's checkout brings its trace along; the others start here.

use super::shop::{Failure, Request, Shop};

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("api-gateway")?.serve(|shop, request| match request.path() {
        "/checkout" => checkout(shop, request),
        _ => stock(shop, request),
    })
}

fn checkout(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let mut span = request.span("POST /checkout");
    if let Some(channel) = request.context.baggage("checkout.channel") {
        span.set_attribute("checkout.channel", channel.as_str());
    }
    shop.work("gateway.route");
    let status = shop.call("POST /orders", "order-service", &span, request)?;
    shop.work("gateway.answer");
    Ok(request.end(span, status))
}

fn stock(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let span = request.span("GET /stock/{sku}");
    shop.work("gateway.stock");
    let status = shop.call("GET /stock/{sku}", "inventory-service", &span, request)?;
    Ok(request.end(span, status))
}
