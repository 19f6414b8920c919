//! The ids as key-values of the `log` crate's records.

use super::IdNames;
use super::ids::Id;
use crate::recorder::Local;
use log::kv::{Error, Key, Source, Value, VisitSource};
use log::{Log, Metadata, Record};
use spanlet::Recorder;

/// A logger that adds the ids of the thread's current span to each record, as key-values, and hands it on to another.
///
/// ```
/// use log::{Log, Metadata, Record};
/// use spanlet_std::logs::TracedLogger;
/// # struct YourLogger;
/// # impl Log for YourLogger {
/// #     fn enabled(&self, _: &Metadata<'_>) -> bool { true }
/// #     fn log(&self, record: &Record<'_>) { assert_eq!(record.key_values().count(), 0) }
/// #     fn flush(&self) {}
/// # }
///
/// let logger = TracedLogger::new(YourLogger);
/// log::set_boxed_logger(Box::new(logger))?;
/// log::set_max_level(log::LevelFilter::Info);
/// log::info!("outside of all spans: no ids");
/// # Ok::<(), log::SetLoggerError>(())
/// ```
///
/// The logger inside must show key-values: `env_logger` does with its feature `kv`, most JSON loggers do. Costs a look
/// at the thread's current context; nothing is allocated.
#[derive(Clone, Debug)]
pub struct TracedLogger<L> {
    inner: L,
    names: IdNames,
}

impl<L> TracedLogger<L> {
    /// In front of `inner`, with OpenTelemetry's [names](IdNames::OTEL).
    pub fn new(inner: L) -> Self {
        TracedLogger {
            inner,
            names: IdNames::OTEL,
        }
    }
    /// Sets what the ids are called.
    #[must_use]
    pub fn with_id_names(mut self, names: IdNames) -> Self {
        self.names = names;
        self
    }
}

impl<L: Log> Log for TracedLogger<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }
    fn log(&self, record: &Record<'_>) {
        let Some(context) = Local.current().filter(|context| context.is_valid()) else {
            return self.inner.log(record);
        };
        let mut ids = Ids {
            inner: record.key_values(),
            pairs: [None; 3],
        };
        let mut at = 0;
        let collected = self.names.each(&context, |name, id| {
            if let Some(pair) = ids.pairs.get_mut(at) {
                *pair = Some((name, id));
            }
            at += 1;
            Ok::<_, core::convert::Infallible>(())
        });
        let Ok(()) = collected;
        self.inner
            .log(&record.to_builder().key_values(&ids).build());
    }
    fn flush(&self) {
        self.inner.flush();
    }
}

/// A record's own key-values, and the ids behind them.
struct Ids<'r> {
    inner: &'r dyn Source,
    pairs: [Option<(&'static str, Id)>; 3],
}

impl Source for Ids<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        self.inner.visit(visitor)?;
        for (name, id) in self.pairs.iter().flatten() {
            visitor.visit_pair(Key::from_str(name), Value::from_display(id))?;
        }
        Ok(())
    }
    fn get(&self, key: Key<'_>) -> Option<Value<'_>> {
        let mut pairs = self.pairs.iter().flatten();
        match pairs.find(|(name, _)| *name == key.as_str()) {
            Some((_, id)) => Some(Value::from_display(id)),
            None => self.inner.get(key),
        }
    }
    fn count(&self) -> usize {
        self.inner.count() + self.pairs.iter().flatten().count()
    }
}
