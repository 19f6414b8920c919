//! The context codecs against naive oracles, over arbitrary input.

use proptest::prelude::*;
use spanlet::context::propagator::{Propagator, Propagators};
use spanlet::context::{B3, Baggage, BaggageBuf, TraceState, TraceStateBuf, binary, traceparent};
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

fn contexts() -> impl Strategy<Value = SpanContext> {
    (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>()).prop_filter_map("zero id", |(t, s, f)| {
        Some(SpanContext::new(
            TraceId::from_bytes(t)?,
            SpanId::from_bytes(s)?,
            TraceFlags::from_byte(f),
        ))
    })
}

/// A `traceparent` as the grammar has it, byte by byte.
fn naive_traceparent(text: &[u8]) -> Option<(String, String, u8)> {
    // What later versions append is not looked at, not even for UTF-8.
    let text = String::from_utf8_lossy(text);
    let text = text.trim_matches([' ', '\t']);
    let lower_hex = |part: &str| part.bytes().all(|b| b"0123456789abcdef".contains(&b));
    let mut parts = text.splitn(5, '-');
    let [version, trace, span, flags] = core::array::from_fn(|_| parts.next().unwrap_or(""));
    let rest = parts.next();
    let lengths = [version, trace, span, flags].map(str::len) == [2, 32, 16, 2];
    let hex = [version, trace, span, flags].into_iter().all(lower_hex);
    let zero = |id: &str| id.bytes().all(|b| b == b'0');
    if !lengths || !hex || version == "ff" || zero(trace) || zero(span) {
        return None;
    }
    if version == "00" && rest.is_some() {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()? & 3;
    Some((trace.to_string(), span.to_string(), flags))
}

/// Near misses: a good header with a few bytes overwritten, inserted or cut.
fn nearly_traceparents() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"0123456789abcdefABCDEFg-+ \t_/:`".to_vec()),
    ];
    let edit = (0_usize..60, byte, 0_u8..6);
    let version = prop::sample::select(vec!["00", "00", "01", "cc", "fe", "ff", "0", "000"]);
    let tail = prop::sample::select(vec!["", "", "", "-", "-what", ".what", " ", "\t\t", "0"]);
    let parts = (version, contexts(), tail, prop::collection::vec(edit, 0..3));
    parts.prop_map(|(version, cx, tail, edits)| {
        let text = traceparent::encode(&cx);
        let mut text = [version.as_bytes(), &text[2..], tail.as_bytes()].concat();
        for (at, byte, kind) in edits {
            let at = at.min(text.len().saturating_sub(1));
            match kind {
                0 => text.insert(at, byte),
                1 => drop(text.remove(at)),
                2 => text.truncate(at.max(1)),
                _ => text[at] = byte,
            }
        }
        text
    })
}

/// The members of a `tracestate` as Level 2 has them.
fn naive_tracestate(values: &[Vec<u8>]) -> Option<Vec<(String, String)>> {
    let mut members: Vec<(String, String)> = Vec::new();
    let mut count = 0;
    for value in values {
        for member in value.split(|b| *b == b',') {
            let Ok(member) = core::str::from_utf8(member) else {
                return None;
            };
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let first = key.chars().next()?;
            let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let key_ok = alnum(first) && key.chars().all(|c| alnum(c) || "_-*/@".contains(c));
            let value_ok = value.chars().all(|c| (' '..='~').contains(&c) && c != '=');
            if !key_ok || !value_ok || value.is_empty() || key.len() > 256 || value.len() > 256 {
                return None;
            }
            count += 1;
            if members.iter().all(|(k, _)| k != key) {
                members.push((key.to_string(), value.to_string()));
            }
        }
    }
    (count <= 32).then_some(members)
}

fn header_values(text: &'static str) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let value = prop_oneof![
        6 => proptest::string::string_regex(text).unwrap().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(value, 0..6)
}

fn slices(values: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    values.iter().map(Vec::as_slice)
}

