//! A case: an operation of somebody's, in a row of the table, with what it has to reach.

use crate::meter::Meter;

/// An operation that everybody is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// In JSON, and to choose rows by on the command line.
    pub(crate) id: &'static str,
    /// In the table.
    pub(crate) title: &'static str,
}

macro_rules! rows {
    ($($name:ident $id:literal $title:literal;)*) => {
        $(pub(crate) const $name: Row = Row { id: $id, title: $title };)*
        /// In the order of the table.
        pub(crate) const ROWS: &[Row] = &[$($name),*];
    };
}

rows! {
    CHILD "child" "child span, no attributes";
    CHILD_STD_CLOCK "child-instant" "child span, std's clock";
    CHILD_NO_CLOCK "child-no-clock" "child span, no clock";
    ROOT "root" "root span";
    FOUR "four" "span + 4 attributes";
    FOUR_STD_CLOCK "four-instant" "span + 4 attributes, std's clock";
    FOUR_NO_CLOCK "four-no-clock" "span + 4 attributes, no clock";
    FOUR_FAR "four-far" "span + 4 attributes, drained on the other core";
    TRACE "trace" "trace: root + 10 children × (2 attributes + 1 event)";
    UNSAMPLED "unsampled" "unsampled span";
    UNSAMPLED_FOUR "unsampled-four" "unsampled span + 4 attributes";
    NO_TRACER "no-tracer" "a library's span, no tracer installed";
    TWO_THREADS "two-threads" "2 threads, span + 4 attributes each";
    PARSE "parse" "traceparent parse";
    ENCODE "encode" "traceparent encode";
    OTLP "otlp" "OTLP protobuf, a span with 4 attributes";
    OTLP_JSON "otlp-json" "OTLP/JSON, a span with 4 attributes";
}

/// The floor's name: what other cases of its row are compared with.
pub(crate) const FLOOR: &str = "floor";

/// What a case of ours must reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// At most this many times the floor of the same round.
    TimesFloor(f64),
    /// At most this many nanoseconds.
    Ns(f64),
    /// At most this many instructions.
    Instructions(f64),
    /// No allocation.
    NoAlloc,
}

/// An operation of somebody's.
pub(crate) struct Case {
    pub(crate) row: Row,
    /// Whose: [`FLOOR`], a form of spanlet's, a peer's.
    pub(crate) name: String,
    /// Operations in a chunk.
    pub(crate) ops: f64,
    pub(crate) targets: Vec<Target>,
    /// Whether callgrind can count it: it runs one thread at a time.
    pub(crate) is_countable: bool,
    /// Runs a chunk.
    pub(crate) run: Box<dyn FnMut(&mut Meter)>,
}

impl Case {
    pub(crate) fn new(
        row: Row,
        name: impl Into<String>,
        ops: usize,
        run: impl FnMut(&mut Meter) + 'static,
    ) -> Self {
        Case {
            row,
            name: name.into(),
            ops: ops as f64,
            targets: Vec::new(),
            is_countable: true,
            run: Box::new(run),
        }
    }
    pub(crate) fn must(mut self, targets: &[Target]) -> Self {
        self.targets = targets.to_vec();
        self
    }
    pub(crate) fn not_counted(mut self) -> Self {
        self.is_countable = false;
        self
    }
    pub(crate) fn is_floor(&self) -> bool {
        self.name == FLOOR
    }
    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("spanlet")
    }
}
