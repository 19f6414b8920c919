//! W3C Trace Context, levels 1 and 2, strict: what a service does with the headers of a request, seen in the request
//! that it sends. The service is `examples/w3c_service.rs`, over sockets.
//!
//! SPEC: Trace Context Level 2; the cases are those of the W3C's test suite and what the text says beyond them. Where the
//! levels contradict each other, in the keys of `tracestate`, Level 2 is followed, as by the suite since June 2026.

use crate::memory::installed;
use crate::peer::{Fields, HARNESS, request, send, serve};
use spanlet::TraceId;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

#[path = "../../../examples/w3c_service.rs"]
#[allow(dead_code, reason = "its `main`")]
mod service;

static SERVICE: LazyLock<SocketAddr> = LazyLock::new(|| serve(service::app()));

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";
const GOOD: (&str, &str) = (
    "traceparent",
    "00-12345678901234567890123456789012-1234567890123456-01",
);

/// What went out.
#[derive(Debug)]
struct Sent {
    trace: String,
    parent: String,
    flags: u8,
    /// Members in order; the header may have come several times.
    state: Vec<(String, String)>,
}

/// Sends a request with these header lines and has the service make `count` calls.
fn hop(lines: &[(&str, &str)], count: usize) -> Vec<Sent> {
    static CASES: AtomicU32 = AtomicU32::new(0);
    let case = CASES.fetch_add(1, Relaxed);
    let paths: Vec<String> = (0..count).map(|n| format!("/w3c/{case}/{n}")).collect();
    let calls = paths
        .iter()
        .map(|path| serde_json::json!({ "url": HARNESS.url(path), "arguments": [] }));
    let body = serde_json::Value::from_iter(calls).to_string();
    let (status, ..) = send(*SERVICE, &request("POST", "/test", lines, &body));
    assert_eq!(status, 200, "{lines:?}");
    paths.iter().map(|path| sent(HARNESS.take(path))).collect()
}

fn sent(fields: Fields) -> Sent {
    let all = |wanted: &str| {
        let found = fields.iter().filter(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let [traceparent] = &all("traceparent")[..] else {
        panic!("one traceparent is to go out: {fields:?}")
    };
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else {
        panic!("{traceparent}")
    };
    let is_hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    assert!(version == "00" && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2));
    assert!(trace.contains(|c| c != '0') && parent.contains(|c| c != '0'));
    let state = all("tracestate").join(",");
    let members = state.split(',').map(|m| m.trim()).filter(|m| !m.is_empty());
    let members = members.map(|member| {
        let (key, value) = member.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    });
    Sent {
        trace: trace.to_owned(),
        parent: parent.to_owned(),
        flags: u8::from_str_radix(flags, 16).unwrap(),
        state: members.collect(),
    }
}

fn one(lines: &[(&str, &str)]) -> Sent {
    hop(lines, 1).remove(0)
}

/// The trace goes on under its id, the parent is the service's own span.
fn continues(traceparent: &str) -> Sent {
    let sent = one(&[("traceparent", traceparent), ("tracestate", "foo=1")]);
    assert_eq!(sent.trace, TRACE, "{traceparent:?}");
    assert_ne!(sent.parent, PARENT, "{traceparent:?}");
    assert_eq!(
        sent.state,
        [("foo".to_owned(), "1".to_owned())],
        "{traceparent:?}"
    );
    sent
}

/// A new trace starts, and the state of the old one is dropped.
fn restarts(lines: &[(&str, &str)]) {
    let mut lines = lines.to_vec();
    lines.push(("tracestate", "foo=1"));
    let sent = one(&lines);
    assert!(
        !lines.iter().any(|(_, value)| value.contains(&sent.trace)),
        "{lines:?}"
    );
    assert_ne!(sent.trace, TRACE);
    assert_eq!(sent.state, [], "{lines:?}");
    // One of ours: recorded, and random.
    assert_eq!(sent.flags, 0x03, "{lines:?}");
}

/// These `tracestate` lines come out as these members; the trace goes on in any case.
fn passes_on(states: &[&str], expected: &[(&str, &str)]) {
    let mut lines = vec![GOOD];
    lines.extend(states.iter().map(|state| ("tracestate", *state)));
    let sent = one(&lines);
    assert_eq!(sent.trace, TRACE, "{states:?}");
    let members: Vec<_> = sent.state.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(members, expected, "{states:?}");
}

#[test]
fn nothing_comes() {
    let sent = one(&[]);
    assert_eq!((sent.flags, sent.state.len()), (0x03, 0));
    assert_ne!(sent.trace, one(&[]).trace);
}

#[test]
fn traceparent_alone() {
    let sent = one(&[GOOD]);
    assert_eq!(
        (&*sent.trace, sent.flags, sent.state.len()),
        (TRACE, 0x01, 0)
    );
    assert_ne!(sent.parent, PARENT);
}

#[test]
fn traceparent_twice() {
    let other = "00-12345678901234567890123456789011-1234567890123456-01";
    for (a, b) in [
        (other, GOOD.1),
        (GOOD.1, GOOD.1),
        (GOOD.1, "junk"),
        ("", GOOD.1),
    ] {
        restarts(&[("traceparent", a), ("traceparent", b)]);
    }
    restarts(&[("traceparent", &format!("{},{}", GOOD.1, GOOD.1))]);
}

#[test]
fn traceparent_name() {
    for name in ["trace-parent", "trace.parent", "traceparents"] {
        restarts(&[(name, GOOD.1)]);
    }
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        assert_eq!(one(&[(name, GOOD.1)]).trace, TRACE);
    }
}