/// Decodes as RFC 3986 has it, then as `String::from_utf8_lossy`.
fn naive_percent(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|pair| core::str::from_utf8(pair).ok());
        let hex = pair.filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        if let (b'%', Some(pair)) = (first, hex) {
            bytes.push(u8::from_str_radix(pair, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn traceparent_goes_both_ways(cx in contexts()) {
        let text = traceparent::encode(&cx);
        prop_assert_eq!(traceparent::parse(&text), Ok(cx.remote()));
        let expected = format!("00-{}-{}-{:?}", cx.trace_id(), cx.span_id(), cx.flags());
        prop_assert_eq!(core::str::from_utf8(&text).unwrap(), expected);
    }

    #[test]
    fn traceparent_agrees_with_the_naive_parser(text in nearly_traceparents()) {
        let parsed = traceparent::parse(&text).ok().map(|cx| {
            (cx.trace_id().to_string(), cx.span_id().to_string(), cx.flags().to_byte())
        });
        prop_assert_eq!(parsed, naive_traceparent(&text), "{}", text.escape_ascii());
    }

    #[test]
    fn traceparent_takes_any_bytes(text in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(traceparent::parse(&text).is_ok(), naive_traceparent(&text).is_some());
    }

    #[test]
    fn tracestate_agrees_with_the_naive_parser(
        values in header_values("([ \t]{0,2}[a-c0@*]{1,2}=?[ -~]{0,4}[ \t]{0,2},){0,12}")
    ) {
        let state = TraceState::parse(slices(&values));
        let expected = naive_tracestate(&values);
        let got = state.as_ref().ok().map(|state| {
            state.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>()
        });
        prop_assert_eq!(&got, &expected);
        if let Err(error) = state {
            // The place that the error names exists.
            prop_assert!(error.offset <= values[error.value].len());
        }
    }

    #[test]
    fn tracestate_buf_behaves_like_a_list(
        ops in prop::collection::vec((0..12_u8, 0..40_usize, any::<bool>()), 0..80)
    ) {
        let mut buf = TraceStateBuf::<200>::new();
        let mut model: Vec<(String, String)> = Vec::new();
        for (key, len, remove) in ops {
            let key = format!("k{key}");
            let before = model.len();
            model.retain(|(k, _)| *k != key);
            if remove {
                prop_assert_eq!(buf.remove(&key), model.len() < before);
            } else {
                // Some above 128 characters, which go first.
                let value = "v".repeat(if len > 37 { 130 } else { len + 1 });
                model.insert(0, (key.clone(), value.clone()));
                let expected = shrink(&mut model, 200);
                prop_assert_eq!(buf.insert(&key, &value), Ok(expected));
            }
            let text: Vec<_> = model.iter().map(|(k, v)| format!("{k}={v}")).collect();
            prop_assert_eq!(buf.as_str(), text.join(","));
            let parsed = TraceState::parse([buf.as_str().as_bytes()]).unwrap();
            prop_assert!(parsed.iter().eq(buf.iter()));
        }
    }

    #[test]
    fn otel_sub_keys_survive_each_other(th in 0..1_u64 << 56, rv in 0..1_u64 << 56) {
        let mut buf = TraceStateBuf::<512>::new();
        buf.insert("rojo", "1").unwrap();
        buf.set_threshold(Some(th)).unwrap();
        buf.set_randomness(rv).unwrap();
        buf.set_threshold(Some(th / 2)).unwrap();
        prop_assert_eq!(buf.otel().threshold(), Some(th / 2));
        prop_assert_eq!(buf.otel().randomness(), Some(rv));
        prop_assert!(buf.set_randomness(rv ^ 1).is_err());
        let digits = format!("{rv:014x}");
        prop_assert_eq!(buf.otel().get("rv"), Some(digits.as_str()));
        buf.set_threshold(None).unwrap();
        prop_assert_eq!(buf.otel().threshold(), None);
        prop_assert_eq!(buf.get("rojo"), Some("1"));
    }

    #[test]
    fn baggage_values_decode_like_the_naive_decoder(value in "([%a-f0-9A-F=]|%[89a-fA-F][0-9a-f]){0,24}") {
        let text = format!("k={value}");
        let baggage = Baggage::parse([text.as_bytes()]);
        let decoded = baggage.get("k").unwrap().value();
        let expected = naive_percent(&value);
        prop_assert_eq!(decoded.to_string(), &*expected);
        prop_assert_eq!(decoded, &*expected);
        let mut buffer = vec![0; expected.len()];
        prop_assert_eq!(decoded.decode_into(&mut buffer), Some(&*expected));
        if let Some(short) = buffer.len().checked_sub(1) {
            prop_assert_eq!(decoded.decode_into(&mut buffer[..short]), None);
        }
    }

    #[test]
    fn baggage_takes_any_bytes(values in header_values("([ ]{0,2}[a-c é]{1,2}=[ -~]{0,6},){0,40}")) {
        let baggage = Baggage::parse(slices(&values));
        let kept = baggage.iter().count();
        let members = values.iter().flat_map(|value| value.split(|b| *b == b','))
            .filter(|member| !member.iter().all(|b| b" \t".contains(b)));
        prop_assert_eq!(kept + baggage.dropped(), members.count());
        prop_assert!(kept <= 64);
    }

    #[test]
    fn baggage_buf_behaves_like_a_map(
        ops in prop::collection::vec((0..8_u8, any::<Option<String>>()), 0..20)
    ) {
        let mut buf = BaggageBuf::<4096>::new();
        let mut model: Vec<(String, String)> = Vec::new();
        for (key, value) in ops {
            let key = format!("k{key}");
            let at = model.iter().position(|(k, _)| *k == key);
            match (value, at) {
                (None, _) => {
                    prop_assert_eq!(buf.remove(&key), at.is_some());
                    model.retain(|(k, _)| *k != key);
                }
                (Some(value), at) => {
                    if buf.set(&key, &value).is_err() {
                        continue;
                    }
                    match at {
                        Some(at) => model[at].1 = value,
                        None => model.push((key, value)),
                    }
                }
            }
        }
        let got: Vec<_> = buf.iter().map(|e| (e.key().to_string(), e.value().to_string())).collect();
        prop_assert_eq!(&got, &model);
        // And over the wire.
        let keys: Vec<_> = model.iter().map(|(key, _)| key.as_str()).collect();
        let mut out = vec![0; 4096];
        let sent = buf.encode_allowed(&keys, &mut out);
        prop_assert_eq!(sent.dropped(), 0);
        let received = Baggage::parse([sent.as_str().as_bytes()]);
        let got: Vec<_> = received.iter().map(|e| (e.key().to_string(), e.value().to_string())).collect();
        prop_assert_eq!(got, model);
    }

    #[test]
    fn binary_and_b3_go_both_ways(cx in contexts()) {
        prop_assert_eq!(binary::decode(&binary::encode(&cx)), Ok(cx.remote()));
        let text = B3::from(&cx).encode_single();
        let back = B3::parse_single(text.as_str().as_bytes()).unwrap().context.unwrap();
        prop_assert_eq!((back.trace_id(), back.span_id()), (cx.trace_id(), cx.span_id()));
        prop_assert_eq!(back.is_sampled(), cx.is_sampled());
    }

    #[test]
    fn extraction_takes_any_headers(
        headers in prop::collection::vec((
            prop::sample::select(vec![
                "traceparent", "TraceState", "baggage", "b3", "x-b3-traceid", "X-B3-SpanId", "x-b3-sampled",
            ]),
            prop::collection::vec(any::<u8>(), 0..60),
        ), 0..8)
    ) {
        let all = Propagators::W3C.with(Propagator::B3).with(Propagator::B3Multi);
        let extracted = all.extract(headers.as_slice());
        prop_assert!(extracted.trace_state.is_empty() || extracted.span_context.is_some());
    }
}

/// What the specification says to drop: beyond 32 members, large ones first, then from the right; the
/// first stays.
fn shrink(model: &mut Vec<(String, String)>, limit: usize) -> usize {
    let before = model.len();
    model.truncate(32);
    let len = |model: &[(String, String)]| -> usize {
        model
            .iter()
            .map(|(k, v)| k.len() + v.len() + 2)
            .sum::<usize>()
            - 1
    };
    while len(model) > limit {
        let large = model.iter().rposition(|(k, v)| k.len() + v.len() + 1 > 128);
        let last = model.len() - 1;
        model.remove(large.filter(|at| *at > 0).unwrap_or(last));
    }
    before - model.len()
}
