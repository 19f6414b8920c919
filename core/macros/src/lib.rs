//! `#[instrument]` for spanlet.
#![forbid(unsafe_code)]

mod instrument;

use proc_macro::TokenStream;

/// Runs a function, or the future of an `async fn`, in a span of its name.
///
/// The span is current while the body runs, so spans started inside are its children. The arguments
/// become attributes unless skipped: those of the types that attributes have as they are, by `Into`.
///
/// Options, in any order:
///
/// - `name = "…"`: the span's name, instead of the function's
/// - `kind = Client`: its kind
/// - `level = Debug`: its level, `Info` unless told
/// - `parent = expr`: a parent other than the current context
/// - `skip(a, b)`, `skip_all`: arguments that are not recorded; `self` never is
/// - `fields("key" = expr, key = expr)`: more attributes, evaluated before the body
/// - `err`: an `Err` that the function returns is recorded as [`Span::record_error`] does
/// - `span = name`: the body can use the span, as a `&mut GlobalSpan` of this name
///
/// [`Span::record_error`]: https://docs.rs/spanlet/latest/spanlet/struct.Span.html#method.record_error
#[proc_macro_attribute]
pub fn instrument(options: TokenStream, function: TokenStream) -> TokenStream {
    instrument::expand(options.into(), function.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