#[test]
fn traceparent_versions() {
    let of = |version: &str, end: &str| format!("{version}-{TRACE}-{PARENT}-01{end}");
    // 00 ends after the flags.
    for end in [".", "-", "-what-the-future-will-be-like", "0"] {
        restarts(&[("traceparent", &of("00", end))]);
    }
    // Later ones are read by what is known of them.
    for version in ["01", "cc", "fe"] {
        continues(&of(version, ""));
        continues(&of(version, "-what-the-future-will-be-like"));
        for end in [".what-the-future-will-be-like", "0", "01-x"] {
            restarts(&[("traceparent", &of(version, end))]);
        }
    }
    for version in [
        "ff", ".0", "0.", "000", "0000", "0", "", "CC", "+0", "-0", " 0",
    ] {
        restarts(&[("traceparent", &of(version, ""))]);
    }
}

#[test]
fn traceparent_ids() {
    for trace in [
        "00000000000000000000000000000000",
        ".2345678901234567890123456789012",
        "1234567890123456789012345678901.",
        "123456789012345678901234567890123",
        "1234567890123456789012345678901",
        "+2345678901234567890123456789012",
        "1234567890123456789012345678901A",
        "ABCDEFABCDEFABCDEFABCDEFABCDEFAB",
        "",
    ] {
        restarts(&[("traceparent", &format!("00-{trace}-{PARENT}-01"))]);
    }
    for parent in [
        "0000000000000000",
        ".234567890123456",
        "123456789012345.",
        "12345678901234567",
        "123456789012345",
        "+234567890123456",
        "123456789012345A",
        "",
    ] {
        restarts(&[("traceparent", &format!("00-{TRACE}-{parent}-01"))]);
    }
    for other in ["", "-", "00", "00-", GOOD.1.get(..54).unwrap(), "00_1_2_3"] {
        restarts(&[("traceparent", other)]);
    }
    // Delimiters where they belong, and nowhere else.
    let swapped = format!("00-{TRACE}{PARENT}--01");
    restarts(&[("traceparent", &swapped)]);
}

#[test]
fn traceparent_flags() {
    let of = |flags: &str| format!("00-{TRACE}-{PARENT}-{flags}");
    for flags in [".0", "0.", "001", "1", "", "0A", "-1", "+1"] {
        restarts(&[("traceparent", &of(flags))]);
    }
    // SAMPLED and RANDOM go on, unknown ones are cleared (level 2, 3.2.2.5).
    for (came, goes) in [
        ("00", 0x00),
        ("01", 0x01),
        ("02", 0x02),
        ("03", 0x03),
        ("ff", 0x03),
        ("fc", 0x00),
        ("08", 0x00),
        ("05", 0x01),
    ] {
        assert_eq!(continues(&of(came)).flags, goes, "{came}");
    }
    assert_eq!(continues(&format!("cc-{TRACE}-{PARENT}-0b")).flags, 0x03);
}

