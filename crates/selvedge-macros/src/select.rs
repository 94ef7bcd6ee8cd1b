//! `select!`: the branches in each order that tokio might poll them in, and a
//! choice between those.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Expr, Pat, Path, Token, parenthesized};

/// `pattern = future, if condition => handler`
struct Branch {
    pattern: Pat,
    future: Expr,
    condition: Option<Expr>,
    handler: Expr,
}

impl Parse for Branch {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let pattern = Pat::parse_multi_with_leading_vert(input)?;
        input.parse::<Token![=]>()?;
        let future = input.parse()?;
        let condition = if input.peek(Token![,]) {
            input.parse::<Token![,]>()?;
            input.parse::<Token![if]>()?;
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Self { pattern, future, condition, handler: handler(input)? })
    }
}

impl ToTokens for Branch {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { pattern, future, condition, handler } = self;
        let condition = condition.as_ref().map(|condition| quote!(, if #condition));
        tokens.extend(quote!(#pattern = #future #condition => #handler,));
    }
}

/// `=> handler`, which ends as the arm of a `match` does.
fn handler(input: ParseStream<'_>) -> syn::Result<Expr> {
    input.parse::<Token![=>]>()?;
    let handler = Expr::parse_with_earlier_boundary_rule(input)?;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    } else if !input.is_empty() && !matches!(handler, Expr::Block(_)) {
        return Err(input.error("expected `,`"));
    }
    Ok(handler)
}

pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let parse = |input: ParseStream<'_>| {
        let root;
        parenthesized!(root in input);
        let root = root.call(Path::parse_mod_style)?;
        let all: TokenStream = input.fork().parse()?;
        let biased = {
            let ahead = input.fork();
            ahead.parse::<syn::Ident>().is_ok_and(|word| word == "biased") && ahead.peek(Token![;])
        };
        let (mut branches, mut otherwise) = (Vec::<Branch>::new(), None);
        while !biased && !input.is_empty() {
            if input.peek(Token![else]) {
                input.parse::<Token![else]>()?;
                let handler = handler(input)?;
                otherwise = Some(quote!(else => #handler,));
            } else {
                branches.push(input.parse()?);
            }
        }
        if biased {
            input.parse::<TokenStream>()?;
        }
        Ok((root, all, branches, otherwise))
    };
    let (root, all, branches, otherwise) = parse.parse2(input)?;
    let count = branches.len();
    if count < 2 {
        return Ok(quote!(#root::private::tokio::select! { #all }));
    }
    let orders = (0..count).map(|first| {
        let (after, from) = branches.split_at(first);
        quote!(#first => #root::private::tokio::select! { biased; #(#from)* #(#after)* #otherwise },)
    });
    Ok(quote! {
        match #root::private::first_of(#count) {
            #(#orders)*
            _ => #root::private::tokio::select! { #all },
        }
    })
}
