//! What the tests of the wire share: spans to send, a receiver, and views to compare. Mostly the strategies of one
//! arbitrary span, which belong together.

use proptest::prelude::*;
use spanlet::frame::{
    Body, DeviceCounters, Epoch, Frame, FrameEncoder, Learned, Link, Push, Reassembled,
    Reassembler, RecordBatch, SequenceTracker, Symbol, Symbols,
};
use spanlet::testing::TestTracer;
use spanlet::{
    AlwaysOff, AlwaysOn, Attributes, InlineBuf, InstrumentationScope, KeyValue, LocalRecord,
    Sampler, SamplingDecision, SamplingParameters, SamplingResult, Span, SpanContext, SpanId,
    SpanKind, SpanLimits, SpanView, Status, StrArray, Ticks, TraceFlags, TraceId, Value,
};
use std::fmt::Write;

// ---- comparing ----

/// Everything that a view tells, as text; doubles by their bits.
pub fn describe(span: &SpanView<'_>) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "{:?} {:?} {:?} remote={} {:?}..{:?} {:?} {:?} {:?} escalated={} unknown={} name={:?}",
        span.trace_id(),
        span.span_id(),
        span.parent_id(),
        span.parent_is_remote(),
        span.start(),
        span.end(),
        span.flags(),
        span.kind(),
        span.status(),
        span.is_escalated(),
        span.is_duration_unknown(),
        span.name(),
    );
    let _ = write!(
        out,
        " {:?} {:?} {:?} dropped={},{},{},{}",
        span.status_description(),
        span.trace_state(),
        span.scope(),
        span.dropped_attributes(),
        span.dropped_events(),
        span.dropped_links(),
        span.truncated_values(),
    );
    attributes(&mut out, span.attributes());
    for event in span.events() {
        let dropped = event.dropped_attributes();
        let _ = write!(
            out,
            "\n event {:?} {:?} {dropped}",
            event.name(),
            event.ticks()
        );
        attributes(&mut out, event.attributes());
    }
    for link in span.links() {
        let (context, state) = (link.context(), link.trace_state());
        let _ = write!(
            out,
            "\n link {:?} {:?} {:?} {} {state:?} {}",
            context.trace_id(),
            context.span_id(),
            context.flags(),
            context.is_remote(),
            link.dropped_attributes()
        );
        attributes(&mut out, link.attributes());
    }
    out
}

fn attributes(out: &mut String, attributes: Attributes<'_>) {
    for kv in attributes {
        let _ = match kv.value {
            Value::F64(v) => write!(out, "\n  {:?}: {:#x}", kv.key, v.to_bits()),
            Value::F64Array(v) => {
                let bits: Vec<u64> = v.iter().map(|v| v.to_bits()).collect();
                write!(out, "\n  {:?}: {bits:x?}", kv.key)
            }
            value => write!(out, "\n  {:?}: {value:?}", kv.key),
        };
    }
}

// ---- spans ----

#[derive(Clone, Debug)]
pub enum Val {
    Bool(bool),
    I64(i64),
    F64(u64),
    F32(f32),
    Str(String),
    Static(usize),
    Bytes(Vec<u8>),
    Bools(Vec<bool>),
    I64s(Vec<i64>),
    F64s(Vec<u64>),
    Strs(Vec<String>),
    Any(Vec<u8>),
}

