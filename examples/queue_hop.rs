//! A hop through a queue: orders are placed, each in a trace of its own, and billed by a consumer in batches.
//!
//! Input: nothing. Output: the traces as waterfalls. Each `send orders` carries its context in the record's headers; the
//! consumer's `poll orders` and `process orders` link to it, so from either trace the other is found. The queue is a
//! topic within the process that keeps records as Kafka does: a partition, an offset, headers that may be null.
//!
//! `cargo run -p spanlet-examples --example queue_hop`

use spanlet::ParentContext;
use spanlet_std::export::ConsoleExporter;
use spanlet_std::messaging::Destination;
use spanlet_std::propagation::{Context, NullablePairs, NullablePairsMut};
use spanlet_std::trace::Waterfall;
use spanlet_std::{Span, Telemetry, span};
use std::error::Error;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

const ORDERS: i64 = 4;

/// What a partition holds.
struct Record {
    offset: i64,
    key: String,
    value: String,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A topic with one partition.
#[derive(Default)]
struct Topic {
    records: Mutex<Vec<Record>>,
    is_sent: Condvar,
}

impl Topic {
    fn send(&self, key: String, value: String, headers: Vec<(String, Option<Vec<u8>>)>) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = records.last().map_or(0, |last| last.offset + 1);
        records.push(Record {
            offset,
            key,
            value,
            headers,
        });
        self.is_sent.notify_all();
    }
    /// Waits until there are so many records, and takes them.
    fn poll(&self, at_least: usize) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self
            .is_sent
            .wait_while(records, |records| records.len() < at_least);
        core::mem::take(&mut *enough.unwrap_or_else(PoisonError::into_inner))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder()
        .service_name("queue-hop")
        .exporter(ConsoleExporter::new().waterfall(Waterfall::new(100)))
        .install()?;
    let orders = Destination::new("kafka", "orders")
        .client_id("shop-1")
        .consumer_group("billing");
    let topic = Topic::default();
    std::thread::scope(|threads| {
        threads.spawn(|| consume(&orders, &topic));
        for number in 1..=ORDERS {
            place(number, &orders, &topic);
        }
    });
    let ledger = telemetry.shutdown(Duration::from_secs(5));
    println!("{ledger}");
    if ledger.missing() != 0 {
        return Err("a span is missing from the ledger".into());
    }
    Ok(())
}

/// A request that ends in a message.
fn place(number: i64, orders: &Destination, topic: &Topic) {
    let mut request: Span = span("POST /orders").root().start();
    request.set_attribute("order.id", number);
    request.run(|_| {
        let key = format!("customer-{}", number % 2);
        let mut headers = vec![("content-type".to_owned(), Some(b"text/plain".to_vec()))];
        let send = orders.send().partition("0").kafka_key(&key);
        // A Vec refuses nothing.
        let Ok(mut send) = send.inject_into(&mut NullablePairsMut(&mut headers));
        send.run(|_| {
            std::thread::sleep(Duration::from_millis(2));
            topic.send(key.clone(), format!("order {number}"), headers);
        });
    });
}

/// Takes one batch and bills each of its orders.
fn consume(orders: &Destination, topic: &Topic) {
    let records = topic.poll(ORDERS as usize);
    let messages: Vec<Context> = records
        .iter()
        .map(|record| Context::extract(&NullablePairs(&record.headers)))
        .collect();
    let mut poll = orders
        .receive(&messages)
        .name("poll")
        .partition("0")
        .start();
    poll.run(|_| {
        for (record, message) in records.iter().zip(&messages) {
            let mut process = orders
                .process(core::slice::from_ref(message))
                .partition("0")
                .kafka_offset(record.offset)
                .kafka_key(&record.key)
                .start();
            process.run(|_| bill(record));
            let producer = message
                .span_context()
                .map(|producer| producer.trace_id().to_string());
            println!(
                "billed {:?}: trace {}",
                record.value,
                process.context().trace_id()
            );
            println!(
                "  its message was made in trace {}",
                producer.unwrap_or_default()
            );
        }
        orders
            .settle("commit", &messages)
            .partition("0")
            .start()
            .end();
    });
}

fn bill(record: &Record) {
    let mut charge: Span = span("charge card").start();
    charge.set_attribute("order.bytes", record.value.len() as i64);
    std::thread::sleep(Duration::from_millis(3));
}
