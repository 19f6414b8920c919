//! Carriers of what is no request of HTTP: headers of messages, tables, the environment of a process.
//!
//! Input and output: fields as other libraries keep them, read and written where they are. Bound: the library's own;
//! nothing is copied but what is set, and of the environment the variables that carry context.
//!
//! | kept as | read with | written with |
//! |---|---|---|
//! | `Vec<(String, String)>`: user properties of MQTT 5, messages of our own | the slice | [`PairsMut`], [`MessageFields`](super::MessageFields) |
//! | `Vec<(String, Option<Vec<u8>>)>`: headers of Kafka | [`NullablePairs`] | [`NullablePairsMut`] |
//! | a map of text | [`MapFields`] | [`MapFieldsMut`] |
//! | a library's own type (rdkafka's headers, AMQP's tables) | [`ReadWith`] | [`WriteWith`] |
//! | the environment | [`Environment`] | [`CommandEnvironment`] |

use core::marker::PhantomData;
use spanlet::context::{Carrier, CarrierMut};
use std::collections::{BTreeMap, HashMap};
use std::process::Command;

/// A list of pairs to write. To read one, its slice is a carrier.
///
/// ```
/// use spanlet::context::{Carrier, CarrierMut};
/// use spanlet_std::propagation::PairsMut;
/// let mut user_properties = vec![("TraceState".to_string(), "a=1".to_string())]; // of MQTT 5
/// PairsMut(&mut user_properties).set("tracestate", "b=2")?;
/// assert!(user_properties.as_slice().values("tracestate").eq([b"b=2"]));
/// # Ok::<(), core::convert::Infallible>(())
/// ```
#[derive(Debug)]
pub struct PairsMut<'m, N, V>(pub &'m mut Vec<(N, V)>);

impl<N, V> CarrierMut for PairsMut<'_, N, V>
where
    N: AsRef<str> + From<&'static str>,
    V: for<'v> From<&'v str>,
{
    type Error = core::convert::Infallible;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), Self::Error> {
        self.0
            .retain(|(old, _)| !old.as_ref().eq_ignore_ascii_case(name));
        self.0.push((name.into(), value.into()));
        Ok(())
    }
}

/// A list of names and values that may be null, as Kafka has it, to read. A null is no value.
///
/// ```
/// use spanlet::context::Carrier;
/// use spanlet_std::propagation::NullablePairs;
/// let headers = [("baggage", None), ("baggage", Some(b"a=1".as_slice()))];
/// assert!(NullablePairs(&headers).values("baggage").eq([b"a=1"]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NullablePairs<'m, N, V>(pub &'m [(N, Option<V>)]);

impl<N: AsRef<str>, V: AsRef<[u8]>> Carrier for NullablePairs<'_, N, V> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |(n, _)| n.as_ref().eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| Some(value.as_ref()?.as_ref()))
    }
}

/// A list of names and values that may be null, to write.
///
/// ```
/// use spanlet::context::CarrierMut;
/// use spanlet_std::propagation::NullablePairsMut;
/// let mut headers: Vec<(String, Option<Vec<u8>>)> = vec![("tracestate".into(), None)];
/// NullablePairsMut(&mut headers).set("tracestate", "a=1")?;
/// assert_eq!(headers, [("tracestate".into(), Some(b"a=1".to_vec()))]);
/// # Ok::<(), core::convert::Infallible>(())
/// ```
#[derive(Debug)]
pub struct NullablePairsMut<'m, N, V>(pub &'m mut Vec<(N, Option<V>)>);

impl<N, V> CarrierMut for NullablePairsMut<'_, N, V>
where
    N: AsRef<str> + From<&'static str>,
    V: for<'v> From<&'v str>,
{
    type Error = core::convert::Infallible;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), Self::Error> {
        self.0
            .retain(|(old, _)| !old.as_ref().eq_ignore_ascii_case(name));
        self.0.push((name.into(), Some(value.into())));
        Ok(())
    }
}

/// A map of names to text or bytes, to read.
///
/// ```
/// use spanlet::context::Carrier;
/// use spanlet_std::propagation::MapFields;
/// let map = std::collections::HashMap::from([("Baggage".to_string(), "a=1".to_string())]);
/// assert!(MapFields(&map).values("baggage").eq([b"a=1"]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MapFields<'m, M>(pub &'m M);

/// A map of names to text or bytes, to write.
///
/// ```
/// use spanlet::context::CarrierMut;
/// use spanlet_std::propagation::MapFieldsMut;
/// let mut map = std::collections::BTreeMap::<String, Vec<u8>>::new();
/// MapFieldsMut(&mut map).set("tracestate", "a=1")?;
/// assert_eq!(map["tracestate"], b"a=1");
/// # Ok::<(), core::convert::Infallible>(())
/// ```
#[derive(Debug)]
pub struct MapFieldsMut<'m, M>(pub &'m mut M);

macro_rules! map {
    ($($map:ident [$($bound:tt)*] [$($rest:ident: $of_rest:path)*];)*) => {$(
        impl<N: AsRef<str>, V: AsRef<[u8]>, $($rest)*> Carrier for MapFields<'_, $map<N, V, $($rest)*>> {
            fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
                self.0
                    .iter()
                    .filter(move |(n, _)| n.as_ref().eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.as_ref())
            }
        }
        impl<N, V, $($rest: $of_rest)*> CarrierMut for MapFieldsMut<'_, $map<N, V, $($rest)*>>
        where
            N: AsRef<str> + From<&'static str> + $($bound)*,
            V: for<'v> From<&'v str>,
        {
            type Error = core::convert::Infallible;

            fn set(&mut self, name: &'static str, value: &str) -> Result<(), Self::Error> {
                self.0.retain(|old, _| !old.as_ref().eq_ignore_ascii_case(name));
                self.0.insert(name.into(), value.into());
                Ok(())
            }
        }
    )*};
}
map! {
    BTreeMap [Ord] [];
    HashMap [Eq + core::hash::Hash] [S: core::hash::BuildHasher];
}