impl Val {
    fn with<T>(&self, use_it: impl FnOnce(Value<'_>) -> T) -> T {
        match self {
            Val::Bool(v) => use_it(Value::Bool(*v)),
            Val::I64(v) => use_it(Value::I64(*v)),
            Val::F64(v) => use_it(Value::F64(f64::from_bits(*v))),
            Val::F32(v) => use_it(Value::F64((*v).into())),
            Val::Str(v) => use_it(Value::Str(v)),
            Val::Static(v) => use_it(Value::Static(KEYS[*v])),
            Val::Bytes(v) => use_it(Value::Bytes(v)),
            Val::Bools(v) => use_it(Value::BoolArray(v)),
            Val::I64s(v) => use_it(Value::I64Array(v)),
            Val::F64s(v) => {
                let v: Vec<f64> = v.iter().map(|v| f64::from_bits(*v)).collect();
                use_it(Value::F64Array(&v))
            }
            Val::Strs(v) => {
                let v: Vec<&str> = v.iter().map(String::as_str).collect();
                use_it(Value::StrArray(StrArray::new(&v)))
            }
            Val::Any(v) => use_it(Value::Any(v)),
        }
    }
}

pub const KEYS: [&str; 32] = [
    "a",
    "http.request.method",
    "http.response.status_code",
    "grün.schlüssel",
    "db.query.text",
    "sensor.celsius",
    "sensor.humidity",
    "retry",
    "attempt",
    "queue.depth",
    "radio.rssi",
    "net.peer",
    "order.id",
    "payment.amount",
    "k1",
    "k2",
    "k3",
    "k4",
    "k5",
    "k6",
    "k7",
    "k8",
    "k9",
    "k10",
    "k11",
    "k12",
    "k13",
    "k14",
    "k15",
    "k16",
    "k17",
    "a.key.of.more.than.127.bytes.so.that.its.length.takes.two.bytes.on.the.wire.and.it.is.seldom.worth.it.but.must.work.all.the.same.as.others",
];

#[derive(Clone, Debug)]
pub enum Op {
    Attribute(usize, Val),
    Copied(String, Val),
    Event(usize, Vec<(usize, Val)>),
    EventAt(usize, u64),
    Link(
        Option<u128>,
        u64,
        u8,
        bool,
        Option<String>,
        Vec<(usize, Val)>,
    ),
    Name(String),
    Error(String),
    Ok,
    Advance(u64),
}

#[derive(Clone, Debug)]
pub struct Input {
    name: usize,
    kind: SpanKind,
    parent: Relation,
    trace_state: Option<String>,
    advance: i64,
    scope: usize,
    ops: Vec<Op>,
}

#[derive(Clone, Debug)]
enum Relation {
    Root,
    /// The span that ended before, or nobody.
    OfLast,
    SiblingOfLast,
    Given(u128, u64, u8, bool),
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z]{0,12}",
        2 => "\\PC{0,40}",
        1 => (120usize..140).prop_map(|n| "ü".repeat(n / 2)),
        1 => Just(String::new()),
    ]
}
fn val() -> impl Strategy<Value = Val> + Clone {
    use proptest::collection::vec;
    let int = || prop_oneof![any::<i64>(), -2i64..200, Just(i64::MIN), Just(i64::MAX)];
    prop_oneof![
        any::<bool>().prop_map(Val::Bool),
        int().prop_map(Val::I64),
        any::<u64>().prop_map(Val::F64),
        any::<f32>().prop_map(Val::F32),
        text().prop_map(Val::Str),
        (0..KEYS.len()).prop_map(Val::Static),
        vec(any::<u8>(), 0..60).prop_map(Val::Bytes),
        vec(any::<bool>(), 0..20).prop_map(Val::Bools),
        vec(int(), 0..12).prop_map(Val::I64s),
        vec(any::<u64>(), 0..8).prop_map(Val::F64s),
        vec("\\PC{0,10}", 0..6).prop_map(Val::Strs),
        vec(any::<u8>(), 0..30).prop_map(Val::Any),
    ]
}
fn op() -> impl Strategy<Value = Op> {
    use proptest::collection::vec;
    let key = || 0..KEYS.len();
    let items = || vec((key(), val()), 0..4);
    prop_oneof![
        6 => (key(), val()).prop_map(|(k, v)| Op::Attribute(k, v)),
        2 => ("[a-z.]{1,20}", val()).prop_map(|(k, v)| Op::Copied(k, v)),
        3 => (key(), items()).prop_map(|(k, a)| Op::Event(k, a)),
        1 => (key(), any::<u64>()).prop_map(|(k, at)| Op::EventAt(k, at)),
        2 => (proptest::option::of(1u128..), 1u64.., any::<u8>(), any::<bool>(),
              proptest::option::of("[a-z=,]{0,150}"), items())
            .prop_map(|(t, s, f, r, state, a)| Op::Link(t, s, f, r, state, a)),
        1 => text().prop_map(Op::Name),
        1 => text().prop_map(Op::Error),
        1 => Just(Op::Ok),
        2 => prop_oneof![0u64..100_000, any::<u64>()].prop_map(Op::Advance),
    ]
}
pub fn input() -> impl Strategy<Value = Input> {
    (
        0..KEYS.len(),
        (0u8..5).prop_map(SpanKind::from_wire),
        prop_oneof![
            Just(Relation::Root),
            Just(Relation::OfLast),
            Just(Relation::SiblingOfLast),
            (1u128.., 1u64.., any::<u8>(), any::<bool>())
                .prop_map(|(t, s, f, r)| Relation::Given(t, s, f, r)),
        ],
        proptest::option::weighted(0.2, "[a-z]{1,5}=[a-z]{1,20}"),
        prop_oneof![3 => -1000i64..100_000, 1 => any::<i64>()],
        0..4usize,
        // Some with more entries than the head's bits count.
        prop_oneof![
            5 => proptest::collection::vec(op(), 0..8),
            1 => proptest::collection::vec(op(), 25..45),
        ],
    )
        .prop_map(
            |(name, kind, parent, trace_state, advance, scope, ops)| Input {
                name,
                kind,
                parent,
                trace_state,
                advance,
                scope,
                ops,
            },
        )
}

