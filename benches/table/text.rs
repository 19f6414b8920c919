//! Text and bytes: `traceparent`, and spans as OTLP.

use crate::case::{Target::*, *};
use crate::clocks::{BenchClock, Tsc};
use crate::inputs::*;
use crate::recorder::{RING_WORDS, parent, recording};
use crate::spans::{Inline, four};
use core::hint::black_box;
use spanlet::context::traceparent;
use spanlet::otlp::{OtlpEncoder, OtlpJsonEncoder, Resource};
use spanlet::{InstrumentationScope, SpanConsumer, TickRate, TraceFlags, UnixAnchor};

/// What a chunk of spans takes at most, encoded.
const BODY: usize = 1 << 19;

pub(crate) fn register(cases: &mut Vec<Case>) {
    // SSE2 and NEON are in the baseline of every target that the floors run on.
    cases.push(
        Case::new(PARSE, "spanlet", SPANS, |m| {
            m.start();
            for _ in 0..SPANS {
                black_box(&traceparent::parse(black_box(TRACEPARENT.as_bytes())));
            }
            m.stop();
        })
        .must(&[Ns(8.0), NoAlloc]),
    );
    let context = parent(TraceFlags::SAMPLED);
    cases.push(
        Case::new(ENCODE, "spanlet", SPANS, move |m| {
            let mut out = [0; 55];
            m.start();
            for _ in 0..SPANS {
                traceparent::encode_into(black_box(&context), black_box(&mut out));
            }
            m.stop();
        })
        .must(&[Ns(6.0), NoAlloc]),
    );
    cases.push(
        otlp(OTLP, |reader, body, anchor| {
            let scope = InstrumentationScope::new("");
            let mut request =
                OtlpEncoder::new(body, &Resource::default(), &scope, anchor).expect("room");
            while let Some(span) = reader.read() {
                request.push(&span).expect("room");
            }
            reader.release();
            request.finish().len()
        })
        .must(&[Ns(30.0), NoAlloc]),
    );
    cases.push(
        otlp(OTLP_JSON, |reader, body, anchor| {
            let scope = InstrumentationScope::new("");
            let mut request =
                OtlpJsonEncoder::new(body, &Resource::default(), &scope, anchor).expect("room");
            while let Some(span) = reader.read() {
                request.push(&span).expect("room");
            }
            reader.release();
            request.finish().len()
        })
        .must(&[Ns(200.0), NoAlloc]),
    );
    floor(cases);
}

/// Records a chunk, then has it encoded out of the ring.
fn otlp(
    row: Row,
    encode: impl Fn(&mut SpanConsumer<'static>, &mut [u8], UnixAnchor) -> usize + 'static,
) -> Case {
    let (rec, mut reader) = recording(Tsc, RING_WORDS);
    let cx = parent(TraceFlags::SAMPLED);
    let rate = TickRate::hz(2_600_000_000).expect("not zero");
    let anchor = UnixAnchor::new(Tsc.now(), 1_763_000_000_123_456_789, rate);
    let mut body = vec![0; BODY];
    Case::new(row, "spanlet", SPANS, move |m| {
        for _ in 0..SPANS {
            four::<_, Inline>(rec, &cx);
        }
        m.start();
        let len = encode(&mut reader, &mut body, black_box(anchor));
        m.stop();
        assert!(len > SPANS * 100, "all spans are in the body");
    })
}

/// A span in a struct of its own, written with keys that are constant: optimistic.
struct Flat {
    trace: [u8; 16],
    span: [u8; 8],
    start: u64,
    end: u64,
    int: i64,
    text_len: u8,
    text: [u8; 23],
}

struct Out<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl Out<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.buf[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
    #[inline(always)]
    fn field(&mut self, tag: u8, bytes: &[u8]) {
        self.put(&[tag, bytes.len() as u8]);
        self.put(bytes);
    }
    #[inline(always)]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
    #[inline(always)]
    fn attribute(&mut self, key: &[u8], value_len: usize, value: impl FnOnce(&mut Self)) {
        self.put(&[0x4a, (2 + key.len() + 2 + value_len) as u8]);
        self.field(0x0a, key);
        self.put(&[0x12, value_len as u8]);
        value(self);
    }
}

impl Flat {
    #[inline]
    fn write(&self, buf: &mut [u8]) -> usize {
        let mut out = Out { buf, at: 3 };
        out.field(0x0a, &self.trace);
        out.field(0x12, &self.span);
        out.field(0x22, &[7; 8]);
        out.field(0x2a, b"child");
        out.put(&[0x30, 1, 0x39]);
        out.put(&self.start.to_le_bytes());
        out.put(&[0x41]);
        out.put(&self.end.to_le_bytes());
        out.attribute(b"http.method", 2 + STATIC_TEXT.len(), |out| {
            out.field(0x0a, STATIC_TEXT.as_bytes());
        });
        let int_len = (64 - (self.int | 1).leading_zeros()).div_ceil(7) as usize;
        out.attribute(b"http.status", 1 + int_len, |out| {
            out.put(&[0x18]);
            out.varint(self.int as u64);
        });
        out.attribute(b"cache.hit", 2, |out| out.put(&[0x10, 1]));
        let text = &self.text[..self.text_len as usize];
        out.attribute(b"user.id", 2 + text.len(), |out| out.field(0x0a, text));
        out.put(&[0x7a, 0, 0x85, 0x01]);
        out.put(&0x101u32.to_le_bytes());
        let (end, len) = (out.at, out.at - 3);
        buf[..3].copy_from_slice(&[0x12, len as u8 & 0x7f | 0x80, (len >> 7) as u8]);
        end
    }
}

fn floor(cases: &mut Vec<Case>) {
    let mut copied = [0; 23];
    copied[..text().len()].copy_from_slice(text().as_bytes());
    let flat: Vec<Flat> = (1..=SPANS as u64)
        .map(|i| Flat {
            trace: [1; 16],
            span: i.to_ne_bytes(),
            start: 1_763_000_000_123_456_789 + i,
            end: 1_763_000_000_123_457_789 + i,
            int: int(),
            text_len: text().len() as u8,
            text: copied,
        })
        .collect();
    let mut body = vec![0; BODY];
    cases.push(Case::new(OTLP, FLOOR, SPANS, move |m| {
        m.start();
        let mut at = 0;
        for span in black_box(&flat) {
            at += span.write(&mut body[at..]);
        }
        m.stop();
        black_box((&body, at));
    }));
}
