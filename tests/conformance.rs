//! The W3C trace-context suite's cases (level 2, strict) and the peers' failures, each as a test.
//!
//! What the suite checks over HTTP with a service in the middle is checked here at the propagator: a
//! header that must restart the trace brings no context, one that must continue it brings its ids.

use spanlet::SpanContext;
use spanlet::context::propagator::{extract_w3c, inject_w3c};
use spanlet::context::{
    AllowedBaggage, ExtractError, FixedCarrier, TraceStateBuf, TraceStateErrorKind,
    TraceparentError,
};

const TRACE: &str = "12345678901234567890123456789012";
const GOOD: &str = "00-12345678901234567890123456789012-1234567890123456-01";

fn extract(headers: &[(&str, &str)]) -> Option<SpanContext> {
    extract_w3c(headers).span_context
}

/// The trace goes on under its id.
fn continues(value: &str) {
    let cx = extract(&[("traceparent", value)]).unwrap_or_else(|| panic!("{value:?} refused"));
    assert_eq!(cx.trace_id().to_string(), TRACE, "{value:?}");
    assert!(cx.is_remote());
}

/// A new trace starts, and the reason is named.
fn restarts(value: &str, why: TraceparentError) {
    let headers = [("traceparent", value), ("tracestate", "foo=1")];
    let extracted = extract_w3c(&headers);
    assert_eq!(extracted.span_context, None, "{value:?}");
    assert!(extracted.trace_state.is_empty(), "{value:?}");
    assert_eq!(
        extracted.fault,
        Some(ExtractError::Traceparent(why)),
        "{value:?}"
    );
}

/// What goes out as `tracestate` when these come in beside a good `traceparent`.
fn passes_on(tracestates: &[&str]) -> String {
    let mut headers = vec![("traceparent", GOOD)];
    headers.extend(tracestates.iter().map(|value| ("tracestate", *value)));
    let extracted = extract_w3c(headers.as_slice());
    let cx = extracted
        .span_context
        .expect("tracestate must not affect traceparent");
    assert_eq!(cx.trace_id().to_string(), TRACE);
    let state: TraceStateBuf = (&extracted.trace_state).into();
    let mut out = FixedCarrier::<3, 512>::new();
    inject_w3c(&mut out, &cx, state.text(), AllowedBaggage::default()).unwrap();
    let sent = out.iter().find(|(name, _)| *name == "tracestate");
    sent.map(|(_, value)| value.to_string()).unwrap_or_default()
}

fn discards(tracestates: &[&str], why: TraceStateErrorKind) {
    assert_eq!(passes_on(tracestates), "", "{tracestates:?}");
    let mut headers = vec![("traceparent", GOOD)];
    headers.extend(tracestates.iter().map(|value| ("tracestate", *value)));
    match extract_w3c(headers.as_slice()).fault {
        Some(ExtractError::TraceState(error)) => assert_eq!(error.kind, why, "{tracestates:?}"),
        other => panic!("{tracestates:?}: {other:?}"),
    }
}

mod traceparent {
    use super::*;
    use TraceparentError::*;

    #[test]
    fn missing() {
        assert_eq!(extract(&[]), None);
        assert_eq!(extract_w3c::<[(&str, &str); 0]>(&[]).fault, None);
    }

    #[test]
    fn included() {
        continues(GOOD);
    }

    /// fastrace and opentelemetry take the first.
    #[test]
    fn duplicated() {
        let second = "00-12345678901234567890123456789011-1234567890123456-01";
        for pair in [[GOOD, second], [GOOD, GOOD], [second, "junk"]] {
            let headers = pair.map(|value| ("traceparent", value));
            let extracted = extract_w3c(&headers);
            assert_eq!(extracted.span_context, None);
            let name = "traceparent";
            assert_eq!(extracted.fault, Some(ExtractError::Repeated { name }));
        }
    }

