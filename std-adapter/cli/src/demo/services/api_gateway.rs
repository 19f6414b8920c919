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
    span.set_attribute(
        "client.channel",
        request
            .context
            .baggage("checkout.channel")
            .as_deref()
            .unwrap_or("web"),
    );
    shop.work("gateway.route");
    let order = ("POST /orders", "order-service.shop.internal", "/orders");
    let status = shop.call(order, &span, request).send()?;
    shop.work("gateway.answer");
    Ok(request.end(span, status))
}

fn stock(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let span = request.span("GET /stock/{sku}");
    shop.work("gateway.stock");
    let inventory = (
        "GET /stock/{sku}",
        "inventory-service.shop.internal",
        request.path(),
    );
    let status = shop.call(inventory, &span, request).send()?;
    Ok(request.end(span, status))
}
