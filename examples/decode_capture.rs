//! Decodes what a device sent over a UART, with core's decoder alone: prints its traces and its ledger.
//!
//! `cargo run -p spanlet-examples --example decode_capture -- FILE` reads a capture of one boot. It fails when
//! anything is missing or makes no sense, so a script can rely on it. Times are printed in whole milliseconds.

use spanlet::frame::{
    Body, Decoded, FixedSymbols, Frame, Message, Progress, RecordBatch, SequenceTracker,
    StreamDecoder,
};
use spanlet::{SpanId, Status, TickRate, Ticks, TraceId, Value};
use std::error::Error;
use std::fmt::Write;

/// What is kept of a span: its place in the tree, and the rest as text.
struct Received {
    trace_id: TraceId,
    span_id: SpanId,
    parent_id: Option<SpanId>,
    has_remote_parent: bool,
    start: Ticks,
    end: Ticks,
    text: String,
}

#[derive(Default)]
struct Capture {
    symbols: FixedSymbols<256, 8192>,
    tracker: SequenceTracker,
    rate: Option<TickRate>,
    /// The newest time of sending: no span of an earlier frame may end after it.
    sent_at: Ticks,
    spans: Vec<Received>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or("usage: decode_capture FILE")?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut capture = Capture::default();
    let mut decoder = StreamDecoder::<2048>::new();
    let mut rest = &bytes[..];
    while let Progress::Frame(frame) = decoder.feed(&mut rest) {
        capture.take(&Frame::parse(frame)?)?;
    }
    if decoder.skipped_bytes() != 0 || decoder.undecodable_count() != 0 {
        return Err(format!("{} bytes belong to no frame", decoder.skipped_bytes()).into());
    }
    capture.print()
}

impl Capture {
    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error>> {
        if frame.sent_at() < self.sent_at {
            return Err("a frame was sent before the one before it".into());
        }
        self.sent_at = frame.sent_at();
        match frame.body() {
            Body::Message(Message::Hello(hello)) => {
                self.rate = hello.tick_rate();
                println!(
                    "device {} at {} Hz, scope {}",
                    hello.device_id, hello.tick_hz, hello.scope_name
                );
                hello
                    .resource
                    .for_each(|kv| println!("  {} = {}", kv.key, text_of(&kv.value)))?;
                Ok(())
            }
            Body::Records(batch) => self.records(batch),
            _ => Err("a frame of a kind that a capture of one boot does not have".into()),
        }
    }

    fn records(&mut self, batch: &RecordBatch<'_>) -> Result<(), Box<dyn Error>> {
        batch.learn(&mut self.symbols);
        self.tracker.batch(batch);
        let (mut records, mut scratch) = (batch.records(), [0; 512]);
        while let Some(record) = records.decode_next(&self.symbols, &mut scratch) {
            let record = record?;
            if self.tracker.accept(record.sequence) {
                self.spans.push(received(&record, self.sent_at)?);
            }
        }
        Ok(())
    }

    fn print(&self) -> Result<(), Box<dyn Error>> {
        let rate = self.rate.ok_or("no hello: the tick rate is not known")?;
        let roots =
            (self.spans.iter()).filter(|span| span.parent_id.is_none() || span.has_remote_parent);
        let shown = roots
            .map(|root| self.tree(root, 0, rate))
            .sum::<Result<usize, String>>()?;
        if shown != self.spans.len() {
            return Err(format!("{} spans have no parent here", self.spans.len() - shown).into());
        }
        let ledger = self.tracker.ledger();
        println!(
            "ledger: {} started, {} received, {} open",
            ledger.started, ledger.received, ledger.open
        );
        let seen = ledger.received + ledger.open + ledger.pending;
        if !ledger.is_balanced() || seen != ledger.started {
            return Err(format!("spans are missing: {ledger:?}").into());
        }
        Ok(())
    }

    /// Prints a span and what is below it; how many that are.
    fn tree(&self, span: &Received, depth: usize, rate: TickRate) -> Result<usize, String> {
        let ticks = span.end.0 - span.start.0;
        let millis = u128::from(ticks) * 1000 / u128::from(rate.as_hz());
        println!("{:depth$}{}, {millis} ms", "", span.text, depth = depth * 2);
        if let (0, Some(parent)) = (depth, span.parent_id) {
            println!("  (called by {parent} in trace {})", span.trace_id);
        }
        let children = self.spans.iter().filter(|other| {
            other.trace_id == span.trace_id && other.parent_id == Some(span.span_id)
        });
        let mut shown = 1;
        for child in children {
            if child.start < span.start {
                return Err(format!("starts before its parent: {}", child.text));
            }
            shown += self.tree(child, depth + 1, rate)?;
        }
        Ok(shown)
    }
}

fn received(record: &Decoded<'_>, sent_at: Ticks) -> Result<Received, Box<dyn Error>> {
    let span = &record.span;
    if !record.missing.is_empty() {
        return Err(format!("record {}: a text was never announced", record.sequence).into());
    }
    if span.end() < span.start() || span.end() > sent_at {
        return Err(format!(
            "record {}: ends before it starts, or after it was sent",
            record.sequence
        )
        .into());
    }
    let mut text = span.name().to_owned();
    for kv in span.attributes() {
        write!(text, " {}={}", kv.key, text_of(&kv.value))?;
    }
    for event in span.events() {
        write!(text, " [{}", event.name())?;
        for kv in event.attributes() {
            write!(text, " {}={}", kv.key, text_of(&kv.value))?;
        }
        text.push(']');
    }
    if span.status() == Status::Error {
        write!(
            text,
            " error: {}",
            span.status_description().unwrap_or_default()
        )?;
    }
    Ok(Received {
        trace_id: span.trace_id(),
        span_id: span.span_id(),
        parent_id: span.parent_id(),
        has_remote_parent: span.parent_is_remote(),
        start: span.start(),
        end: span.end(),
        text,
    })
}

fn text_of(value: &Value<'_>) -> String {
    match value {
        Value::I64(n) => n.to_string(),
        Value::Str(text) => (*text).to_owned(),
        Value::Static(text) => (*text).to_owned(),
        other => format!("{other:?}"),
    }
}