pub fn trace(id: u128) -> TraceId {
    TraceId::from_bytes(id.to_be_bytes()).unwrap()
}
pub fn span_id(id: u64) -> SpanId {
    SpanId::from_bytes(id.to_be_bytes()).unwrap()
}

static SCOPES: [InstrumentationScope<'static>; 2] = [
    InstrumentationScope::new("driver").with_version("1.2"),
    InstrumentationScope::new("radio")
        .with_version("0.3.1")
        .with_schema_url("https://opentelemetry.io/schemas/1.37.0"),
];

/// Samples by the parent's flags, so that some spans are recorded only, and escalated if they fail.
pub struct ByFlags;
impl Sampler for ByFlags {
    fn describe(&self, out: &mut dyn Write) -> std::fmt::Result {
        out.write_str("ByFlags")
    }
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        match parameters.parent {
            Some(parent) if !parent.flags().is_sampled() => {
                let mut result = AlwaysOff.should_sample(parameters);
                result.decision = SamplingDecision::RecordOnly;
                result
            }
            _ => AlwaysOn.should_sample(parameters),
        }
    }
}

type Tracer = TestTracer<ByFlags, 32_767>;
type Wide<'a> = Span<&'a Tracer, InlineBuf<16_384>>;

/// Records all inputs, and hands the records out in order.
pub fn record<T>(inputs: &[Input], look: impl FnOnce(&[LocalRecord<'_>]) -> T) -> T {
    let limits = SpanLimits {
        attribute_count: 20,
        event_count: 6,
        link_count: 5,
        event_attribute_count: 3,
        attribute_value_length: 100,
        ..SpanLimits::DEFAULT
    };
    let new = || {
        Box::new(
            Tracer::with_sampler(ByFlags)
                .with_limits(limits)
                .with_escalation(1 << 60),
        )
    };
    let tracers = [
        new(),
        Box::new(new().with_scope(&SCOPES[0])),
        Box::new(new().with_scope(&SCOPES[1])),
    ];
    let (mut order, mut counts) = (Vec::new(), [0; 3]);
    let (mut last, mut last_parent) = (None, None);
    let mut now = 5_000_000_000u64;
    for input in inputs {
        let which = input.scope.saturating_sub(1);
        let tracer = &tracers[which];
        now = now.wrapping_add(input.advance as u64);
        tracer.clock().set(Ticks(now));
        let parent: Option<SpanContext> = match input.parent {
            Relation::Root => None,
            Relation::OfLast => last,
            Relation::SiblingOfLast => last_parent,
            Relation::Given(t, s, flags, remote) => {
                let context = SpanContext::new(trace(t), span_id(s), TraceFlags::from_byte(flags));
                Some(if remote { context.remote() } else { context })
            }
        };
        let with_state = WithState(parent, input.trace_state.as_deref());
        let mut span: Wide<'_> = tracer
            .span(KEYS[input.name])
            .kind(input.kind)
            .parent(&with_state)
            .start();
        for op in &input.ops {
            apply(&mut span, tracer, op);
        }
        (last, last_parent) = (Some(span.context()), parent);
        span.end();
        now = spanlet::Clock::now(tracer.clock()).0;
        let count = tracer.with_spans(|spans| spans.len());
        if count > counts[which] {
            order.push((which, counts[which]));
            counts[which] = count;
        }
    }
    let [a, b, c] = &tracers;
    a.with_spans(|a| {
        b.with_spans(|b| {
            c.with_spans(|c| {
                let all = [a.collect::<Vec<_>>(), b.collect(), c.collect()];
                let records: Vec<_> = order.iter().map(|(which, i)| all[*which][*i]).collect();
                look(&records)
            })
        })
    })
}

pub struct WithState<'a>(pub Option<SpanContext>, pub Option<&'a str>);
impl spanlet::ParentContext for WithState<'_> {
    fn span_context(&self) -> Option<SpanContext> {
        self.0
    }
    fn trace_state(&self) -> Option<&str> {
        self.1
    }
}

