//! The OTLP encoder against `prost` and against a naive model of what was set on the spans.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use proptest::prelude::*;
use prost::Message;
use spanlet::otlp::{OtlpEncoder, OtlpFull, Resource};
use spanlet::testing::TestTracer;
use spanlet::{
    AlwaysOn, Attributes, InlineBuf, InstrumentationScope, KeyValue, ParentContext, Span,
    SpanContext, SpanId, SpanKind, SpanLimits, SpanView, Status, StrArray, TickRate, Ticks,
    TraceFlags, TraceId, UnixAnchor, Value,
};

type Tracer = TestTracer<AlwaysOn, 32_767>;
/// Room for whatever the properties set.
type Wide<'a> = Span<&'a Tracer, InlineBuf<32_752>>;

const ANCHOR: (u64, u64) = (1_000, 1_700_000_000_123_456_789);
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

fn anchor() -> UnixAnchor {
    UnixAnchor::new(Ticks(ANCHOR.0), ANCHOR.1, TickRate::MICROSECONDS)
}
/// The mapping again, in wide integers: microseconds to nanoseconds, clamped.
fn unix(ticks: u64) -> u64 {
    let after = i128::from(ticks.wrapping_sub(ANCHOR.0) as i64);
    (i128::from(ANCHOR.1) + after * 1000).clamp(0, u64::MAX.into()) as u64
}

// ---- what is set ----

