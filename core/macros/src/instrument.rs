//! The expansion of `#[instrument]`: options, then the body wrapped.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, FnArg, Ident, ItemFn, LitStr, Pat, Token, parenthesized};

/// `key = value` in `fields(…)`.
struct Field {
    key: TokenStream,
    value: Expr,
}

impl Parse for Field {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = if input.peek(LitStr) {
            input.parse::<LitStr>()?.into_token_stream()
        } else {
            input.parse::<Ident>()?.into_token_stream()
        };
        input.parse::<Token![=]>()?;
        Ok(Field {
            key,
            value: input.parse()?,
        })
    }
}

#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    kind: Option<Ident>,
    level: Option<Ident>,
    parent: Option<Expr>,
    skip: Vec<Ident>,
    skip_all: bool,
    fields: Vec<Field>,
    err: bool,
    span: Option<Ident>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Options::default();
        while !input.is_empty() {
            let option: Ident = input.parse()?;
            match option.to_string().as_str() {
                "name" => options.name = Some(value(input)?),
                "kind" => options.kind = Some(value(input)?),
                "level" => options.level = Some(value(input)?),
                "parent" => options.parent = Some(value(input)?),
                "span" => options.span = Some(value(input)?),
                "err" => options.err = true,
                "skip_all" => options.skip_all = true,
                "skip" => options.skip.extend(list::<Ident>(input)?),
                "fields" => options.fields.extend(list::<Field>(input)?),
                other => {
                    return Err(syn::Error::new(
                        option.span(),
                        format!(
                            "unknown option `{other}`; there are name, kind, level, parent, skip, \
                             skip_all, fields, err, span"
                        ),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn value<T: Parse>(input: ParseStream<'_>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

fn list<T: Parse>(input: ParseStream<'_>) -> syn::Result<Punctuated<T, Token![,]>> {
    let inner;
    parenthesized!(inner in input);
    Punctuated::parse_terminated(&inner)
}

pub(crate) fn expand(options: TokenStream, function: TokenStream) -> syn::Result<TokenStream> {
    let options = Options::parse.parse2(options)?;
    let function: ItemFn = syn::parse2(function)?;
    if let Some(token) = &function.sig.constness {
        return Err(syn::Error::new_spanned(
            token,
            "a const fn cannot be instrumented: starting a span reads a clock",
        ));
    }
    let arguments = arguments(&function);
    // Hygienic: the function may have an argument, or use a static, of the same name.
    let [span, result] = ["span", "result"].map(|name| Ident::new(name, Span::mixed_site()));
    for skipped in &options.skip {
        if !arguments.contains(skipped) {
            return Err(syn::Error::new(
                skipped.span(),
                format!("there is no argument `{skipped}` to skip"),
            ));
        }
    }
    let start = start(&options, &function, &arguments);
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = &function;
    let output = match &sig.output {
        syn::ReturnType::Default => quote!(()),
        // Of `impl Trait`, wherever it stands in the type, there may be none in a `let`.
        syn::ReturnType::Type(_, ty) if has_impl(ty.to_token_stream()) => quote!(_),
        syn::ReturnType::Type(_, ty) => quote!(#ty),
    };
    let body = if sig.asyncness.is_some() {
        if let Some(name) = &options.span {
            return Err(syn::Error::new(
                name.span(),
                "`span =` needs a function that is not async: the future owns its span; use \
                 `Instrument::in_span` instead",
            ));
        }
        if options.err {
            // The span must still be open when the result is known: the future inside does not own it.
            quote! {
                let mut #span = #start;
                let #result: #output = ::spanlet::within(&mut #span, async move #block).await;
                if let ::core::result::Result::Err(error) = &#result {
                    #span.record_error(error);
                }
                #result
            }
        } else {
            quote! {
                ::spanlet::Instrument::in_span(async move #block, #start).await
            }
        }
    } else {
        let name = options
            .span
            .clone()
            .unwrap_or_else(|| Ident::new("_span", Span::mixed_site()));
        let failed = options.err.then(|| {
            quote! {
                if let ::core::result::Result::Err(error) = &#result {
                    #span.record_error(error);
                }
            }
        });
        quote! {
            let mut #span = #start;
            #[allow(clippy::redundant_closure_call, reason = "`return` and `?` end the body, not the span")]
            let #result: #output = #span.run(move |#name| #block);
            #failed
            #result
        }
    };
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            #body
        }
    })
}

/// Whether `impl` occurs in a type.
fn has_impl(ty: TokenStream) -> bool {
    ty.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "impl",
        TokenTree::Group(group) => has_impl(group.stream()),
        _ => false,
    })
}

/// The arguments that have a name, without `self`.
fn arguments(function: &ItemFn) -> Vec<Ident> {
    let names = function
        .sig
        .inputs
        .iter()
        .filter_map(|argument| match argument {
            FnArg::Typed(argument) => match &*argument.pat {
                Pat::Ident(name) => Some(name.ident.clone()),
                _ => None,
            },
            FnArg::Receiver(_) => None,
        });
    names.collect()
}

fn start(options: &Options, function: &ItemFn, arguments: &[Ident]) -> TokenStream {
    let span = Ident::new("span", Span::mixed_site());
    let name = match &options.name {
        Some(name) => name.clone(),
        None => LitStr::new(&function.sig.ident.to_string(), function.sig.ident.span()),
    };
    let parent = options.parent.as_ref().map(|p| quote!(parent: #p,));
    let kind = options.kind.as_ref().map(|k| quote!(kind: #k,));
    let level = match &options.level {
        Some(level) => quote!(#level),
        None => quote!(Info),
    };
    let fields = options
        .fields
        .iter()
        .map(|Field { key, value }| quote!(, #key = #value));
    let recorded = arguments
        .iter()
        .filter(|name| !options.skip_all && !options.skip.contains(name))
        .map(|name| {
            let key = name.to_string();
            // Whatever attributes cannot hold is left out: by the method that the type finds first.
            quote! {
                {
                    #[allow(unused_imports, reason = "one of the two applies")]
                    use ::spanlet::__private::{AsValue as _, NoValue as _};
                    if let ::core::option::Option::Some(value) = (&&::spanlet::__private::Argument(&#name)).value() {
                        #span.set_attribute(#key, value);
                    }
                }
            }
        });
    quote! {{
        #[allow(unused_mut, reason = "without arguments")]
        let mut #span = ::spanlet::span!(#parent #kind level: #level, #name #(#fields)*);
        if #span.is_recording() {
            #(#recorded)*
        }
        #span
    }}
}