fn with_items(items: &[(usize, Val)], f: &mut dyn FnMut(&[KeyValue<'_>])) {
    fn go(items: &[(usize, Val)], done: &[KeyValue<'_>], f: &mut dyn FnMut(&[KeyValue<'_>])) {
        match items.split_first() {
            None => f(done),
            Some(((key, val), rest)) => val.with(|value| {
                let mut done = done.to_vec();
                done.push(KeyValue::new(KEYS[*key], value));
                go(rest, &done, f);
            }),
        }
    }
    go(items, &[], f);
}

fn apply(span: &mut Wide<'_>, tracer: &Tracer, op: &Op) {
    match op {
        Op::Attribute(k, v) => v.with(|v| {
            span.set_attribute(KEYS[*k], v);
        }),
        Op::Copied(k, v) => v.with(|v| {
            span.set_attribute_copied(k, v);
        }),
        Op::Event(k, items) => with_items(items, &mut |items| {
            span.add_event(KEYS[*k], items);
        }),
        Op::EventAt(k, at) => {
            span.add_event_at(KEYS[*k], Ticks(*at), &[]);
        }
        Op::Link(t, s, flags, remote, state, items) => {
            let id = t.map_or(span.context().trace_id(), trace);
            let to = SpanContext::new(id, span_id(*s), TraceFlags::from_byte(*flags));
            let to = if *remote { to.remote() } else { to };
            with_items(items, &mut |items| {
                span.add_link_with_state(&to, state.as_deref(), items);
            });
        }
        Op::Name(text) => {
            span.update_name(text);
        }
        Op::Error(text) => {
            span.set_error(text);
        }
        Op::Ok => {
            span.set_status(Status::Ok);
        }
        Op::Advance(ticks) => tracer.clock().advance(*ticks),
    }
}

// ---- sending and receiving ----

/// A dictionary that grows.
#[derive(Default)]
pub struct Grown(Vec<Option<String>>);
impl Symbols for Grown {
    fn text(&self, symbol: Symbol) -> Option<&str> {
        self.0.get(symbol.number() as usize)?.as_deref()
    }
    fn learn(&mut self, symbol: Symbol, text: &str) -> Learned {
        let i = symbol.number() as usize;
        if self.0.len() <= i {
            self.0.resize(i + 1, None);
        }
        match &self.0[i] {
            None => {
                self.0[i] = Some(text.into());
                Learned::New
            }
            Some(known) if known == text => Learned::Known,
            Some(_) => Learned::Conflict,
        }
    }
}

/// Sends all records; returns the frames, and how many records were unsendable.
pub fn send<const B: usize, const S: usize>(
    encoder: &mut FrameEncoder<B, S>,
    first: u32,
    records: &[LocalRecord<'_>],
) -> (Vec<Vec<u8>>, u32) {
    let (mut frames, mut counters) = (Vec::new(), DeviceCounters::default());
    counters.recorded = first.wrapping_add(records.len() as u32);
    counters.started = counters.recorded;
    let mut out = |encoder: &mut FrameEncoder<B, S>, counters: &DeviceCounters, next| {
        encoder.finish_at(next, None, counters);
        while let Some(frame) = encoder.frame(Ticks(7_000_000)) {
            frames.push(frame.to_vec());
        }
    };
    let mut sequence = first;
    for record in records {
        loop {
            match encoder.push(sequence, record) {
                Push::Taken => break,
                Push::Full => out(encoder, &counters, sequence),
                Push::TooLarge => {
                    counters.unsendable += 1;
                    break;
                }
            }
        }
        sequence = sequence.wrapping_add(1);
    }
    out(encoder, &counters, sequence);
    (frames, counters.unsendable)
}

/// A host: puts frames together, learns, decodes, keeps what cannot be resolved yet.
#[derive(Default)]
pub struct Host {
    pub symbols: Grown,
    pub tracker: SequenceTracker,
    pub reassembler: Box<Reassembler<8192>>,
    /// Sequence and description of every new record.
    pub spans: Vec<(u32, String)>,
    /// Frames with records that wait for symbols.
    pub waiting: Vec<Vec<u8>>,
    pub refused: u32,
    waiting_sequences: std::collections::HashSet<u32>,
}

impl Host {
    /// Takes one frame without delimiter.
    pub fn take(&mut self, bytes: &[u8]) {
        let Ok(frame) = Frame::parse(bytes) else {
            self.refused += 1;
            return;
        };
        match frame.body() {
            Body::Records(batch) => self.batch(batch, bytes),
            Body::Fragment(fragment) => {
                let mut reassembler = std::mem::take(&mut self.reassembler);
                if let Reassembled::Content { kind, bytes } =
                    reassembler.push(frame.epoch(), fragment)
                    && let Ok(Body::Records(batch)) = Body::reassembled(kind, bytes)
                {
                    // Fragments cannot wait as a frame: their content does, behind an empty head.
                    let mut whole = vec![0xff];
                    whole.extend_from_slice(bytes);
                    self.batch(&batch, &whole);
                }
                self.reassembler = reassembler;
            }
            _ => {}
        }
    }
    fn batch(&mut self, batch: &RecordBatch<'_>, keep: &[u8]) {
        self.tracker.batch(batch);
        let (new, failed) = batch.learn(&mut self.symbols);
        assert_eq!(failed, None);
        if new != 0 {
            self.mend();
        }
        if self.decode(batch, false) {
            self.waiting.push(keep.to_vec());
        }
    }
    /// Decodes what is new; whether some of it waits for symbols.
    fn decode(&mut self, batch: &RecordBatch<'_>, again: bool) -> bool {
        let (mut records, mut scratch) = (batch.records(), vec![0; 16_384]);
        let mut waits = false;
        while let Some(record) = records.decode_next(&self.symbols, &mut scratch) {
            let record = record.expect("the sender follows the wire");
            let is_new = if again {
                self.waiting_sequences.contains(&record.sequence)
            } else {
                self.tracker.accept(record.sequence)
            };
            if !is_new {
                continue;
            }
            if record.missing.is_empty() {
                self.waiting_sequences.remove(&record.sequence);
                self.spans.push((record.sequence, describe(&record.span)));
            } else {
                assert!(describe(&record.span).contains("sym:"));
                self.waiting_sequences.insert(record.sequence);
                waits = true;
            }
        }
        waits
    }
    fn mend(&mut self) {
        for kept in std::mem::take(&mut self.waiting) {
            let still = if kept[0] == 0xff {
                match Body::reassembled(0, &kept[1..]) {
                    Ok(Body::Records(batch)) => self.decode(&batch, true),
                    _ => unreachable!(),
                }
            } else {
                match Frame::parse(&kept).unwrap().body() {
                    Body::Records(batch) => self.decode(batch, true),
                    _ => unreachable!(),
                }
            };
            if still {
                self.waiting.push(kept);
            }
        }
    }
    /// Records that arrived and wait for symbols.
    pub fn unresolved(&self) -> usize {
        self.waiting_sequences.len()
    }
}

pub fn encoder<const B: usize, const S: usize>(link: Link) -> Box<FrameEncoder<B, S>> {
    Box::new(FrameEncoder::new(Epoch(3), link))
}