    #[test]
    fn header_name() {
        for name in ["trace-parent", "trace.parent", "traceparents", "traceparen"] {
            assert_eq!(extract(&[(name, GOOD)]), None);
        }
        for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
            assert!(extract(&[(name, GOOD)]).is_some());
        }
    }

    #[test]
    fn version_00_ends_after_the_flags() {
        restarts(&format!("{GOOD}."), WrongLength { len: 56 });
        restarts(&format!("{GOOD}-"), WrongLength { len: 56 });
        restarts(
            &format!("{GOOD}-what-the-future-will-be-like"),
            WrongLength { len: 84 },
        );
    }

    #[test]
    fn later_versions_are_read_by_prefix() {
        let cc = GOOD.replacen("00", "cc", 1);
        continues(&cc);
        continues(&format!("{cc}-what-the-future-will-be-like"));
        continues(&format!("{cc}-"));
        restarts(
            &format!("{cc}.what-the-future-will-be-like"),
            BadDelimiter { offset: 55 },
        );
        restarts(&cc[..54], WrongLength { len: 54 });
    }

    #[test]
    fn version_ff() {
        restarts(&GOOD.replacen("00", "ff", 1), ForbiddenVersion);
        restarts(
            &format!("{}-x", GOOD.replacen("00", "ff", 1)),
            ForbiddenVersion,
        );
    }

    #[test]
    fn version_illegal() {
        restarts(&GOOD.replacen("00", ".0", 1), BadHex { offset: 0 });
        restarts(&GOOD.replacen("00", "0.", 1), BadHex { offset: 1 });
        restarts(&GOOD.replacen("00", "000", 1), BadDelimiter { offset: 2 });
        restarts(&GOOD.replacen("00", "0000", 1), BadDelimiter { offset: 2 });
        restarts(&GOOD.replacen("00", "0", 1), WrongLength { len: 54 });
        restarts(&GOOD.replacen("00", "CC", 1), BadHex { offset: 0 });
        restarts(&GOOD.replacen("00", "+0", 1), BadHex { offset: 0 });
    }

    #[test]
    fn trace_id_illegal() {
        let with = |id: &str| GOOD.replacen(TRACE, id, 1);
        restarts(&with(&"0".repeat(32)), ZeroTraceId);
        restarts(
            &with(".2345678901234567890123456789012"),
            BadHex { offset: 3 },
        );
        restarts(
            &with("1234567890123456789012345678901."),
            BadHex { offset: 34 },
        );
        restarts(
            &with("+2345678901234567890123456789012"),
            BadHex { offset: 3 },
        );
        restarts(
            &with("1234567890123456789012345678901A"),
            BadHex { offset: 34 },
        );
        restarts(
            &with("123456789012345678901234567890123"),
            BadDelimiter { offset: 35 },
        );
        restarts(
            &with("1234567890123456789012345678901"),
            WrongLength { len: 54 },
        );
        restarts(&with("+42"), WrongLength { len: 26 });
    }

    #[test]
    fn parent_id_illegal() {
        let with = |id: &str| GOOD.replacen("-1234567890123456-", &format!("-{id}-"), 1);
        restarts(&with(&"0".repeat(16)), ZeroSpanId);
        restarts(&with(".234567890123456"), BadHex { offset: 36 });
        restarts(&with("123456789012345."), BadHex { offset: 51 });
        restarts(&with("+234567890123456"), BadHex { offset: 36 });
        restarts(&with("123456789012345B"), BadHex { offset: 51 });
        restarts(&with("12345678901234567"), BadDelimiter { offset: 52 });
        restarts(&with("123456789012345"), WrongLength { len: 54 });
    }

    #[test]
    fn flags() {
        let with = |flags: &str| format!("{}{flags}", &GOOD[..53]);
        restarts(&with(".0"), BadHex { offset: 53 });
        restarts(&with("0."), BadHex { offset: 54 });
        restarts(&with("+1"), BadHex { offset: 53 });
        restarts(&with("0A"), BadHex { offset: 54 });
        restarts(&with("001"), WrongLength { len: 56 });
        restarts(&with("1"), WrongLength { len: 54 });
        // opentelemetry loses RANDOM.
        for (sent, kept) in [
            ("00", 0),
            ("01", 1),
            ("02", 2),
            ("03", 3),
            ("ff", 3),
            ("fc", 0),
        ] {
            let cx = extract(&[("traceparent", &with(sent))]).unwrap();
            assert_eq!(cx.flags().to_byte(), kept);
        }
    }

    #[test]
    fn whitespace_around_the_value() {
        for value in [
            format!(" {GOOD}"),
            format!("\t{GOOD}"),
            format!("{GOOD} "),
            format!("{GOOD}\t"),
            format!("\t {GOOD} \t"),
        ] {
            continues(&value);
        }
        restarts(&GOOD.replacen('-', "- ", 1), BadHex { offset: 3 });
        restarts("", WrongLength { len: 0 });
        restarts(" ", WrongLength { len: 0 });
    }
}

