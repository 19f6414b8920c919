//! inventory-service: reserves articles, and answers questions about the stock from a cache and a database.

use super::shop::{Failure, Refused, Request, Shop, database};
use spanlet::KeyValue;

pub(crate) fn main() -> Result<(), Failure> {
    Shop::open("inventory-service")?.serve(|shop, request| match request.path() {
        "/reserve" => reserve(shop, request),
        _ => stock(shop, request),
    })
}

fn reserve(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let mut span = request.span("POST /reserve");
    span.set_attribute("inventory.warehouses", &["berlin", "lyon"][..])
        .set_attribute("inventory.counts", &[2_i64, 1][..]);
    shop.try_work(&mut span, "inventory.reserve");
    span.set_attribute("inventory.reserved", 3);
    Ok(request.end(span, 200))
}

fn stock(shop: &Shop, request: &mut Request) -> Result<u16, Failure> {
    let span = request.span("GET /stock/{sku}");
    let sku = request
        .path()
        .rsplit('/')
        .next()
        .and_then(|sku| sku.parse().ok())
        .unwrap_or(0);
    let mut cache = database("redis", "GET stock:{sku}", "GET stock", &span);
    shop.work("stock.cache");
    let is_hit = shop.plan.dice(request.path()) % 2 == 0 && !shop.plan.stock_fails(sku);
    if is_hit {
        return Ok(request.end(span, 200));
    }
    cache.add_event("cache.miss", &[KeyValue::new("sku", i64::try_from(sku)?)]);
    cache.end();
    let mut query = database(
        "postgresql",
        "SELECT count FROM stock WHERE sku = $1",
        "SELECT stock",
        &span,
    );
    shop.work("stock.query");
    if shop.plan.stock_fails(sku) {
        query.record_error(&Refused("connection to the replica lost"));
        return Ok(request.end(span, 500));
    }
    Ok(request.end(span, 200))
}
