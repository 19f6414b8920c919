//! What the OTLP tests set on spans, and how it is recorded.

pub mod expected;

use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use proptest::prelude::*;
use prost::Message;
use spanlet::testing::TestTracer;
use spanlet::{
    AlwaysOn, InlineBuf, InstrumentationScope, KeyValue, ParentContext, Span, SpanContext, SpanId,
    SpanKind, SpanLimits, SpanView, Status, StrArray, TickRate, Ticks, TraceFlags, TraceId,
    UnixAnchor, Value,
};

pub type Tracer = TestTracer<AlwaysOn, 32_767>;
/// Room for whatever the properties set.
pub type Wide<'a> = Span<&'a Tracer, InlineBuf<32_752>>;

pub const ANCHOR: (u64, u64) = (1_000, 1_700_000_000_123_456_789);
pub const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

pub fn anchor() -> UnixAnchor {
    UnixAnchor::new(Ticks(ANCHOR.0), ANCHOR.1, TickRate::MICROSECONDS)
}
/// The mapping again, in wide integers: microseconds to nanoseconds, clamped.
pub fn unix(ticks: u64) -> u64 {
    let after = i128::from(ticks.wrapping_sub(ANCHOR.0) as i64);
    (i128::from(ANCHOR.1) + after * 1000).clamp(0, u64::MAX.into()) as u64
}

#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    Bool(bool),
    I64(i64),
    F64(u64),
    Str(String),
    Static(&'static str),
    Bytes(Vec<u8>),
    Bools(Vec<bool>),
    I64s(Vec<i64>),
    F64s(Vec<u64>),
    Strs(Vec<String>),
    /// A map, which comes through a gateway as bytes.
    Map(Vec<(String, i64)>),
}

