//! Carriers: one context through every form of headers, and through the environment of a process.

use spanlet::ParentContext;
use spanlet::context::{Carrier, CarrierMut, Propagator, Propagators};
use spanlet_std::propagation::{
    CommandEnvironment, Context, Environment, MapFields, MapFieldsMut, NullablePairs,
    NullablePairsMut, PairsMut, ReadWith, WriteWith,
};
use std::collections::{BTreeMap, HashMap};
use std::process::Command;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn incoming() -> Context {
    Context::extract(&[
        ("traceparent", PARENT),
        ("tracestate", "rojo=1,congo=2"),
        ("baggage", "tenant=7,card=4111"),
    ])
}

/// Writes a context to a carrier that has stale fields, with names in other letters, and reads it back.
fn round_trip<T>(stale: T, write: impl FnOnce(&mut T, &Context), read: impl FnOnce(&T) -> Context) {
    let mut fields = stale;
    write(&mut fields, &incoming());
    let back = read(&fields);
    assert!(back.fault().is_none(), "{:?}", back.fault());
    assert_eq!(back.span_context(), incoming().span_context());
    assert_eq!(back.trace_state(), Some("rojo=1,congo=2"));
    assert_eq!(back.baggage("tenant").as_deref(), Some("7"));
    assert_eq!(back.baggage("card"), None);
}

fn inject(context: &Context, carrier: &mut impl CarrierMut<Error: core::fmt::Debug>) {
    context.inject(context, &["tenant"], carrier).unwrap();
}

fn stale<V: for<'v> From<&'v str>>() -> Vec<(String, V)> {
    vec![
        ("TraceParent".into(), "stale".into()),
        ("other".into(), "x".into()),
        ("BAGGAGE".into(), "card=1".into()),
    ]
}

#[test]
fn every_list_and_map_takes_a_context_and_gives_it_back() {
    round_trip(
        stale::<String>(),
        |fields, context| inject(context, &mut PairsMut(fields)),
        |fields| Context::extract(fields.as_slice()),
    );
    round_trip(
        stale::<Vec<u8>>(),
        |fields, context| inject(context, &mut PairsMut(fields)),
        |fields| Context::extract(fields.as_slice()),
    );
    round_trip(
        stale::<Vec<u8>>()
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect(),
        |fields: &mut Vec<(String, Option<Vec<u8>>)>, context| {
            fields.push(("tracestate".into(), None));
            inject(context, &mut NullablePairsMut(fields));
        },
        |fields| Context::extract(&NullablePairs(fields)),
    );
    round_trip(
        stale::<String>().into_iter().collect::<HashMap<_, _>>(),
        |fields, context| inject(context, &mut MapFieldsMut(fields)),
        |fields| Context::extract(&MapFields(fields)),
    );
    round_trip(
        stale::<Vec<u8>>().into_iter().collect::<BTreeMap<_, _>>(),
        |fields, context| inject(context, &mut MapFieldsMut(fields)),
        |fields| Context::extract(&MapFields(fields)),
    );
}

#[test]
fn functions_reach_into_any_type() {
    /// As AMQP has it: values of many types under short names.
    #[derive(Debug, PartialEq)]
    enum AmqpValue {
        LongString(Vec<u8>),
        Long(i64),
    }
    round_trip(
        BTreeMap::from([("x-retries".to_owned(), AmqpValue::Long(2))]),
        |table, context| {
            let set = |name: &'static str, value: &str| {
                // As the protocol has it, names have 255 bytes at most.
                if name.len() > 255 {
                    return Err("too long");
                }
                table.insert(name.to_owned(), AmqpValue::LongString(value.into()));
                Ok(())
            };
            inject(context, &mut WriteWith(set));
        },
        |table| {
            assert_eq!(table["x-retries"], AmqpValue::Long(2));
            let fields = ReadWith::new(|| {
                table.iter().filter_map(|(name, value)| match value {
                    AmqpValue::LongString(text) => Some((name.as_str(), text.as_slice())),
                    AmqpValue::Long(_) => None,
                })
            });
            Context::extract(&fields)
        },
    );
    // An error of the library comes out.
    let mut refuses = WriteWith(|_: &'static str, _: &str| Err::<(), _>("full"));
    assert_eq!(
        incoming().inject(&incoming(), &[], &mut refuses),
        Err("full")
    );
}

#[test]
fn two_headers_of_a_name_are_seen_as_two() {
    let twice = [("traceparent", Some(PARENT)), ("Traceparent", Some(PARENT))];
    assert_eq!(
        Context::extract(&NullablePairs(&twice)).span_context(),
        None
    );
    assert_eq!(NullablePairs(&twice).values("traceparent").count(), 2);
}

#[test]
fn variables_are_named_as_fields_in_capitals() {
    let environment: Environment = [
        ("TRACEPARENT", PARENT),
        ("traceparent", "x"),
        ("X_B3_TRACEID", "t"),
    ]
    .into_iter()
    .collect();
    assert!(environment.values("traceparent").eq([PARENT.as_bytes()]));
    assert!(environment.values("x-b3-traceid").eq([b"t"]));
    assert_eq!(environment.values("tracestate").count(), 0);
}

/// Runs [`child`] in a process of its own.
fn run_child(command: &mut Command) -> String {
    command.args(["--exact", "carriers::child", "--ignored", "--nocapture"]);
    let output = command.output().expect("the test's own program");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_child_process_continues_the_trace() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    inject(&incoming(), &mut CommandEnvironment::new(&mut command));
    let output = run_child(&mut command);
    assert!(
        output.contains("continues 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7"),
        "{output}"
    );
    assert!(
        output.contains("state Some(\"rojo=1,congo=2\") tenant Some(\"7\") card None"),
        "{output}"
    );

    // In other formats too.
    let mut command = Command::new(std::env::current_exe().unwrap());
    let b3 = Propagators::NONE.with(Propagator::B3Multi);
    let mut environment = CommandEnvironment::new(&mut command);
    incoming()
        .inject_with(b3, &incoming(), &[], &mut environment)
        .unwrap();
    let set: Vec<_> = command
        .get_envs()
        .filter(|(_, value)| value.is_some())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(set, ["X_B3_SAMPLED", "X_B3_SPANID", "X_B3_TRACEID"]);
}

#[test]
fn a_child_inherits_nothing_of_another_trace() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // As if this process had been started with them: `CommandEnvironment` takes them away.
    command
        .env("TRACESTATE", "stale=1")
        .env("BAGGAGE", "card=4111")
        .env("TRACEPARENT", PARENT);
    let bare = Context::extract(&[("traceparent", PARENT)]);
    inject(&bare, &mut CommandEnvironment::new(&mut command));
    let output = run_child(&mut command);
    assert!(
        output.contains("state None tenant None card None"),
        "{output}"
    );
}

/// What the tests above run, in a process of its own.
#[test]
#[ignore = "a part of a_child_process_continues_the_trace"]
fn child() {
    let context = Context::extract(&Environment::of_process());
    let parent = context.span_context().expect("TRACEPARENT is set");
    println!("continues {} {}", parent.trace_id(), parent.span_id());
    println!(
        "state {:?} tenant {:?} card {:?}",
        context.trace_state(),
        context.baggage("tenant"),
        context.baggage("card")
    );
}