mod tracestate {
    use super::*;
    use TraceStateErrorKind::*;

    #[test]
    fn without_traceparent() {
        let extracted = extract_w3c(&[("tracestate", "foo=1")]);
        assert!(extracted.span_context.is_none() && extracted.trace_state.is_empty());
    }

    #[test]
    fn inherited() {
        assert_eq!(passes_on(&["foo=1,bar=2"]), "foo=1,bar=2");
    }

    #[test]
    fn header_name() {
        for (name, kept) in [
            ("trace-state", None),
            ("trace.state", None),
            ("TraceState", Some("1")),
            ("TrAcEsTaTe", Some("1")),
            ("TRACESTATE", Some("1")),
        ] {
            let headers = [("traceparent", GOOD), (name, "foo=1")];
            assert_eq!(extract_w3c(&headers).trace_state.get("foo"), kept);
        }
    }

    #[test]
    fn empty_header() {
        assert_eq!(passes_on(&[""]), "");
        assert_eq!(passes_on(&["foo=1", ""]), "foo=1");
        assert_eq!(passes_on(&["", "foo=1"]), "foo=1");
        assert_eq!(passes_on(&["foo=1, ,\t,,bar=2"]), "foo=1,bar=2");
    }

    /// opentelemetry reads the first only.
    #[test]
    fn several_headers_in_order() {
        let values = ["foo=1,bar=2", "rojo=1,congo=2", "baz=3"];
        assert_eq!(passes_on(&values), "foo=1,bar=2,rojo=1,congo=2,baz=3");
    }

    /// The suite wants the list inherited and takes a repeat kept or dropped.
    #[test]
    fn duplicated_keys() {
        assert_eq!(passes_on(&["foo=1,foo=1"]), "foo=1");
        assert_eq!(passes_on(&["foo=1,bar=3,foo=2"]), "foo=1,bar=3");
        assert_eq!(passes_on(&["foo=1", "foo=1"]), "foo=1");
        assert_eq!(passes_on(&["foo=1", "foo=2"]), "foo=1");
    }

    #[test]
    fn all_allowed_characters() {
        let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
        let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
        for key in [key.to_string(), format!("{key}@a-z0-9_-*/")] {
            let member = format!("{key}={value}");
            assert_eq!(passes_on(&[&member]), member);
        }
    }