/// Fields of any type, read by a function that goes through them.
///
/// ```
/// use spanlet_std::propagation::{Context, ReadWith};
/// // AMQP: a table of short names and values of many types.
/// enum AmqpValue { LongString(Vec<u8>), Timestamp(u64) }
/// let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let table = std::collections::BTreeMap::from([
///     ("sent", AmqpValue::Timestamp(7)),
///     ("traceparent", AmqpValue::LongString(parent.to_vec())),
/// ]);
/// let fields = ReadWith::new(|| table.iter().filter_map(|(name, value)| match value {
///     AmqpValue::LongString(text) => Some((*name, text.as_slice())),
///     AmqpValue::Timestamp(_) => None,
/// }));
/// assert!(Context::extract(&fields).fault().is_none());
/// // With rdkafka: ReadWith::new(|| headers.iter().filter_map(|h| Some((h.key, h.value?))))
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReadWith<'m, F>(F, PhantomData<&'m [u8]>);

impl<'m, F, I> ReadWith<'m, F>
where
    F: Fn() -> I,
    I: Iterator<Item = (&'m str, &'m [u8])>,
{
    /// Of a function that returns an iterator over names and values, all of them, in order.
    pub fn new(fields: F) -> Self {
        ReadWith(fields, PhantomData)
    }
}

impl<'m, F, I> Carrier for ReadWith<'m, F>
where
    F: Fn() -> I,
    I: Iterator<Item = (&'m str, &'m [u8])>,
{
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        (self.0)()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// Fields of any type, written by a function that sets one, in place of all that it had.
///
/// ```
/// use spanlet_std::propagation::{Context, WriteWith};
/// # let span: spanlet_std::Span = spanlet_std::span("send orders").start();
/// # struct Table(Vec<(String, String)>);
/// # impl Table { fn insert(&mut self, n: &str, v: &str) -> Result<(), std::fmt::Error> { self.0.push((n.into(), v.into())); Ok(()) } }
/// # let mut table = Table(vec![]);
/// let mut fields = WriteWith(|name: &'static str, value: &str| table.insert(name, value));
/// Context::new().inject(&span, &[], &mut fields)?;
/// # Ok::<(), std::fmt::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WriteWith<F>(pub F);

impl<E, F: FnMut(&'static str, &str) -> Result<(), E>> CarrierMut for WriteWith<F> {
    type Error = E;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), E> {
        (self.0)(name, value)
    }
}

/// Variables that carry context, of every format that there is a propagator for.
const VARIABLES: [&str; 9] = [
    "TRACEPARENT",
    "TRACESTATE",
    "BAGGAGE",
    "B3",
    "X_B3_TRACEID",
    "X_B3_SPANID",
    "X_B3_PARENTSPANID",
    "X_B3_SAMPLED",
    "X_B3_FLAGS",
];

/// Whether a variable is the one of a field: in capitals, and `_` for what may not stand in a variable's name.
///
/// SPEC: OpenTelemetry, "Environment Variables as Context Propagation Carriers", key names.
fn is_variable_of(variable: &str, field: &str) -> bool {
    let capital = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte.to_ascii_uppercase()
        } else {
            b'_'
        }
    };
    variable.len() == field.len() && variable.bytes().eq(field.bytes().map(capital))
}

/// The environment of a process, to read: what a batch job or a command was started with.
///
/// ```
/// use spanlet_std::propagation::{Context, Environment};
/// // At the start of `main`; without a TRACEPARENT the span is a root.
/// let context = Context::extract(&Environment::of_process());
/// let mut job: spanlet_std::Span = spanlet_std::span("nightly report").parent(&context).start();
/// # job.end();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Of this process, as it is now. A value that is no Unicode is left out.
    pub fn of_process() -> Self {
        let variable = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        Environment(VARIABLES.into_iter().filter_map(variable).collect())
    }
}

/// Of variables from elsewhere: of a container, of a file.
impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Environment(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl Carrier for Environment {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |(variable, _)| is_variable_of(variable, name))
            .map(|(_, value)| value.as_bytes())
    }
}

/// The environment of a command that is about to be started, to write.
///
/// ```no_run
/// use spanlet_std::propagation::{CommandEnvironment, Context};
/// let mut span: spanlet_std::Span = spanlet_std::span("run report").start();
/// let mut command = std::process::Command::new("report");
/// Context::new().inject(&span, &[], &mut CommandEnvironment::new(&mut command))?;
/// let status = span.run(|_| command.status());
/// # Ok::<(), core::convert::Infallible>(())
/// ```
#[derive(Debug)]
pub struct CommandEnvironment<'c>(&'c mut Command);

impl<'c> CommandEnvironment<'c> {
    /// Of this command. What of this process's own environment carries context it does not inherit: a `TRACESTATE`
    /// of another span would go with the new `TRACEPARENT`.
    pub fn new(command: &'c mut Command) -> Self {
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        CommandEnvironment(command)
    }
}

impl CarrierMut for CommandEnvironment<'_> {
    /// None: a field that no propagator of ours sets is left out.
    type Error = core::convert::Infallible;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), Self::Error> {
        if let Some(variable) = VARIABLES
            .into_iter()
            .find(|variable| is_variable_of(variable, name))
        {
            self.0.env(variable, value);
        }
        Ok(())
    }
}
