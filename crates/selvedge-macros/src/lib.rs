//! The attribute `#[model]` of `selvedge-model`, which re-exports it and
//! documents it.

mod select;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, ExprArray, Ident, ItemFn, LitInt, LitStr, Path, Token, parenthesized};

/// A test that is tried over schedules. Its keys are in the table "The
/// attribute" on the first page of `selvedge_model` (`selvedge::harness`).
///
/// The result of the body is `Debug + PartialEq + Send`.
#[proc_macro_attribute]
pub fn model(args: TokenStream, item: TokenStream) -> TokenStream {
    expanded(args, item, &syn::parse_quote!(::selvedge_model))
}

/// The same for those who depend on `selvedge`, which calls it `model`.
#[proc_macro_attribute]
pub fn model_of_selvedge(args: TokenStream, item: TokenStream) -> TokenStream {
    expanded(args, item, &syn::parse_quote!(::selvedge::harness))
}

/// tokio's `select!`, for each branch that may be polled first; see
/// `selvedge_model::select`. It begins with the harness's path in parentheses.
#[proc_macro]
pub fn select_any(input: TokenStream) -> TokenStream {
    select::expand(input.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// `root` is where the caller finds the harness, if it does not say.
fn expanded(args: TokenStream, item: TokenStream, root: &Path) -> TokenStream {
    let expand = || {
        let args = syn::parse::<Args>(args)?;
        let body = syn::parse::<ItemFn>(item)?;
        expand(&args, &body, root)
    };
    expand().unwrap_or_else(|error| error.to_compile_error()).into()
}

/// What the parentheses say.
#[derive(Default)]
struct Args {
    outcomes: Option<ExprArray>,
    weak: Option<ExprArray>,
    engines: Option<Vec<Ident>>,
    settings: Vec<Tokens>,
    root: Option<Path>,
}

const KEYS: &str = "expected outcomes = […], weak = […], reachable = [\"…\"], engines(…), \
                    time = any | ordered, executions = n, seconds = n, steps = n, \
                    preemptions = n, panics_are_values, closed, trust(…), open(…), or crate = path";

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut args = Self::default();
        while !input.is_empty() {
            args.one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if args.weak.is_some() && args.outcomes.is_none() {
            return Err(input.error("`weak` adds to `outcomes`, which is missing"));
        }
        Ok(args)
    }
}

impl Args {
    fn one(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            self.root = Some(input.call(Path::parse_mod_style)?);
            return Ok(());
        }
        let key: Ident = input.parse().map_err(|error| Error::new(error.span(), KEYS))?;
        let name = key.to_string();
        match name.as_str() {
            "engines" => {
                let list;
                parenthesized!(list in input);
                let list = Punctuated::<Ident, Token![,]>::parse_terminated(&list)?;
                for engine in &list {
                    if !["stress", "paused", "shuttle", "loom"].contains(&&*engine.to_string()) {
                        let what = "expected stress, paused, shuttle or loom";
                        return Err(Error::new(engine.span(), what));
                    }
                }
                self.engines = Some(list.into_iter().collect());
                return Ok(());
            }
            "trust" | "open" => {
                let list;
                parenthesized!(list in input);
                for block in Punctuated::<Ident, Token![,]>::parse_terminated(&list)? {
                    let block = block.to_string();
                    self.settings.push(quote!(.#key(#block)));
                }
                return Ok(());
            }
            "panics_are_values" | "closed" => {
                self.settings.push(quote!(.#key()));
                return Ok(());
            }
            "outcomes" | "weak" | "reachable" | "time" | "executions" | "seconds" | "steps"
            | "preemptions" => {}
            _ => return Err(Error::new(key.span(), KEYS)),
        }
        input.parse::<Token![=]>()?;
        match name.as_str() {
            "outcomes" => self.outcomes = Some(input.parse()?),
            "weak" => self.weak = Some(input.parse()?),
            "reachable" => {
                let list;
                syn::bracketed!(list in input);
                for line in Punctuated::<LitStr, Token![,]>::parse_terminated(&list)? {
                    self.settings.push(quote!(.reaches_line(#line)));
                }
            }
            "time" => {
                let time: Ident = input.parse()?;
                let time = match time.to_string().as_str() {
                    "any" => quote!(Any),
                    "ordered" => quote!(Ordered),
                    _ => return Err(Error::new(time.span(), "expected any or ordered")),
                };
                self.settings.push(quote!(.time(Time::#time)));
            }
            "seconds" => {
                let seconds: LitInt = input.parse()?;
                self.settings.push(quote!(.duration(::core::time::Duration::from_secs(#seconds))));
            }
            _ => {
                let number: LitInt = input.parse()?;
                self.settings.push(quote!(.#key(#number)));
            }
        }
        Ok(())
    }
}

fn expand(args: &Args, body: &ItemFn, root: &Path) -> syn::Result<Tokens> {
    if let Some(input) = body.sig.inputs.first() {
        let what = "a model takes no arguments: it makes what it needs, anew in every execution";
        return Err(Error::new_spanned(input, what));
    }
    if let Some(test) = body.attrs.iter().find(|attr| attr.path().is_ident("test")) {
        let what = "the model makes its own tests: leave #[test] out";
        return Err(Error::new_spanned(test, what));
    }
    if !body.sig.generics.params.is_empty() {
        return Err(Error::new_spanned(&body.sig.generics, "a model is not generic"));
    }
    let root = args.root.as_ref().unwrap_or(root);
    let name = &body.sig.ident;
    let asynchronous = body.sig.asyncness.is_some();
    let engines: Vec<Ident> = match &args.engines {
        Some(engines) => engines.clone(),
        None if asynchronous => {
            ["stress", "paused", "shuttle"].map(|e| format_ident!("{e}")).into()
        }
        None => ["stress", "shuttle", "loom"].map(|e| format_ident!("{e}")).into(),
    };
    let settings = &args.settings;
    let mut tests = Vec::new();
    for engine in &engines {
        let text = engine.to_string();
        match (text.as_str(), asynchronous) {
            ("paused", false) => {
                return Err(Error::new(engine.span(), "the paused clock runs async bodies only"));
            }
            ("loom", true) => {
                return Err(Error::new(
                    engine.span(),
                    "loom has no tasks: async bodies need others",
                ));
            }
            _ => {}
        }
        let variant = format_ident!("{}{}", text[..1].to_uppercase(), &text[1..]);
        let call = call(args, asynchronous, text != "shuttle", name);
        let test = quote! {
            #[test]
            fn #engine() {
                let _ = Model::new(name())#(#settings)*.engine(Engine::#variant)#call;
            }
        };
        tests.push(match text.as_str() {
            "loom" => quote!(#root::only_loom! { #test }),
            _ => quote!(#root::not_loom! { #test }),
        });
    }
    Ok(quote! {
        #[allow(dead_code, clippy::unused_async)]
        #body

        #[cfg(test)]
        mod #name {
            #[allow(unused_imports)]
            use super::*;
            #[allow(unused_imports)]
            use #root::{Engine, Model, Time};

            #[allow(dead_code)]
            fn name() -> &'static str {
                let path = module_path!();
                path.split_once("::").map_or(path, |(_, rest)| rest)
            }

            #(#tests)*
        }
    })
}

/// What is asked of the model.
fn call(args: &Args, asynchronous: bool, weak: bool, name: &Ident) -> Tokens {
    let (reaches, holds) = if asynchronous {
        (quote!(reaches_async), quote!(holds_async))
    } else {
        (quote!(reaches), quote!(holds))
    };
    match (&args.outcomes, args.weak.as_ref().filter(|_| weak)) {
        (None, _) => quote!(.#holds(super::#name)),
        (Some(outcomes), None) => quote!(.#reaches(#outcomes, super::#name)),
        (Some(outcomes), Some(weak)) => {
            quote!(.#reaches(#outcomes.into_iter().chain(#weak), super::#name))
        }
    }
}
