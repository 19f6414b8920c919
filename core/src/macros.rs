//! `span!`.

/// Starts a span of the global tracer, or of a tracer of your own.
///
/// - `span!("name")`, `span!("name", "key" = value, other_key = value)`
/// - options before the name: `tracer: t`, `parent: &p`, `kind: Client`, `level: Debug`, `scope: &SCOPE`
///
/// A span of the global tracer carries the crate's name and version as its scope, and exists only where
/// the filter lets its module and [level](crate::filter::Level) (`Info` unless told) pass. One that the
/// *compiled* filter refuses leaves no code.
///
/// With `tracer:` the filter is not asked, and the kind of buffer comes from the type that the span is
/// given to. A span that the filter refuses hands its parent's context on.
///
/// ```
/// use spanlet::span;
/// let mut span = span!("load", "file.path" = "/etc/hosts", retries = 2);
/// span.set_attribute("bytes", 120);
/// // Without an installed tracer nothing was recorded:
/// assert!(!span.is_recording());
///
/// # let tracer: spanlet::testing::TestTracer = spanlet::testing::TestTracer::new();
/// # let tracer = &tracer;
/// use spanlet::{InlineBuf, Span, SpanKind};
/// let root: Span<_, InlineBuf<32>> = span!(tracer: tracer, kind: Server, "GET /");
/// let child: Span<_, InlineBuf<32>> = span!(tracer: tracer, parent: &root, kind: Client, "query", rows = 3);
/// # drop((child, root));
/// # tracer.with_spans(|s| {
/// #     let query = s.named("query").unwrap();
/// #     assert_eq!(query.kind(), SpanKind::Client);
/// #     assert_eq!(query.parent_id(), s.named("GET /").map(|r| r.span_id()));
/// #     assert!(query.attributes().any(|kv| kv.key == "rows"));
/// # });
/// ```
#[macro_export]
macro_rules! span {
    (@ [tracer: $tracer:expr $(, parent: $parent:expr)? $(, kind: $kind:ident)? $(, scope: $scope:expr)?]
        $name:expr $(, $key:tt = $value:expr)* $(,)?) => {{
        let builder = $crate::SpanBuilder::new($tracer, $name);
        $(let builder = builder.parent($parent);)?
        $(let builder = builder.kind($crate::SpanKind::$kind);)?
        $(let builder = builder.scope($scope);)?
        #[allow(unused_mut, reason = "without attributes")]
        let mut span = builder.start();
        $(span.set_attribute($crate::span!(@key $key), $value);)*
        span
    }};
    // What a span that the filter refuses hands on.
    (@parent) => { $crate::Recorder::current($crate::Global) };
    (@parent $parent:expr) => { $crate::ParentContext::span_context($parent) };
    (@key $key:literal) => { $key };
    (@key $key:ident) => { ::core::stringify!($key) };

    // An explicit tracer.
    (tracer: $tracer:expr $(, parent: $parent:expr)? $(, kind: $kind:ident)? $(, scope: $scope:expr)?,
        $name:literal $(, $key:tt = $value:expr)* $(,)?) => {
        $crate::span!(@ [tracer: $tracer $(, parent: $parent)? $(, kind: $kind)? $(, scope: $scope)?]
            $name $(, $key = $value)*)
    };
    // The global tracer, at a level.
    ($(parent: $parent:expr,)? $(kind: $kind:ident,)? level: $level:ident,
        $name:literal $(, $key:tt = $value:expr)* $(,)?) => {{
        static SCOPE: $crate::InstrumentationScope<'static> =
            $crate::InstrumentationScope::new(::core::env!("CARGO_PKG_NAME"))
                .with_version(::core::env!("CARGO_PKG_VERSION"));
        const COMPILED: bool = $crate::filter::COMPILED
            .allows(::core::module_path!(), $crate::filter::Level::$level);
        let span: $crate::GlobalSpan = if COMPILED && $crate::filter::passes($crate::filter::Level::$level) {
            $crate::span!(@ [tracer: $crate::Global $(, parent: $parent)? $(, kind: $kind)?, scope: &SCOPE]
                $name $(, $key = $value)*)
        } else {
            $crate::Span::off($crate::Global, $crate::span!(@parent $($parent)?))
        };
        span
    }};
    ($(parent: $parent:expr,)? $(kind: $kind:ident,)?
        $name:literal $(, $key:tt = $value:expr)* $(,)?) => {
        $crate::span!($(parent: $parent,)? $(kind: $kind,)? level: Info, $name $(, $key = $value)*)
    };
}