impl Val {
    pub fn with<T>(&self, use_it: impl FnOnce(Value<'_>) -> T) -> T {
        match self {
            Val::Bool(v) => use_it(Value::Bool(*v)),
            Val::I64(v) => use_it(Value::I64(*v)),
            Val::F64(v) => use_it(Value::F64(f64::from_bits(*v))),
            Val::Str(v) => use_it(Value::Str(v)),
            Val::Static(v) => use_it(Value::Static(v)),
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
            Val::Map(_) => use_it(Value::Any(&self.to_proto().encode_to_vec())),
        }
    }
    pub fn to_proto(&self) -> common::AnyValue {
        fn array<T>(items: &[T], f: impl Fn(&T) -> Any) -> Any {
            let values = items.iter().map(|v| common::AnyValue { value: Some(f(v)) });
            Any::ArrayValue(common::ArrayValue {
                values: values.collect(),
            })
        }
        let value = match self {
            Val::Bool(v) => Any::BoolValue(*v),
            Val::I64(v) => Any::IntValue(*v),
            Val::F64(v) => Any::DoubleValue(f64::from_bits(*v)),
            Val::Str(v) => Any::StringValue(v.clone()),
            Val::Static(v) => Any::StringValue((*v).into()),
            Val::Bytes(v) => Any::BytesValue(v.clone()),
            Val::Bools(v) => array(v, |v| Any::BoolValue(*v)),
            Val::I64s(v) => array(v, |v| Any::IntValue(*v)),
            Val::F64s(v) => array(v, |v| Any::DoubleValue(f64::from_bits(*v))),
            Val::Strs(v) => array(v, |v| Any::StringValue(v.clone())),
            Val::Map(v) => {
                let values = v.iter().map(|(k, v)| pair(k, &Val::I64(*v)));
                Any::KvlistValue(common::KeyValueList {
                    values: values.collect(),
                })
            }
        };
        common::AnyValue { value: Some(value) }
    }
    /// Cut to the limit, and whether that changed it.
    pub fn cut(&self, longest: usize) -> (Val, bool) {
        fn short(text: &str, longest: usize) -> String {
            let mut kept = String::new();
            for c in text.chars() {
                if kept.len() + c.len_utf8() > longest {
                    break;
                }
                kept.push(c);
            }
            kept
        }
        match self {
            Val::Str(v) => (Val::Str(short(v, longest)), v.len() > longest),
            Val::Static(v) => (Val::Str(short(v, longest)), v.len() > longest),
            Val::Bytes(v) => (
                Val::Bytes(v[..v.len().min(longest)].to_vec()),
                v.len() > longest,
            ),
            Val::Strs(v) => (
                Val::Strs(v.iter().map(|v| short(v, longest)).collect()),
                v.iter().any(|v| v.len() > longest),
            ),
            other => (other.clone(), false),
        }
    }
}

pub fn pair(key: &str, value: &Val) -> common::KeyValue {
    common::KeyValue {
        key: key.into(),
        value: Some(value.to_proto()),
        ..Default::default()
    }
}

pub const LONG: &str = "a.key.of.127.bytes.so.that.with.its.head.the.attribute.is.just.over.what.one.length.byte.can.say.and.more.to.fill.it.to.the.end";
pub const KEYS: [&str; 12] = [
    "a",
    "http.request.method",
    "k",
    "grün.schlüssel",
    LONG,
    "b.c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
];

#[derive(Clone, Debug)]
pub enum Op {
    Attribute(usize, Val),
    Copied(String, Val),
    Event(usize, Vec<(usize, Val)>),
    EventAt(usize, u64),
    Link(u128, u64, u8, bool, String, Vec<(usize, Val)>),
    Name(String),
    Error(String),
    Ok,
    Advance(u64),
}

#[derive(Clone, Debug)]
pub struct Input {
    pub name: usize,
    pub kind: SpanKind,
    pub parent: Option<(u128, u64, bool)>,
    pub trace_state: String,
    pub start: u64,
    pub scope: usize,
    pub ops: Vec<Op>,
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z]{0,12}",
        2 => "\\PC{0,40}",
        1 => (100usize..160).prop_map(|n| "x".repeat(n)),
        1 => (16_350usize..16_400).prop_map(|n| "ü".repeat(n / 2) + &"y".repeat(n % 2)),
        1 => Just(String::new()),
    ]
}
pub fn val() -> impl Strategy<Value = Val> + Clone {
    use proptest::collection::vec;
    let int = || prop_oneof![any::<i64>(), -2i64..200, Just(i64::MIN), Just(i64::MAX)];
    prop_oneof![
        any::<bool>().prop_map(Val::Bool),
        int().prop_map(Val::I64),
        any::<f64>().prop_map(|v| Val::F64(v.to_bits())),
        text().prop_map(Val::Str),
        (0..KEYS.len()).prop_map(|i| Val::Static(KEYS[i])),
        vec(any::<u8>(), 0..200).prop_map(Val::Bytes),
        vec(any::<bool>(), 0..40).prop_map(Val::Bools),
        vec(int(), 0..30).prop_map(Val::I64s),
        vec(any::<f64>().prop_map(f64::to_bits), 0..20).prop_map(Val::F64s),
        vec("\\PC{0,20}", 0..10).prop_map(Val::Strs),
        vec(("[a-z]{1,4}", int()), 0..5).prop_map(Val::Map),
    ]
}
pub fn op() -> impl Strategy<Value = Op> {
    use proptest::collection::vec;
    let key = || 0..KEYS.len();
    let short = val().prop_map(|v| match v {
        Val::Str(v) if v.len() > 1000 => Val::I64(1),
        other => other,
    });
    let attributes = || vec((key(), short.clone()), 0..6);
    prop_oneof![
        6 => (key(), val()).prop_map(|(k, v)| Op::Attribute(k, v)),
        2 => ("[a-z.]{1,20}", val()).prop_map(|(k, v)| Op::Copied(k, v)),
        3 => (key(), attributes()).prop_map(|(k, a)| Op::Event(k, a)),
        1 => (key(), any::<u64>()).prop_map(|(k, at)| Op::EventAt(k, at)),
        2 => (1u128.., 1u64.., any::<u8>(), any::<bool>(), "[a-z=,]{0,150}", attributes())
            .prop_map(|(t, s, f, r, state, a)| Op::Link(t, s, f, r, state, a)),
        1 => text().prop_map(Op::Name),
        1 => text().prop_map(Op::Error),
        1 => Just(Op::Ok),
        1 => (0u64..1 << 40).prop_map(Op::Advance),
    ]
}
pub fn input() -> impl Strategy<Value = Input> {
    (
        0..KEYS.len(),
        prop_oneof![
            Just(SpanKind::Internal),
            Just(SpanKind::Server),
            Just(SpanKind::Client),
            Just(SpanKind::Producer),
            Just(SpanKind::Consumer)
        ],
        proptest::option::of((1u128.., 1u64.., any::<bool>())),
        prop_oneof![3 => Just(String::new()), 1 => "[a-z]{1,5}=[a-z]{1,200}"],
        prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), 0u64..1 << 40],
        0..SCOPES.len() + 2,
        proptest::collection::vec(op(), 0..12),
    )
        .prop_map(
            |(name, kind, parent, trace_state, start, scope, ops)| Input {
                name,
                kind,
                parent,
                trace_state,
                start,
                scope,
                ops,
            },
        )
}

