//! Any bytes behind a right CRC: parsing, learning and decoding end, and views can be read to their ends.
//!
//! Input: a frame without its CRC, which is added, so that mutation gets past it. The first byte says how
//! many words of scratch there are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanlet::frame::{Body, FixedSymbols, Frame, Message, Records};
use spanlet::{Attributes, Value};

fuzz_target!(|data: &[u8]| {
    let Some((room, frame)) = data.split_first() else {
        return;
    };
    let mut frame = frame.to_vec();
    frame.extend(crc32(&frame).to_le_bytes());
    let mut scratch = vec![0; usize::from(*room) * 8];
    let mut symbols: FixedSymbols<64, 1024> = FixedSymbols::new();
    if let Ok(frame) = Frame::parse(&frame) {
        match frame.body() {
            Body::Records(batch) => {
                // Before the dictionary, and with it.
                decode(batch.records(), &symbols, &mut scratch);
                batch.learn(&mut symbols);
                decode(batch.records(), &symbols, &mut scratch);
            }
            Body::Message(Message::Hello(hello)) => {
                let _ = hello.resource.for_each(|kv| {
                    std::hint::black_box(kv);
                });
            }
            _ => {}
        }
    }
    // The same bytes as a content that was put together from fragments.
    if let Ok(Body::Records(batch)) = Body::reassembled(0, data) {
        decode(batch.records(), &symbols, &mut scratch);
    }
});

fn decode(mut records: Records<'_>, symbols: &FixedSymbols<64, 1024>, scratch: &mut [u64]) {
    while let Some(record) = records.decode_next(symbols, scratch) {
        let Ok(record) = record else { continue };
        let span = &record.span;
        let mut read = Read::default();
        read.text(span.name());
        read.text(span.status_description().unwrap_or_default());
        read.text(span.trace_state().unwrap_or_default());
        if let Some(scope) = span.scope() {
            for text in [scope.name, scope.version, scope.schema_url] {
                read.text(text);
            }
        }
        read.attributes(span.attributes());
        for event in span.events() {
            read.text(event.name());
            read.attributes(event.attributes());
        }
        for link in span.links() {
            read.text(link.trace_state().unwrap_or_default());
            read.attributes(link.attributes());
        }
        std::hint::black_box((
            read.0,
            span.trace_id(),
            span.parent_id(),
            span.truncated_values(),
        ));
    }
}

/// Reads every byte, so that a sanitizer sees a wrong one.
#[derive(Default)]
struct Read(u64);

impl Read {
    fn bytes(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|b| self.0 = self.0.rotate_left(5) ^ u64::from(*b));
    }
    fn text(&mut self, text: &str) {
        assert!(std::str::from_utf8(text.as_bytes()).is_ok());
        self.bytes(text.as_bytes());
    }
    fn attributes(&mut self, attributes: Attributes<'_>) {
        for kv in attributes {
            self.text(kv.key);
            match kv.value {
                Value::Str(text) => self.text(text),
                Value::Bytes(bytes) | Value::Any(bytes) => self.bytes(bytes),
                Value::BoolArray(items) => items.iter().for_each(|v| self.bytes(&[u8::from(*v)])),
                Value::I64Array(items) => items.iter().for_each(|v| self.bytes(&v.to_ne_bytes())),
                Value::F64Array(items) => items.iter().for_each(|v| self.bytes(&v.to_ne_bytes())),
                Value::StrArray(texts) => texts.iter().for_each(|text| self.text(text)),
                _ => {}
            }
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    !crc
}
