//! Messages: who links to whom, and what the spans say.

use crate::recorded::{CLIENT, CONSUMER, PRODUCER, named, root, text, trace, trace_of};
use spanlet::ParentContext;
use spanlet_std::messaging::Destination;
use spanlet_std::propagation::{Context, MessageFields};

fn orders() -> Destination {
    Destination::new("kafka", "orders")
        .server("kafka.internal", 9092)
        .client_id("c-1")
        .consumer_group("billing")
}

/// A message sent in a trace of its own: its headers, and the trace's id.
fn sent(id: &str) -> (MessageFields, Vec<u8>) {
    let mut root = root();
    let mut headers = MessageFields::new();
    root.run(|_| {
        let orders = orders();
        let sent = orders
            .send()
            .message_id(id)
            .partition("3")
            .kafka_key("k")
            .body_size(7);
        let span = sent.inject_into(&mut headers).unwrap();
        assert_eq!(
            Context::extract(&headers).span_context().unwrap().span_id(),
            span.context().span_id()
        );
    });
    (headers, root.context().trace_id().to_bytes().to_vec())
}

#[test]
fn a_message_carries_the_context_of_its_send() {
    let (headers, producer) = sent("7");
    let spans = trace(&producer);
    let send = named(&spans, "send orders");
    assert_eq!(send.kind, PRODUCER);
    for (key, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "send"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "3"),
        ("messaging.kafka.message.key", "k"),
        ("messaging.message.id", "7"),
        ("messaging.message.body.size", "7"),
        ("messaging.client.id", "c-1"),
        ("server.address", "kafka.internal"),
        ("server.port", "9092"),
    ] {
        assert_eq!(text(send, key).as_deref(), Some(value), "{key}");
    }
    for absent in [
        "messaging.consumer.group.name",
        "messaging.batch.message_count",
        "messaging.kafka.offset",
    ] {
        assert_eq!(text(send, absent), None);
    }
    let carried = Context::extract(&headers).span_context().unwrap();
    assert_eq!(carried.span_id().to_bytes().to_vec(), send.span_id);
}

#[test]
fn a_batch_is_received_with_links_and_processed_one_by_one() {
    let (sent, producers): (Vec<_>, Vec<_>) = (0..3).map(|i| self::sent(&i.to_string())).unzip();
    let mut batch: Vec<_> = sent.iter().map(Context::extract).collect();
    // One of the messages comes from a producer that is not traced.
    batch.push(Context::new());
    let mut consumer = root();
    consumer.run(|_| {
        let mut receive = orders().receive(&batch).name("poll").start();
        receive.run(|_| {
            for (offset, message) in (40..).zip(&batch) {
                let message = core::slice::from_ref(message);
                orders().process(message).kafka_offset(offset).start().end();
            }
        });
        receive.end();
        orders().settle("commit", &batch).start().end();
    });
    let spans = trace_of(consumer);
    let receive = named(&spans, "poll orders");
    assert_eq!(receive.kind, CLIENT);
    assert_eq!(
        text(receive, "messaging.operation.type").as_deref(),
        Some("receive")
    );
    assert_eq!(
        text(receive, "messaging.batch.message_count").as_deref(),
        Some("4")
    );
    assert_eq!(
        text(receive, "messaging.consumer.group.name").as_deref(),
        Some("billing")
    );
    let linked: Vec<_> = receive
        .links
        .iter()
        .map(|link| link.trace_id.clone())
        .collect();
    assert_eq!(linked, producers);
    let settle = named(&spans, "commit orders");
    assert_eq!((settle.kind, settle.links.len()), (CLIENT, 3));

    let processed: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "process orders")
        .collect();
    assert_eq!(processed.len(), 4);
    for (i, process) in processed.iter().enumerate() {
        assert_eq!(process.kind, CONSUMER);
        assert_eq!(process.parent_span_id, receive.span_id);
        let linked: Vec<_> = process.links.iter().map(|link| &link.trace_id).collect();
        assert_eq!(linked, producers.get(i).into_iter().collect::<Vec<_>>());
        assert_eq!(
            text(process, "messaging.kafka.offset"),
            Some((40 + i).to_string())
        );
        assert_eq!(text(process, "messaging.batch.message_count"), None);
    }
}