#[test]
fn traceparent_has_spaces_around_it() {
    let good = GOOD.1;
    for padded in [
        format!(" {good}"),
        format!("\t{good}"),
        format!("{good} "),
        format!("{good}\t"),
        format!("\t {good} \t"),
    ] {
        continues(&padded);
    }
}

#[test]
fn tracestate_without_traceparent() {
    for state in ["foo=1", "foo=1,bar=2"] {
        let sent = one(&[("tracestate", state)]);
        assert_eq!(sent.state, []);
    }
}

#[test]
fn tracestate_goes_on() {
    passes_on(&["foo=1,bar=2"], &[("foo", "1"), ("bar", "2")]);
    // Of a trace that is not sampled as well.
    let off = format!("00-{TRACE}-{PARENT}-00");
    let sent = one(&[("traceparent", &off), ("tracestate", "foo=1,bar=2")]);
    assert_eq!((&*sent.trace, sent.flags, sent.state.len()), (TRACE, 0, 2));
    assert_ne!(sent.parent, PARENT);
}

#[test]
fn tracestate_name() {
    for name in ["trace-state", "trace.state"] {
        assert_eq!(one(&[GOOD, (name, "foo=1")]).state, []);
    }
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        assert_eq!(one(&[GOOD, (name, "foo=1")]).state.len(), 1);
    }
}

#[test]
fn tracestate_that_is_empty() {
    passes_on(&[""], &[]);
    passes_on(&["", ""], &[]);
    passes_on(&["foo=1", ""], &[("foo", "1")]);
    passes_on(&["", "foo=1"], &[("foo", "1")]);
    passes_on(&["foo=1,"], &[("foo", "1")]);
    passes_on(&[",foo=1, ,\t,bar=2,,"], &[("foo", "1"), ("bar", "2")]);
}

#[test]
fn tracestate_in_several_headers() {
    passes_on(
        &["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
        &[
            ("foo", "1"),
            ("bar", "2"),
            ("rojo", "1"),
            ("congo", "2"),
            ("baz", "3"),
        ],
    );
}

#[test]
fn tracestate_with_a_key_twice() {
    for state in ["foo=1,foo=1", "foo=1,foo=2"] {
        passes_on(&[state], &[("foo", "1")]);
    }
    passes_on(&["foo=1", "foo=1"], &[("foo", "1")]);
    passes_on(&["foo=1,bar=2", "foo=2"], &[("foo", "1"), ("bar", "2")]);
}

#[test]
fn tracestate_with_every_character() {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|c| !matches!(c, ',' | '=')).collect();
    passes_on(&[&format!("{key}={value}")], &[(key, &value)]);
    let tenant = format!("{key}@a-z0-9_-*/");
    let value = format!("x{value}");
    passes_on(&[&format!("{tenant}={value}")], &[(&tenant, &value)]);
}

#[test]
fn tracestate_with_spaces() {
    let all = [("foo", "1"), ("bar", "2"), ("baz", "3")];
    passes_on(&["foo=1 \t , \t bar=2, \t baz=3"], &all);
    passes_on(&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], &all);
    for state in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        passes_on(&[state], &[("foo", "1")]);
    }
    // Inside of a value they belong to it.
    passes_on(&["foo=a b,bar=2"], &[("foo", "a b"), ("bar", "2")]);
}

#[test]
fn tracestate_with_a_bad_key() {
    for state in [
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "fooB=1",
        "@foo=1",
        "_foo=1",
        "-foo=1",
        "*foo=1",
        "/foo=1",
        "=1",
        "foo",
        "foo:1",
        "f\u{e4}=1",
    ] {
        passes_on(&[&format!("{state},bar=2")], &[]);
        passes_on(&[&format!("bar=2,{state}")], &[]);
        passes_on(&["bar=2", state], &[]);
    }
}

/// Level 2: one grammar for all keys.
#[test]
fn tracestate_keys_of_level_2() {
    for key in [
        "foo@@bar",
        "foo@",
        "foo@bar@baz",
        "1foo",
        "0",
        "0@0",
        "241@v",
        "a",
        "a/b*c-d_e",
        &format!("{}@v", "t".repeat(242)),
        &format!("t@{}", "v".repeat(15)),
    ] {
        passes_on(&[&format!("{key}=1,bar=2")], &[(key, "1"), ("bar", "2")]);
        passes_on(&["bar=2", &format!("{key}=1")], &[("bar", "2"), (key, "1")]);
    }
}

