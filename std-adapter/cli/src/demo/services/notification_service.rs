//! notification-service: tells customers of their orders. From the queue: its span links to the producer's and is
//! not its child, because nobody waits for it. In incident 2 it is called directly.

use super::client::Message;
use super::shop::{Failure, Refused, Shop, say};
use spanlet::{KeyValue, ParentContext, SpanKind, Value};
use spanlet_std::propagation::Context;
use spanlet_std::{Span, span};

pub(crate) fn main() -> Result<(), Failure> {
    let shop = Shop::open("notification-service")?;
    if shop.plan.has("notification.direct") {
        return shop.serve(|shop, request| {
            let mut span = request.span("POST /notify");
            send(shop, &mut span, "notification.direct");
            Ok(request.end(span, 202))
        });
    }
    say(format_args!("ready"));
    loop {
        match shop.take()? {
            Some(message) => process(&shop, &message),
            None if shop.is_stopping() => break,
            None => std::thread::sleep(std::time::Duration::from_millis(2)),
        }
    }
    shop.close();
    Ok(())
}

fn process(shop: &Shop, message: &Message) {
    let context = Context::extract(&message.fields);
    let mut span: Span = span("process order.created")
        .kind(SpanKind::Consumer)
        .root()
        .attributes(&[
            KeyValue::new("messaging.system", Value::Static("demo_queue")),
            KeyValue::new("messaging.destination.name", Value::Static("order.created")),
            KeyValue::new("messaging.operation.name", Value::Static("process")),
            KeyValue::new("messaging.operation.type", Value::Static("process")),
            KeyValue::new("messaging.message.id", message.body.as_str()),
        ])
        .start();
    if let Some(producer) = context.span_context() {
        span.add_link_with_state(&producer, context.trace_state(), &[]);
    }
    send(shop, &mut span, "notification.send");
}

fn send(shop: &Shop, span: &mut Span, step: &str) {
    shop.try_work(span, step);
    if let Some(reason) = shop.plan.failure(step) {
        span.record_error(&Refused(reason));
    }
}