#[test]
fn a_single_message_may_be_processed_in_its_own_trace_and_several_may_not() {
    let (headers, producer) = sent("1");
    let message = Context::extract(&headers);
    orders()
        .process(core::slice::from_ref(&message))
        .continue_trace()
        .start()
        .end();
    let spans = trace(&producer);
    let (send, process) = (
        named(&spans, "send orders"),
        named(&spans, "process orders"),
    );
    assert_eq!(process.parent_span_id, send.span_id);
    assert_eq!(process.links.len(), 1);

    let two = [message, Context::extract(&sent("2").0)];
    let mut both = orders().process(&two).continue_trace().start();
    both.end();
    let spans = trace(&both.context().trace_id().to_bytes());
    assert_eq!(spans.len(), 1, "a trace of its own");
    assert_eq!(spans[0].links.len(), 2);
    assert_eq!(
        text(&spans[0], "messaging.batch.message_count").as_deref(),
        Some("2")
    );
}

#[test]
fn a_batch_is_sent_with_a_context_for_each_message() {
    let mut root = root();
    let mut headers = [MessageFields::new(), MessageFields::new()];
    root.run(|_| {
        for headers in &mut headers {
            orders().create().inject_into(headers).unwrap().end();
        }
        let created = headers.each_ref().map(Context::extract);
        orders().send_batch(&created).start().end();
    });
    let spans = trace_of(root);
    let created: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "create orders")
        .collect();
    assert!(created.len() == 2 && created.iter().all(|span| span.kind == PRODUCER));
    let send = named(&spans, "send orders");
    assert_eq!(send.kind, CLIENT);
    assert_eq!(
        text(send, "messaging.batch.message_count").as_deref(),
        Some("2")
    );
    let linked: Vec<_> = send.links.iter().map(|link| &link.span_id).collect();
    assert_eq!(
        linked,
        created.iter().map(|span| &span.span_id).collect::<Vec<_>>()
    );
}

#[test]
fn names_leave_out_what_changes() {
    let mut root = root();
    root.run(|_| {
        Destination::new("rabbitmq", "amq.gen-1")
            .anonymous()
            .process(&[])
            .start()
            .end();
        Destination::new("mqtt", "/customers/7")
            .template("/customers/{id}")
            .process(&[])
            .start()
            .end();
        Destination::new("rabbitmq", "t-1")
            .temporary()
            .settle("ack", &[])
            .start()
            .end();
    });
    let spans = trace_of(root);
    assert_eq!(
        text(named(&spans, "process"), "messaging.destination.anonymous").as_deref(),
        Some("true")
    );
    let customer = named(&spans, "process /customers/{id}");
    assert_eq!(
        text(customer, "messaging.destination.name").as_deref(),
        Some("/customers/7")
    );
    assert_eq!(
        text(named(&spans, "ack"), "messaging.destination.temporary").as_deref(),
        Some("true")
    );
}

#[test]
fn the_state_of_the_trace_and_the_allowed_baggage_travel() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let fields = [
        ("traceparent", parent),
        ("tracestate", "rojo=1"),
        ("baggage", "tenant=7,card=4111"),
    ];
    let incoming = Context::extract(&fields);
    let mut root = root();
    let mut headers = MessageFields::new();
    let mut server: spanlet_std::Span = spanlet_std::span("server").parent(&incoming).start();
    server.run(|_| {
        let span = orders()
            .send()
            .carrying(&incoming, &["tenant"])
            .inject_into(&mut headers)
            .unwrap();
        assert_eq!(
            span.context().trace_id(),
            incoming.span_context().unwrap().trace_id()
        );
    });
    root.end();
    assert_eq!(headers.get("baggage"), Some("tenant=7"));
    assert_eq!(headers.get("tracestate"), Some("rojo=1"));
    // The link has it too.
    let message = Context::extract(&headers);
    let mut process = orders().process(core::slice::from_ref(&message)).start();
    process.end();
    let spans = trace(&process.context().trace_id().to_bytes());
    assert_eq!(spans[0].links[0].trace_state, "rojo=1");
}