/// The remote or local parent of an input.
pub struct Parent<'a>(&'a Input);
impl ParentContext for Parent<'_> {
    fn span_context(&self) -> Option<SpanContext> {
        let (t, s, remote) = self.0.parent?;
        let parent = SpanContext::new(trace(t), span(s), TraceFlags::SAMPLED);
        Some(if remote { parent.remote() } else { parent })
    }
    fn trace_state(&self) -> Option<&str> {
        Some(&self.0.trace_state)
    }
}

pub fn trace(id: u128) -> TraceId {
    TraceId::from_bytes(id.to_be_bytes()).unwrap()
}
pub fn span(id: u64) -> SpanId {
    SpanId::from_bytes(id.to_be_bytes()).unwrap()
}

pub static SCOPES: [InstrumentationScope<'static>; 6] = [
    InstrumentationScope::new("lib-a").with_version("1.3"),
    InstrumentationScope::new("lib-b").with_version("1.3"),
    InstrumentationScope::new("lib-a").with_version("1.2"),
    InstrumentationScope::new("lib-a")
        .with_version("1.3")
        .with_schema_url(SCHEMA),
    InstrumentationScope::new(""),
    InstrumentationScope::new(LONG).with_version(LONG),
];
pub fn default_scope() -> InstrumentationScope<'static> {
    InstrumentationScope::new("default").with_version("9")
}

/// Records the inputs one after the other, each through a tracer of its scope, and hands out the views.
pub fn record<T>(
    inputs: &[Input],
    limits: SpanLimits,
    look: impl FnOnce(&[SpanView<'_>]) -> T,
) -> T {
    let tracers: Vec<Box<Tracer>> = inputs
        .iter()
        .map(|input| {
            let tracer = Tracer::new().with_limits(limits);
            Box::new(match SCOPES.get(input.scope) {
                Some(scope) => tracer.with_scope(scope),
                None => tracer,
            })
        })
        .collect();
    for (tracer, input) in tracers.iter().zip(inputs) {
        tracer.clock().set(Ticks(input.start));
        let builder = tracer.span(KEYS[input.name]).kind(input.kind);
        let parent = Parent(input);
        let builder = if input.parent.is_some() {
            builder.parent(&parent)
        } else {
            builder
        };
        let mut s: Wide<'_> = builder.start();
        for op in &input.ops {
            apply(&mut s, tracer, op);
        }
    }
    fn views<'a, T>(
        tracers: &[Box<Tracer>],
        found: &mut Vec<SpanView<'a>>,
        look: impl FnOnce(&[SpanView<'_>]) -> T,
    ) -> T {
        match tracers.split_first() {
            None => look(found),
            Some((first, rest)) => first.with_spans(|spans| {
                let mut found: Vec<SpanView<'_>> = found.clone();
                found.extend(spans.map(|span| span.view()));
                views(rest, &mut found, look)
            }),
        }
    }
    views(&tracers, &mut Vec::new(), look)
}

pub fn apply(s: &mut Wide<'_>, tracer: &Tracer, op: &Op) {
    fn with_all<T>(
        attributes: &[(usize, Val)],
        done: &mut Vec<KeyValue<'_>>,
        f: impl FnOnce(&[KeyValue<'_>]) -> T,
    ) -> T {
        match attributes.split_first() {
            None => f(done),
            Some(((key, value), rest)) => value.with(|value| {
                let mut done: Vec<KeyValue<'_>> = done.clone();
                done.push(KeyValue {
                    key: KEYS[*key],
                    value,
                });
                with_all(rest, &mut done, f)
            }),
        }
    }
    match op {
        Op::Attribute(key, value) => value.with(|value| {
            s.set_attribute(KEYS[*key], value);
        }),
        Op::Copied(key, value) => value.with(|value| {
            s.set_attribute_copied(key, value);
        }),
        Op::Event(name, attributes) => with_all(attributes, &mut Vec::new(), |attributes| {
            s.add_event(KEYS[*name], attributes);
        }),
        Op::EventAt(name, at) => {
            s.add_event_at(KEYS[*name], Ticks(*at), &[]);
        }
        Op::Link(t, id, flags, remote, state, attributes) => {
            let to = SpanContext::new(trace(*t), span(*id), TraceFlags::from_byte(*flags));
            let to = if *remote { to.remote() } else { to };
            with_all(attributes, &mut Vec::new(), |attributes| {
                s.add_link_with_state(&to, Some(state), attributes);
            });
        }
        Op::Name(name) => {
            s.update_name(name);
        }
        Op::Error(text) => {
            s.set_error(text);
        }
        Op::Ok => {
            s.set_status(Status::Ok);
        }
        Op::Advance(ticks) => tracer.clock().advance(*ticks),
    }
}