#[test]
fn tracestate_of_32_members() {
    let members: Vec<(String, String)> = (1..=33)
        .map(|n| (format!("bar{n:02}"), format!("{n:02}")))
        .collect();
    let text = |range: std::ops::Range<usize>| {
        let parts = members[range].iter().map(|(k, v)| format!("{k}={v}"));
        parts.collect::<Vec<_>>().join(",")
    };
    let expected: Vec<_> = members[..32].iter().map(|(k, v)| (&**k, &**v)).collect();
    passes_on(&[&text(0..32)], &expected);
    let in_parts = [text(0..10), text(10..20), text(20..30), text(30..32)];
    passes_on(&in_parts.each_ref().map(|part| &**part), &expected);
    // One more, and it is none.
    passes_on(&[&text(0..33)], &[]);
    let in_parts = [text(0..10), text(10..20), text(20..30), text(30..33)];
    passes_on(&in_parts.each_ref().map(|part| &**part), &[]);
}

#[test]
fn tracestate_of_long_parts() {
    for key in [
        "z".repeat(256),
        format!("{}@{}", "t".repeat(241), "v".repeat(14)),
    ] {
        passes_on(&[&format!("foo=1,{key}=1")], &[("foo", "1"), (&key, "1")]);
    }
    let value = "v".repeat(256);
    passes_on(&[&format!("foo={value}")], &[("foo", &value)]);
    for state in [
        format!("foo=1,{}=1", "z".repeat(257)),
        format!("foo={}", "v".repeat(257)),
    ] {
        passes_on(&[&state], &[]);
    }
}

/// 512 characters go on; of more, whole members are left out, long ones first (3.3.1.5).
#[test]
fn tracestate_of_many_characters() {
    let long = "x".repeat(200);
    let state = format!("a={long},b={long},c=1,d={long}");
    passes_on(&[&state], &[("a", &long), ("b", &long), ("c", "1")]);
}

#[test]
fn tracestate_with_a_bad_value() {
    for state in [
        "foo=bar=baz",
        "foo=",
        "foo= ",
        "foo=\u{e4}",
        "foo==",
        "foo=a\tb",
    ] {
        passes_on(&[&format!("{state},bar=3")], &[]);
        passes_on(&["bar=3", state], &[]);
    }
}

fn each_is_a_span(sent: &[Sent]) {
    let mut parents: Vec<_> = sent.iter().map(|sent| &sent.parent).collect();
    parents.sort();
    parents.dedup();
    assert_eq!(parents.len(), sent.len(), "each call is a span");
}

#[test]
fn several_calls_of_one_request() {
    let sent = hop(&[GOOD, ("tracestate", "foo=1")], 3);
    each_is_a_span(&sent);
    assert!(
        sent.iter()
            .all(|sent| sent.trace == TRACE && sent.state.len() == 1)
    );

    for lines in [
        &[][..],
        &[(
            "traceparent",
            "00-12345678901234567890123456789012-1234567890123456-.0",
        )],
        &[(
            "traceparent",
            "00-00000000000000000000000000000000-1234567890123456-01",
        )],
    ] {
        let sent = hop(lines, 3);
        each_is_a_span(&sent);
        assert!(
            sent.iter()
                .all(|other| other.trace == sent[0].trace && other.trace != TRACE)
        );
    }
}

#[test]
fn the_spans_are_what_went_out() {
    let trace = "0123456789abcdef0123456789abcdef";
    let parent = format!("00-{trace}-{PARENT}-01");
    let sent = one(&[("traceparent", &parent), ("tracestate", "foo=1,bar=2")]);
    let id = TraceId::from_bytes(hex(trace).try_into().unwrap()).unwrap();
    let spans = installed().spans_of(id, 2);
    let [server, client] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!((&*server.name, &*client.name), ("POST /test", "POST"));
    assert_eq!(server.parent_span_id, hex(PARENT));
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(client.span_id, hex(&sent.parent));
    for span in &spans {
        assert_eq!(span.trace_state, "foo=1,bar=2");
    }
    // The server's parent is another process's, the client's is not.
    assert_eq!((server.flags & 0x300, client.flags & 0x300), (0x300, 0x100));
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}
