//! inventory-service: reserves articles, and answers questions about the stock from a cache and a database.

use super::client::query;
use super::shop::{Failure, Refused, Request, Shop};
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
    let sku = request.path().rsplit('/').next().unwrap_or_default();
    let sku: i64 = sku.parse()?;
    let is_lost = shop.plan.stock_fails(sku);
    let mut cache = query("GET stock", "redis", "GET stock:{sku}", &span);
    shop.work("stock.cache");
    if !is_lost && shop.plan.dice(request.path()).is_multiple_of(2) {
        return Ok(request.end(span, 200));
    }
    cache.add_event("cache.miss", &[KeyValue::new("sku", sku)]);
    cache.end();
    let sql = "SELECT count FROM stock WHERE sku = $1";
    let mut select = query("SELECT stock", "postgresql", sql, &span);
    shop.work("stock.query");
    if is_lost {
        select.record_error(&Refused("connection to the replica lost"));
        return Ok(request.end(span, 500));
    }
    Ok(request.end(span, 200))
}