#[derive(Clone, Debug, PartialEq)]
enum Val {
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
    fn with<T>(&self, use_it: impl FnOnce(Value<'_>) -> T) -> T {
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
    fn to_proto(&self) -> common::AnyValue {
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
    fn cut(&self, longest: usize) -> (Val, bool) {
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

fn pair(key: &str, value: &Val) -> common::KeyValue {
    common::KeyValue {
        key: key.into(),
        value: Some(value.to_proto()),
        ..Default::default()
    }
}

const LONG: &str = "a.key.of.127.bytes.so.that.with.its.head.the.attribute.is.just.over.what.one.length.byte.can.say.and.more.to.fill.it.to.the.end";
const KEYS: [&str; 12] = [
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
enum Op {
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
struct Input {
    name: usize,
    kind: SpanKind,
    parent: Option<(u128, u64, bool)>,
    trace_state: String,
    start: u64,
    scope: usize,
    ops: Vec<Op>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z]{0,12}",
        2 => "\\PC{0,40}",
        1 => (100usize..160).prop_map(|n| "x".repeat(n)),
        1 => (16_350usize..16_400).prop_map(|n| "ü".repeat(n / 2) + &"y".repeat(n % 2)),
        1 => Just(String::new()),
    ]
}
fn val() -> impl Strategy<Value = Val> + Clone {
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
fn op() -> impl Strategy<Value = Op> {
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
fn input() -> impl Strategy<Value = Input> {
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
struct Parent<'a>(&'a Input);
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

fn trace(id: u128) -> TraceId {
    TraceId::from_bytes(id.to_be_bytes()).unwrap()
}
fn span(id: u64) -> SpanId {
    SpanId::from_bytes(id.to_be_bytes()).unwrap()
}

static SCOPES: [InstrumentationScope<'static>; 4] = [
    InstrumentationScope::new("lib-a").with_version("1.2"),
    InstrumentationScope::new("lib-a")
        .with_version("1.3")
        .with_schema_url(SCHEMA),
    InstrumentationScope::new(""),
    InstrumentationScope::new(LONG).with_version(LONG),
];
fn default_scope() -> InstrumentationScope<'static> {
    InstrumentationScope::new("default").with_version("9")
}

/// Records the inputs one after the other, each through a tracer of its scope, and hands out the views.
fn record<T>(inputs: &[Input], limits: SpanLimits, look: impl FnOnce(&[SpanView<'_>]) -> T) -> T {
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

fn apply(s: &mut Wide<'_>, tracer: &Tracer, op: &Op) {
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

// ---- the model: what should come out ----

fn model(input: &Input, limits: SpanLimits) -> proto::Span {
    let longest = limits.attribute_value_length as usize;
    let mut truncated = 0;
    let mut now = input.start;
    let mut attributes: Vec<(String, Val)> = Vec::new();
    let mut out = proto::Span {
        trace_id: input.parent.map_or_else(
            || (1u128 << 64 | 1).to_be_bytes().to_vec(),
            |(t, ..)| t.to_be_bytes().to_vec(),
        ),
        parent_span_id: input
            .parent
            .map_or(vec![], |(_, s, _)| s.to_be_bytes().to_vec()),
        span_id: if input.parent.is_some() { 1u64 } else { 2 }
            .to_be_bytes()
            .to_vec(),
        trace_state: input
            .parent
            .map_or(String::new(), |_| input.trace_state.clone()),
        name: KEYS[input.name].into(),
        kind: match input.kind {
            SpanKind::Internal => proto::span::SpanKind::Internal,
            SpanKind::Server => proto::span::SpanKind::Server,
            SpanKind::Client => proto::span::SpanKind::Client,
            SpanKind::Producer => proto::span::SpanKind::Producer,
            SpanKind::Consumer => proto::span::SpanKind::Consumer,
        } as i32,
        start_time_unix_nano: unix(now),
        flags: 0x101
            | if matches!(input.parent, Some((.., true))) {
                0x200
            } else {
                0
            },
        ..Default::default()
    };
    let mut item = |given: &[(usize, Val)], limit: u16| {
        let kept = given.iter().take(limit as usize).map(|(key, value)| {
            let (value, cut) = value.cut(longest);
            truncated += u32::from(cut);
            pair(KEYS[*key], &value)
        });
        let kept: Vec<_> = kept.collect();
        let dropped = given.len() - kept.len();
        (kept, dropped as u32)
    };
    let (mut code, mut message) = (0, String::new());
    let mut cut_attributes = 0;
    for op in &input.ops {
        let (key, value) = match op {
            Op::Attribute(key, value) => (KEYS[*key].to_string(), value),
            Op::Copied(key, value) => (key.clone(), value),
            Op::Event(name, given) => {
                let (kept, dropped) = item(given, limits.event_attribute_count);
                out.events.push(proto::span::Event {
                    time_unix_nano: unix(now),
                    name: KEYS[*name].into(),
                    attributes: kept,
                    dropped_attributes_count: dropped,
                });
                continue;
            }
            Op::EventAt(name, at) => {
                out.events.push(proto::span::Event {
                    time_unix_nano: unix(*at),
                    name: KEYS[*name].into(),
                    ..Default::default()
                });
                continue;
            }
            Op::Link(t, s, flags, remote, state, given) => {
                let (kept, dropped) = item(given, limits.link_attribute_count);
                out.links.push(proto::span::Link {
                    trace_id: t.to_be_bytes().to_vec(),
                    span_id: s.to_be_bytes().to_vec(),
                    trace_state: state.clone(),
                    attributes: kept,
                    dropped_attributes_count: dropped,
                    flags: u32::from(TraceFlags::from_byte(*flags).to_byte())
                        | 0x100
                        | if *remote { 0x200 } else { 0 },
                });
                continue;
            }
            Op::Name(name) => {
                out.name = name.clone();
                continue;
            }
            Op::Error(text) => {
                if code != 1 {
                    (code, message) = (2, text.clone());
                }
                continue;
            }
            Op::Ok => {
                code = 1;
                continue;
            }
            Op::Advance(ticks) => {
                now = now.wrapping_add(*ticks);
                continue;
            }
        };
        let known = attributes.iter().any(|(k, _)| *k == key);
        let (value, cut) = value.cut(longest);
        if attributes.len() >= limits.attribute_count as usize && !known {
            out.dropped_attributes_count += 1;
            cut_attributes += u32::from(cut);
            continue;
        }
        cut_attributes += u32::from(cut);
        attributes.retain(|(k, _)| *k != key);
        attributes.push((key, value));
    }
    out.attributes = attributes.iter().map(|(k, v)| pair(k, v)).collect();
    out.end_time_unix_nano = unix(now.max(input.start));
    truncated += cut_attributes;
    if truncated != 0 {
        let count = Val::I64(truncated.into());
        out.attributes
            .push(pair("spanlet.truncated_values", &count));
    }
    if code != 2 {
        // SPEC: a description is for errors only. The record keeps it where Ok came later.
        message.clear();
    }
    out.status = (code != 0).then_some(proto::Status { message, code });
    out
}

// ---- the same from the view's public face ----

fn from_attributes(attributes: Attributes<'_>) -> Vec<common::KeyValue> {
    let values = attributes.map(|kv| {
        let value = match kv.value {
            Value::Bool(v) => Val::Bool(v),
            Value::I64(v) => Val::I64(v),
            Value::F64(v) => Val::F64(v.to_bits()),
            Value::Str(v) => Val::Str(v.into()),
            Value::Static(v) => Val::Static(v),
            Value::Bytes(v) => Val::Bytes(v.into()),
            Value::BoolArray(v) => Val::Bools(v.into()),
            Value::I64Array(v) => Val::I64s(v.into()),
            Value::F64Array(v) => Val::F64s(v.iter().map(|v| v.to_bits()).collect()),
            Value::StrArray(v) => Val::Strs(v.iter().map(String::from).collect()),
            Value::Any(bytes) => {
                return common::KeyValue {
                    key: kv.key.into(),
                    value: Some(common::AnyValue::decode(bytes).unwrap()),
                    ..Default::default()
                };
            }
            other => panic!("unknown value {other:?}"),
        };
        pair(kv.key, &value)
    });
    values.collect()
}
fn from_view(view: &SpanView<'_>) -> proto::Span {
    let id = |id: Option<SpanId>| id.map_or(vec![], |id| id.to_bytes().to_vec());
    let mut attributes = from_attributes(view.attributes());
    let mut own = |key, value| attributes.push(pair(key, &value));
    if view.truncated_values() != 0 {
        own(
            "spanlet.truncated_values",
            Val::I64(view.truncated_values().into()),
        );
    }
    if view.is_duration_unknown() {
        own("spanlet.duration_unknown", Val::Bool(true));
    }
    if view.is_escalated() {
        own("spanlet.escalated", Val::Bool(true));
    }
    let code = view.status() as i32;
    let mut message = view.status_description().unwrap_or("").to_string();
    if view.status() != Status::Error {
        message.clear();
    }
    let flags = |flags: TraceFlags, remote: bool| {
        u32::from(flags.to_byte()) | if remote { 0x300 } else { 0x100 }
    };
    proto::Span {
        trace_id: view.trace_id().to_bytes().to_vec(),
        span_id: id(Some(view.span_id())),
        trace_state: view.trace_state().unwrap_or("").into(),
        parent_span_id: id(view.parent_id()),
        flags: flags(view.flags(), view.parent_is_remote()),
        name: view.name().into(),
        kind: view.kind() as i32 + 1,
        start_time_unix_nano: unix(view.start().0),
        end_time_unix_nano: unix(view.end().0),
        attributes,
        dropped_attributes_count: view.dropped_attributes(),
        events: view
            .events()
            .map(|event| proto::span::Event {
                time_unix_nano: unix(event.ticks().0),
                name: event.name().into(),
                attributes: from_attributes(event.attributes()),
                dropped_attributes_count: event.dropped_attributes(),
            })
            .collect(),
        dropped_events_count: view.dropped_events(),
        links: view
            .links()
            .map(|link| proto::span::Link {
                trace_id: link.context().trace_id().to_bytes().to_vec(),
                span_id: id(Some(link.context().span_id())),
                trace_state: link.trace_state().unwrap_or("").into(),
                attributes: from_attributes(link.attributes()),
                dropped_attributes_count: link.dropped_attributes(),
                flags: flags(link.context().flags(), link.context().is_remote()),
            })
            .collect(),
        dropped_links_count: view.dropped_links(),
        status: (code != 0).then_some(proto::Status { message, code }),
    }
}

fn request(spans: Vec<proto::Span>, scopes: &[Option<usize>]) -> ExportTraceServiceRequest {
    let mut groups: Vec<proto::ScopeSpans> = Vec::new();
    for (span, scope) in spans.into_iter().zip(scopes) {
        let scope = scope.map_or(default_scope(), |i| SCOPES[i]);
        let (schema_url, is_named) = (scope.schema_url.into(), !scope.name.is_empty());
        let scope = is_named.then(|| common::InstrumentationScope {
            name: scope.name.into(),
            version: scope.version.into(),
            ..Default::default()
        });
        match groups.last_mut() {
            Some(open) if open.scope == scope && open.schema_url == schema_url => {
                open.spans.push(span);
            }
            _ => groups.push(proto::ScopeSpans {
                scope,
                spans: vec![span],
                schema_url,
            }),
        }
    }
    ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(ProtoResource {
                attributes: vec![
                    pair("service.name", &Val::Static("test")),
                    pair("ports", &Val::I64s(vec![80, 443])),
                ],
                dropped_attributes_count: 3,
                ..Default::default()
            }),
            scope_spans: groups,
            schema_url: SCHEMA.into(),
        }],
    }
}
fn with_resource<T>(f: impl FnOnce(Resource<'_>) -> T) -> T {
    let key = String::from("service.name");
    let attributes = [
        KeyValue::new(key.as_str(), "test"),
        KeyValue::new("ports", &[80i64, 443][..]),
    ];
    f(Resource::new(&attributes)
        .with_dropped_attributes(3)
        .with_schema_url(SCHEMA))
}
fn encode(views: &[SpanView<'_>]) -> Vec<u8> {
    let mut buf = vec![0xaa; 2 << 20];
    with_resource(|resource| {
        let mut encoder =
            OtlpEncoder::new(&mut buf, &resource, &default_scope(), anchor()).unwrap();
        for view in views {
            encoder.push(view).unwrap();
        }
        assert_eq!(encoder.spans() as usize, views.len());
        let len = encoder.len();
        let bytes = encoder.finish();
        assert_eq!(bytes.len(), len);
        bytes.to_vec()
    })
}

/// A message's fields, in the order of their numbers: what prost writes, if each field is canonical.
/// `inner` says which fields are messages to put in order too.
fn in_order(mut bytes: &[u8], inner: &dyn Fn(u64) -> Option<Level>) -> Vec<u8> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        prost::encoding::decode_varint(bytes).unwrap()
    }
    let mut fields: Vec<(u64, Vec<u8>)> = Vec::new();
    while !bytes.is_empty() {
        let from = bytes;
        let head = varint(&mut bytes);
        let mut field;
        match head & 7 {
            0 => {
                varint(&mut bytes);
                field = from[..from.len() - bytes.len()].to_vec();
            }
            1 | 5 => {
                bytes = &bytes[if head & 7 == 1 { 8 } else { 4 }..];
                field = from[..from.len() - bytes.len()].to_vec();
            }
            _ => {
                let len = varint(&mut bytes) as usize;
                field = from[..from.len() - bytes.len()].to_vec();
                match inner(head >> 3) {
                    Some(level) => field.extend(level.in_order(&bytes[..len])),
                    None => field.extend(&bytes[..len]),
                }
                bytes = &bytes[len..];
            }
        }
        fields.push((head >> 3, field));
    }
    fields.sort_by_key(|(number, _)| *number);
    fields.into_iter().flat_map(|(_, field)| field).collect()
}
#[derive(Clone, Copy)]
enum Level {
    Request,
    ResourceSpans,
    ScopeSpans,
    Span,
    Leaf,
}
impl Level {
    fn in_order(self, bytes: &[u8]) -> Vec<u8> {
        in_order(bytes, &|field| match (self, field) {
            (Level::Request, 1) => Some(Level::ResourceSpans),
            (Level::ResourceSpans, 2) => Some(Level::ScopeSpans),
            (Level::ScopeSpans, 2) => Some(Level::Span),
            (Level::Span, 11 | 13) => Some(Level::Leaf),
            _ => None,
        })
    }
}

/// Equality by bytes, so that NaN equals itself.
fn assert_same(got: &[u8], expected: &ExportTraceServiceRequest) {
    let decoded = ExportTraceServiceRequest::decode(got).unwrap();
    let expected_bytes = expected.encode_to_vec();
    if decoded.encode_to_vec() != expected_bytes {
        assert_eq!(format!("{decoded:#?}"), format!("{expected:#?}"));
        assert_eq!(decoded.encode_to_vec(), expected_bytes);
    }
    assert_eq!(got.len(), expected_bytes.len(), "lengths are canonical");
    assert!(
        Level::Request.in_order(got) == expected_bytes,
        "bytes differ"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn comes_out_as_it_was_set(inputs in proptest::collection::vec(input(), 1..6)) {
        let limits = SpanLimits::DEFAULT;
        let scopes: Vec<_> = inputs.iter().map(|i| (i.scope < SCOPES.len()).then_some(i.scope)).collect();
        record(&inputs, limits, |views| {
            assert_eq!(views.len(), inputs.len());
            let bytes = encode(views);
            let from_views = views.iter().map(from_view).collect();
            assert_same(&bytes, &request(from_views, &scopes));
            let modelled = inputs.iter().map(|i| model(i, limits)).collect();
            assert_same(&bytes, &request(modelled, &scopes));
        });
    }

    #[test]
    fn limits_show(
        input in input(),
        attribute_count in 0u16..4,
        item_count in 0u16..3,
        attribute_value_length in 0u32..20,
    ) {
        let limits = SpanLimits {
            attribute_count,
            event_attribute_count: item_count,
            link_attribute_count: item_count,
            attribute_value_length,
            ..SpanLimits::DEFAULT
        };
        let scopes = [(input.scope < SCOPES.len()).then_some(input.scope)];
        record(std::slice::from_ref(&input), limits, |views| {
            let bytes = encode(views);
            assert_same(&bytes, &request(vec![from_view(&views[0])], &scopes));
            assert_same(&bytes, &request(vec![model(&input, limits)], &scopes));
        });
    }
}

// ---- buffers of every size ----

fn small_input(scope: usize, ops: Vec<Op>) -> Input {
    Input {
        name: 1,
        kind: SpanKind::Client,
        parent: Some((7, 8, true)),
        trace_state: "a=b".into(),
        start: 5,
        scope,
        ops,
    }
}

/// Spans of three scopes with every kind of field.
fn mixed_inputs() -> Vec<Input> {
    let short = vec![(0, Val::Str("v".into())), (2, Val::I64s(vec![1, -1]))];
    vec![
        small_input(9, vec![Op::Attribute(0, Val::I64(300))]),
        small_input(0, vec![]),
        small_input(
            0,
            vec![
                Op::Event(2, short.clone()),
                Op::Link(1, 2, 3, true, "s=t".into(), short.clone()),
                Op::Error("no".into()),
            ],
        ),
        small_input(
            1,
            vec![
                // Over what the event's one length byte and the span's two can say.
                Op::Event(0, vec![(0, Val::Str("x".repeat(130)))]),
                Op::Attribute(5, Val::Bytes(vec![7; 16_400])),
            ],
        ),
        small_input(
            9,
            vec![Op::Attribute(1, Val::Strs(vec![String::new(), "b".into()]))],
        ),
    ]
}

#[test]
fn a_push_is_whole_or_nothing_in_every_buffer() {
    let inputs = mixed_inputs();
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let lens: Vec<usize> = (1..=views.len())
            .map(|n| encode(&views[..n]).len())
            .collect();
        let needed = *lens.last().unwrap();
        // What the reserved bytes may cost: the heads of the request and of each open group, a span's.
        let slack = 16;
        let mut fitted_all = false;
        with_resource(|resource| {
            for size in 0..needed + slack + 1 {
                let mut buf = vec![0xaa; size];
                let encoder = OtlpEncoder::new(&mut buf, &resource, &default_scope(), anchor());
                let Ok(mut encoder) = encoder else {
                    assert!(size < 200, "the resource takes less than {size}");
                    continue;
                };
                let mut kept = Vec::new();
                for view in views {
                    let before = (encoder.len(), encoder.spans());
                    match encoder.push(view) {
                        Ok(()) => kept.push(*view),
                        Err(full) => {
                            assert_eq!((encoder.len(), encoder.spans()), before);
                            let alone = if kept.is_empty() {
                                OtlpFull::Span
                            } else {
                                OtlpFull::Batch
                            };
                            assert_eq!(full, alone);
                        }
                    }
                    assert!(encoder.len() <= size);
                }
                let bytes = encoder.finish();
                if kept.is_empty() {
                    assert!(bytes.is_empty(), "no envelope without spans");
                } else {
                    // Whatever was refused in between left no trace.
                    assert!(bytes == encode(&kept), "size {size}, {} spans", kept.len());
                }
                assert!(size < needed + slack || kept.len() == views.len());
                fitted_all |= kept.len() == views.len();
            }
        });
        assert!(fitted_all);
    });
}

#[test]
fn batches_lose_nothing() {
    let inputs: Vec<Input> = (0..40)
        .map(|i| {
            small_input(
                i % 3 * 4,
                vec![Op::Attribute(0, Val::Str("x".repeat(i * 7)))],
            )
        })
        .collect();
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let mut got = Vec::new();
        let mut buf = [0; 700];
        let (mut next, mut too_large, mut requests) = (0, 0, 0);
        while next < views.len() {
            let empty = Resource::default();
            let mut encoder =
                OtlpEncoder::new(&mut buf, &empty, &InstrumentationScope::new(""), anchor())
                    .unwrap();
            while let Some(view) = views.get(next) {
                match encoder.push(view) {
                    Ok(()) => {}
                    Err(OtlpFull::Batch) => break,
                    Err(_) => too_large += 1,
                }
                next += 1;
            }
            requests += 1;
            let request = ExportTraceServiceRequest::decode(encoder.finish()).unwrap();
            for group in request.resource_spans.into_iter().flat_map(|r| {
                assert_eq!(r.resource, None);
                r.scope_spans
            }) {
                got.extend(group.spans);
            }
        }
        assert!(requests > 5);
        assert_eq!(too_large, 0);
        let expected: Vec<_> = views.iter().map(from_view).collect();
        assert_eq!(got, expected);
    });
}

#[test]
fn a_span_too_large_is_told_from_a_full_batch() {
    let big = small_input(9, vec![Op::Attribute(0, Val::Str("x".repeat(1000)))]);
    let inputs = [small_input(9, vec![]), big];
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let mut buf = [0; 600];
        let (empty, scope) = (Resource::default(), default_scope());
        let mut encoder = OtlpEncoder::new(&mut buf, &empty, &scope, anchor()).unwrap();
        assert_eq!(encoder.push(&views[1]), Err(OtlpFull::Span));
        assert!(encoder.is_empty());
        assert_eq!(encoder.len(), 0);
        encoder.push(&views[0]).unwrap();
        assert_eq!(encoder.push(&views[1]), Err(OtlpFull::Batch));
        assert_eq!(encoder.spans(), 1);
        assert!(OtlpEncoder::new(&mut [0; 0], &empty, &scope, anchor()).is_err());
    });
}

// ---- edges ----

#[test]
fn every_length_around_the_steps_of_a_varint() {
    for edge in [127usize, 16_383] {
        for n in edge.saturating_sub(110)..edge + 20 {
            let ops = vec![
                Op::Attribute(0, Val::Str("x".repeat(n))),
                Op::Event(0, vec![(0, Val::Bytes(vec![1; n]))]),
                Op::Link(1, 2, 3, false, "s".repeat(n), vec![]),
                Op::Error("e".repeat(n)),
                Op::Name("n".repeat(n)),
            ];
            for op in ops {
                let input = small_input(9, vec![op]);
                record(std::slice::from_ref(&input), SpanLimits::DEFAULT, |views| {
                    let expected = vec![model(&input, SpanLimits::DEFAULT)];
                    assert_same(&encode(views), &request(expected, &[None]));
                });
            }
        }
    }
}

#[test]
fn as_many_as_the_limits_allow() {
    let mut ops: Vec<Op> = (0..150)
        .map(|i| Op::Copied(format!("key.{i}"), Val::I64(i)))
        .collect();
    ops.extend((0..140).map(|_| Op::EventAt(0, 7)));
    ops.extend((1..135).map(|i| Op::Link(i, 1, 1, false, String::new(), vec![])));
    ops.push(Op::Copied("key.5".into(), Val::Str("ß".repeat(8 << 10))));
    let input = small_input(9, ops);
    record(std::slice::from_ref(&input), SpanLimits::DEFAULT, |views| {
        let bytes = encode(views);
        assert_same(&bytes, &request(vec![from_view(&views[0])], &[None]));
        let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(
            (span.attributes.len(), span.dropped_attributes_count),
            (128, 22)
        );
        assert_eq!((span.events.len(), span.dropped_events_count), (128, 12));
        assert_eq!((span.links.len(), span.dropped_links_count), (128, 6));
        let long = span.attributes.iter().find(|kv| kv.key == "key.5").unwrap();
        let Some(Any::StringValue(text)) = &long.value.as_ref().unwrap().value else {
            panic!()
        };
        assert_eq!(text.len(), 16 << 10);
    });
}

#[test]
fn escalated_spans_say_so() {
    struct RecordOnly;
    impl spanlet::Sampler for RecordOnly {
        fn should_sample(&self, _: &spanlet::SamplingParameters<'_>) -> spanlet::SamplingResult {
            spanlet::SamplingResult::new(spanlet::SamplingDecision::RecordOnly)
        }
        fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
            to.write_str("RecordOnly")
        }
    }
    let tracer = TestTracer::<_, 256>::with_sampler(RecordOnly).with_escalation(u64::MAX - 1);
    {
        let mut s: Span<_, InlineBuf<32>> = tracer.span("failed").start();
        s.set_attribute("n", 1).set_status(Status::Error);
    }
    tracer.with_spans(|mut spans| {
        let view = spans.next().unwrap().view();
        let expected = from_view(&view);
        assert_eq!(expected.flags, 0x100, "still unsampled");
        assert_eq!(
            expected.attributes[1],
            pair("spanlet.escalated", &Val::Bool(true))
        );
        assert_same(&encode(&[view]), &request(vec![expected], &[None]));
    });
}

#[test]
fn each_span_may_have_its_own_clock() {
    let inputs = [
        small_input(9, vec![Op::EventAt(0, 9)]),
        small_input(9, vec![]),
    ];
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let mut buf = [0; 1000];
        let (empty, scope) = (Resource::default(), default_scope());
        let mut encoder = OtlpEncoder::new(&mut buf, &empty, &scope, anchor()).unwrap();
        let device = UnixAnchor::new(Ticks(0), 1_000_000, TickRate::MILLISECONDS);
        encoder.push_with(&views[0], &device).unwrap();
        encoder.push(&views[1]).unwrap();
        let mut sent = Vec::new();
        let len = encoder.write_to(&mut sent).unwrap();
        assert_eq!(len, sent.len());
        let request = ExportTraceServiceRequest::decode(&sent[..]).unwrap();
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        assert_eq!(spans[0].start_time_unix_nano, 6_000_000);
        assert_eq!(spans[0].events[0].time_unix_nano, 10_000_000);
        assert_eq!(spans[1].start_time_unix_nano, unix(5));
    });
}
