//! Spans of producers and consumers of messages, linked through the message's own headers.
//!
//! Input: a [`Destination`], and each operation on it. Output: spans by the messaging conventions, and the context of
//! the message's creation in its headers. Bound: as many links as a span may have (128); the rest are counted in it.
//!
//! | operation | span | relation |
//! |---|---|---|
//! | [`send`](Destination::send) one message | PRODUCER | its context travels in the message |
//! | [`create`](Destination::create) each, then [`send_batch`](Destination::send_batch) | PRODUCER, CLIENT | the messages carry the contexts of their `create`; `send` links to them |
//! | [`receive`](Destination::receive), pulled | CLIENT | links to the creation of each message |
//! | [`process`](Destination::process) | CONSUMER | links to the creation of each; of a single message it may be the child |
//! | [`settle`](Destination::settle) | CLIENT | links |
//!
//! Links, because a consumer works for many messages at once, and long after their trace is over. Names are `{operation}
//! {destination}`.
//!
//! ```
//! use spanlet_std::messaging::Destination;
//! use spanlet_std::propagation::{Context, MessageFields};
//!
//! let orders = Destination::new("kafka", "orders").server("kafka.internal", 9092).consumer_group("billing");
//! // The producer:
//! let mut headers = MessageFields::new();
//! let span = orders.send().partition("3").inject_into(&mut headers)?;
//! // (sends it)
//! drop(span);
//!
//! // The consumer:
//! let batch = [Context::extract(&headers)];
//! let mut receive = orders.receive(&batch).start();
//! receive.run(|_| {
//!     for message in &batch {
//!         let mut process = orders.process(core::slice::from_ref(message)).start();
//!         // (does its work, as a child of `receive`, with a link to the producer's span)
//!         process.end();
//!     }
//!     orders.settle("commit", &batch).start().end();
//! });
//! # Ok::<(), core::convert::Infallible>(())
//! ```

mod operation;

pub use operation::Operation;

use crate::propagation::Context;
use std::sync::Arc;

/// What an operation does: `messaging.operation.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OperationType {
    Create,
    Send,
    Receive,
    Process,
    Settle,
}

impl OperationType {
    const fn as_str(self) -> &'static str {
        match self {
            OperationType::Create => "create",
            OperationType::Send => "send",
            OperationType::Receive => "receive",
            OperationType::Process => "process",
            OperationType::Settle => "settle",
        }
    }
}

/// Where messages go to or come from: what is the same for every operation. A pointer; clones are cheap.
///
/// ```
/// use spanlet_std::messaging::Destination;
/// let replies = Destination::new("rabbitmq", "amq.gen-JzTY20BRgKO").anonymous();
/// // Its name differs from run to run, so the span's name goes without it: `process`.
/// let span = replies.process(&[]).start();
/// # drop(span);
/// ```
#[derive(Clone, Debug)]
pub struct Destination(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    system: &'static str,
    name: String,
    template: Option<String>,
    is_anonymous: bool,
    is_temporary: bool,
    address: Option<String>,
    port: u16,
    client_id: Option<String>,
    consumer_group: Option<String>,
    subscription: Option<String>,
}

impl Destination {
    /// A queue or topic of a system: `kafka`, `rabbitmq`, `mqtt`, `nats`, `aws_sqs`, …
    pub fn new(system: &'static str, name: &str) -> Self {
        Destination(Arc::new(Inner {
            system,
            name: name.to_owned(),
            template: None,
            is_anonymous: false,
            is_temporary: false,
            address: None,
            port: 0,
            client_id: None,
            consumer_group: None,
            subscription: None,
        }))
    }
    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
    /// Sets `messaging.destination.template`, for a name with changing parts: `/customers/{id}`. It names the spans.
    #[must_use]
    pub fn template(self, template: &str) -> Self {
        self.with(|inner| inner.template = Some(template.to_owned()))
    }
    /// Its name was made up by the system: it names no span.
    #[must_use]
    pub fn anonymous(self) -> Self {
        self.with(|inner| inner.is_anonymous = true)
    }
    /// It is gone with its user: its name names no span.
    #[must_use]
    pub fn temporary(self) -> Self {
        self.with(|inner| inner.is_temporary = true)
    }
    /// Sets `server.address` and `server.port` of the broker. Port 0 is none.
    #[must_use]
    pub fn server(self, address: &str, port: u16) -> Self {
        self.with(|inner| {
            inner.address = Some(address.to_owned());
            inner.port = port;
        })
    }
    /// Sets `messaging.client.id`.
    #[must_use]
    pub fn client_id(self, id: &str) -> Self {
        self.with(|inner| inner.client_id = Some(id.to_owned()))
    }
    /// Sets `messaging.consumer.group.name`, which goes with what is received, processed and settled.
    #[must_use]
    pub fn consumer_group(self, name: &str) -> Self {
        self.with(|inner| inner.consumer_group = Some(name.to_owned()))
    }
    /// Sets `messaging.destination.subscription.name`, which goes with what is received, processed and settled.
    #[must_use]
    pub fn subscription(self, name: &str) -> Self {
        self.with(|inner| inner.subscription = Some(name.to_owned()))
    }

    /// Sends one message, whose creation this is: start it with [`Operation::inject_into`].
    pub fn send(&self) -> Operation<'_> {
        Operation::new(self, OperationType::Send, &[])
    }
    /// Makes a message that will be sent with others: start it with [`Operation::inject_into`], end it, send later.
    pub fn create(&self) -> Operation<'_> {
        Operation::new(self, OperationType::Create, &[])
    }
    /// Sends messages of which each has the context of its creation. A CLIENT span that links to those.
    pub fn send_batch<'a>(&'a self, created: &'a [Context]) -> Operation<'a> {
        Operation::new(self, OperationType::Send, created).batch()
    }
    /// Receives messages: what was extracted from each.
    ///
    /// The messages are known only when they are there: start the span then, with
    /// [`start_time`](Operation::start_time) of before, or start it before and
    /// [`link`](spanlet::Span::add_link) later.
    pub fn receive<'a>(&'a self, messages: &'a [Context]) -> Operation<'a> {
        Operation::new(self, OperationType::Receive, messages).batch()
    }
    /// Processes messages: one, or a batch at once.
    pub fn process<'a>(&'a self, messages: &'a [Context]) -> Operation<'a> {
        Operation::new(self, OperationType::Process, messages)
    }
    /// Settles messages: `operation` is the system's name for what is done, `ack`, `nack`, `commit`.
    pub fn settle<'a>(&'a self, operation: &'a str, messages: &'a [Context]) -> Operation<'a> {
        Operation::new(self, OperationType::Settle, messages).name(operation)
    }
}
