//! One operation on messages: what is told of it before its span starts.
//!
//! Input: setters, and the contexts of the messages. Output: a span, and the message's headers. Bound: attributes in an
//! array on the stack.

use super::{Destination, OperationType};
use crate::db::Text;
use crate::propagation::Context;
use crate::recorder::{Span, span};
use spanlet::context::CarrierMut;
use spanlet::{KeyValue, ParentContext, SpanContext, SpanKind, Ticks, Value};

/// More attributes than an operation can have.
const ATTRIBUTES: usize = 24;

/// An operation about to be started; made by [`Destination`].
///
/// ```
/// use spanlet_std::messaging::Destination;
/// use spanlet_std::propagation::Context;
/// let orders = Destination::new("kafka", "orders");
/// # let context = Context::new();
/// let mut span = orders
///     .process(&[context])
///     .partition("3")
///     .kafka_offset(42)
///     .continue_trace()
///     .start();
/// // (processes it)
/// span.set_attribute("error.type", "bad_order").set_error("no items");
/// ```
#[derive(Clone, Copy)]
#[must_use = "an operation has no span until `start` or `inject_into`"]
pub struct Operation<'a> {
    destination: &'a Destination,
    kind: OperationType,
    name: &'a str,
    messages: &'a [Context],
    /// Whether a count of messages is told, even of one: the interface takes several.
    is_batch: bool,
    continues: bool,
    parent: Option<&'a SpanContext>,
    start: Option<Ticks>,
    carried: Option<(&'a Context, &'a [&'a str])>,
    id: Option<&'a str>,
    conversation_id: Option<&'a str>,
    partition: Option<&'a str>,
    offset: Option<i64>,
    key: Option<&'a str>,
    routing_key: Option<&'a str>,
    body_size: Option<usize>,
}

impl<'a> Operation<'a> {
    pub(super) fn new(
        destination: &'a Destination,
        kind: OperationType,
        messages: &'a [Context],
    ) -> Self {
        Operation {
            destination,
            kind,
            name: kind.as_str(),
            messages,
            is_batch: messages.len() > 1,
            continues: false,
            parent: None,
            start: None,
            carried: None,
            id: None,
            conversation_id: None,
            partition: None,
            offset: None,
            key: None,
            routing_key: None,
            body_size: None,
        }
    }
    pub(super) fn batch(mut self) -> Self {
        self.is_batch = true;
        self
    }
    /// Sets `messaging.operation.name`: the system's own word, `publish`, `poll`, `ack`.
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }
    /// Sets `messaging.message.id`. For a single message, as are the others below.
    pub fn message_id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }
    /// Sets `messaging.message.conversation_id`: what answers are known by.
    pub fn conversation_id(mut self, id: &'a str) -> Self {
        self.conversation_id = Some(id);
        self
    }
    /// Sets `messaging.destination.partition.id`.
    pub fn partition(mut self, id: &'a str) -> Self {
        self.partition = Some(id);
        self
    }
    /// Sets `messaging.kafka.offset`.
    pub fn kafka_offset(mut self, offset: i64) -> Self {
        self.offset = Some(offset);
        self
    }
    /// Sets `messaging.kafka.message.key`.
    pub fn kafka_key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }
    /// Sets `messaging.rabbitmq.destination.routing_key`.
    pub fn rabbitmq_routing_key(mut self, key: &'a str) -> Self {
        self.routing_key = Some(key);
        self
    }
    /// Sets `messaging.message.body.size`, in bytes.
    pub fn body_size(mut self, bytes: usize) -> Self {
        self.body_size = Some(bytes);
        self
    }
    /// Makes the span a child of this one, instead of the current one.
    pub fn parent(mut self, parent: &'a SpanContext) -> Self {
        self.parent = Some(parent);
        self
    }
    /// Makes the span a child of the message's creation, in whose trace it then is. Only of a single message: with
    /// several, or none, this changes nothing. The link is there all the same.
    ///
    /// SPEC: "the message creation context MAY be set as a parent of the Process span".
    pub fn continue_trace(mut self) -> Self {
        self.continues = true;
        self
    }
    /// Sets the start time, instead of the moment of the start: of before the wait for messages.
    pub fn start_time(mut self, at: Ticks) -> Self {
        self.start = Some(at);
        self
    }
    /// Sends the baggage of this context with the message: the members whose keys are in `allowed`.
    pub fn carrying(mut self, context: &'a Context, allowed: &'a [&'a str]) -> Self {
        self.carried = Some((context, allowed));
        self
    }

    /// Starts the span, and sets its context in the message's headers: the message is created in it.
    ///
    /// # Errors
    /// The carrier's; then there is no span, and the message goes without a context.
    pub fn inject_into<C: CarrierMut + ?Sized>(self, headers: &mut C) -> Result<Span, C::Error> {
        let span = self.start();
        match self.carried {
            Some((context, allowed)) => context.inject(&span, allowed, headers)?,
            None => Context::new().inject(&span, &[], headers)?,
        }
        Ok(span)
    }

    /// Starts the span, with a link to the creation of each message that has one.
    pub fn start(self) -> Span {
        let mut attributes = [KeyValue::new("", 0); ATTRIBUTES];
        let count = self.attributes(&mut attributes);
        let builder = span(self.kind.as_str())
            .kind(self.span_kind())
            .attributes(attributes.get(..count).unwrap_or_default());
        let builder = match self.start {
            Some(at) => builder.start_time(at),
            None => builder,
        };
        let mut span: Span = match (self.messages, self.parent) {
            ([message], _) if self.continues && message.span_context().is_some() => {
                builder.parent(message).start()
            }
            (_, Some(parent)) => builder.parent(parent).start(),
            (_, None) => builder.start(),
        };
        if span.is_recording() {
            self.set_name(&mut span);
            for message in self.messages {
                if let Some(context) = message.span_context() {
                    span.add_link_with_state(&context, message.trace_state(), &[]);
                }
            }
        }
        span
    }

    /// SPEC: messaging spans, "Span kind".
    fn span_kind(&self) -> SpanKind {
        match self.kind {
            OperationType::Create => SpanKind::Producer,
            // Whose context the messages carry.
            OperationType::Send if !self.is_batch => SpanKind::Producer,
            OperationType::Process => SpanKind::Consumer,
            OperationType::Send | OperationType::Receive | OperationType::Settle => {
                SpanKind::Client
            }
        }
    }

    /// SPEC: messaging spans, "Span name".
    fn set_name(&self, span: &mut Span) {
        let inner = &*self.destination.0;
        let target = match &inner.template {
            Some(template) => template,
            None if inner.is_anonymous || inner.is_temporary => "",
            None => &inner.name,
        };
        let mut name = Text::<255>::new();
        let space = if target.is_empty() { "" } else { " " };
        if !name.push(&[self.name, space, target]) {
            name.push(&[self.name]);
        }
        span.update_name(name.as_str());
    }

    /// How many there are.
    fn attributes(&self, into: &mut [KeyValue<'a>; ATTRIBUTES]) -> usize {
        let inner = &*self.destination.0;
        let consumes = !matches!(self.kind, OperationType::Create | OperationType::Send);
        let text = |value: &'a Option<String>| value.as_deref().map(Value::from);
        let size = |size: usize| Value::I64(i64::try_from(size).unwrap_or(i64::MAX));
        let all = [
            ("messaging.system", Some(Value::Static(inner.system))),
            ("messaging.operation.name", Some(Value::from(self.name))),
            (
                "messaging.operation.type",
                Some(Value::Static(self.kind.as_str())),
            ),
            (
                "messaging.destination.name",
                Some(Value::from(inner.name.as_str())),
            ),
            ("messaging.destination.template", text(&inner.template)),
            (
                "messaging.destination.anonymous",
                inner.is_anonymous.then_some(Value::Bool(true)),
            ),
            (
                "messaging.destination.temporary",
                inner.is_temporary.then_some(Value::Bool(true)),
            ),
            (
                "messaging.destination.partition.id",
                self.partition.map(Value::from),
            ),
            (
                "messaging.batch.message_count",
                self.is_batch.then(|| size(self.messages.len())),
            ),
            ("messaging.client.id", text(&inner.client_id)),
            (
                "messaging.consumer.group.name",
                text(&inner.consumer_group).filter(|_| consumes),
            ),
            (
                "messaging.destination.subscription.name",
                text(&inner.subscription).filter(|_| consumes),
            ),
            ("messaging.message.id", self.id.map(Value::from)),
            (
                "messaging.message.conversation_id",
                self.conversation_id.map(Value::from),
            ),
            ("messaging.message.body.size", self.body_size.map(size)),
            ("messaging.kafka.offset", self.offset.map(Value::from)),
            ("messaging.kafka.message.key", self.key.map(Value::from)),
            (
                "messaging.rabbitmq.destination.routing_key",
                self.routing_key.map(Value::from),
            ),
            ("server.address", text(&inner.address)),
            (
                "server.port",
                (inner.port != 0).then(|| Value::from(inner.port)),
            ),
        ];
        let set = all
            .into_iter()
            .filter_map(|(key, value)| Some(KeyValue::new(key, value?)));
        let mut count = 0;
        for (to, attribute) in into.iter_mut().zip(set) {
            *to = attribute;
            count += 1;
        }
        count
    }
}