    #[test]
    fn whitespace() {
        let expected = "foo=1,bar=2,baz=3";
        assert_eq!(passes_on(&["foo=1 \t , \t bar=2, \t baz=3"]), expected);
        assert_eq!(passes_on(&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"]), expected);
        for value in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
            assert_eq!(passes_on(&[value]), "foo=1");
        }
    }

    #[test]
    fn key_illegal() {
        for value in ["foo =1", "FOO=1", "foo.bar=1", "@foo=1,bar=2", "=1", "é=1"] {
            discards(&["ok=1", value], BadKey);
        }
        discards(&["foo"], MissingEquals);
    }

    /// The vendor format of Level 1 is gone.
    #[test]
    fn level_2_keys() {
        for value in [
            "foo@=1,bar=2",
            "foo@@bar=1,bar=2",
            "foo@bar@baz=1,bar=2",
            "1a=1",
        ] {
            assert_eq!(passes_on(&[value]), value);
        }
    }

    /// opentelemetry does not check them.
    #[test]
    fn value_illegal() {
        for value in ["foo=bar=baz", "foo=a\tb", "foo=é", "foo=a\u{7f}b", "foo=\0"] {
            discards(&[value, "ok=1"], BadValue);
        }
        discards(&["foo=,bar=3"], EmptyValue);
    }

    #[test]
    fn member_count_limit() {
        let members: Vec<String> = (1..=33).map(|n| format!("bar{n:02}={n:02}")).collect();
        let rows = |count: usize| -> Vec<String> {
            members[..count]
                .chunks(10)
                .map(|row| row.join(","))
                .collect()
        };
        let (fits, over) = (rows(32), rows(33));
        let fits: Vec<&str> = fits.iter().map(String::as_str).collect();
        let over: Vec<&str> = over.iter().map(String::as_str).collect();
        assert_eq!(passes_on(&fits), fits.join(","));
        discards(&over, TooManyMembers);
    }

    #[test]
    fn key_and_value_length_limits() {
        for (key, legal) in [
            ("z".repeat(256), true),
            ("z".repeat(257), false),
            (format!("{}@{}", "t".repeat(241), "v".repeat(14)), true),
            (format!("{}@v", "t".repeat(242)), true),
            (format!("t@{}", "v".repeat(15)), true),
        ] {
            let member = format!("{key}=1");
            if legal {
                assert_eq!(passes_on(&["foo=1", &member]), format!("foo=1,{member}"));
            } else {
                discards(&["foo=1", &member], KeyTooLong);
            }
        }
        discards(&[&format!("a={}", "v".repeat(257))], ValueTooLong);
    }
}

mod baggage {
    use super::*;

    /// The decoded pairs of one header, and how many members were dropped.
    fn pairs(value: &str) -> (Vec<(String, String)>, usize) {
        let headers = [("baggage", value)];
        let baggage = extract_w3c(&headers).baggage;
        let pairs = baggage
            .iter()
            .map(|e| (e.key().to_string(), e.value().to_string()));
        (pairs.collect(), baggage.dropped())
    }

    #[test]
    fn reads_without_a_trace() {
        assert_eq!(pairs("a=1"), (vec![("a".into(), "1".into())], 0));
    }

    #[test]
    fn equals_signs_and_percent() {
        let (got, _) = pairs("a=b=c==,d=100%25,e=%");
        let got: Vec<_> = got.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(got, ["b=c==", "100%", "%"]);
    }

    #[test]
    fn bad_utf8_is_replaced() {
        let (got, dropped) = pairs("a=x%FFy%C3");
        assert_eq!((&*got[0].1, dropped), ("x\u{fffd}y\u{fffd}", 0));
    }

    #[test]
    fn limits_keep_whole_members() {
        let many: Vec<String> = (0..65).map(|n| format!("k{n}=v")).collect();
        let (got, dropped) = pairs(&many.join(","));
        assert_eq!((got.len(), dropped), (64, 1));
        let (got, dropped) = pairs(&format!("a=1,b={},c=3", "x".repeat(8190)));
        let keys: Vec<_> = got.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!((keys, dropped), (vec!["a", "c"], 1));
    }

    #[test]
    fn several_headers_join() {
        let headers = [
            ("Baggage", "userId=alice"),
            ("baggage", "serverNode=DF%2028"),
        ];
        let extracted = extract_w3c(&headers);
        assert_eq!(
            extracted.baggage.get("serverNode").unwrap().value(),
            "DF 28"
        );
        assert_eq!(extracted.baggage.get("userId").unwrap().value(), "alice");
    }
}
