//! Where the source asks for more than `Relaxed`: found by parsing it.

use anyhow::{Context as _, Result, ensure};
use proc_macro2::{Span, TokenStream, TokenTree};
use std::path::Path;
use syn::visit::Visit;

/// An ordering of one access.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// From the root of the workspace.
    pub(super) file: String,
    /// Of the method's name, from 1, as `std::panic::Location` has it.
    pub(super) line: usize,
    /// The same.
    pub(super) column: usize,
    /// `load`, `store`, …
    pub(super) method: String,
    /// Which of its orderings, from 0.
    pub(super) argument: usize,
    /// What it asks for.
    pub(super) order: String,
    /// Why no model turns red when it is weakened, if the source says so.
    pub(super) excuse: Option<String>,
}

const ORDERS: [&str; 4] = ["SeqCst", "AcqRel", "Acquire", "Release"];

/// What a comment says before the reason why no model catches a weaker
/// ordering.
const EXCUSE: &str = "NOT CAUGHT:";

impl Site {
    /// What is one step weaker, for what the access does.
    pub(super) fn weaker(&self) -> &'static [&'static str] {
        let loads = self.method == "load" || self.argument == 1;
        match (self.order.as_str(), loads, self.method == "store") {
            ("SeqCst", true, _) => &["Acquire"],
            ("SeqCst", _, true) => &["Release"],
            ("SeqCst", ..) => &["AcqRel"],
            ("AcqRel", ..) => &["Acquire", "Release"],
            _ => &["Relaxed"],
        }
    }

    /// `file:line`, and which of several orderings.
    pub(super) fn place(&self) -> String {
        let which = if self.argument == 0 { "" } else { " (failure)" };
        format!("{}:{} {}{which}", self.file, self.line, self.method)
    }
}

/// The sites of one file.
///
/// # Errors
///
/// If it cannot be parsed, or an ordering stands where no site is seen: in a
/// macro, or passed on as a value.
pub(super) fn of_file(root: &Path, file: &str) -> Result<Vec<Site>> {
    let text = std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
    of_text(file, &text)
}

fn of_text(file: &str, text: &str) -> Result<Vec<Site>> {
    let parsed = syn::parse_file(text).with_context(|| file.to_owned())?;
    let mut finder =
        Finder { file, lines: text.lines().collect(), sites: Vec::new(), missed: Vec::new() };
    finder.visit_file(&parsed);
    ensure!(
        finder.missed.is_empty(),
        "{file}: orderings that are no argument of an access, or inside a macro: lines {:?}",
        finder.missed
    );
    finder.sites.sort();
    Ok(finder.sites)
}

struct Finder<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    sites: Vec<Site>,
    missed: Vec<usize>,
}

/// The ordering that an expression names.
fn order_of(expr: &syn::Expr) -> Option<&'static str> {
    let syn::Expr::Path(path) = expr else { return None };
    let last = path.path.segments.last()?;
    let qualified = path.path.segments.len() == 1
        || path.path.segments.iter().any(|segment| segment.ident == "Ordering");
    ORDERS.into_iter().find(|order| qualified && last.ident == order)
}

impl Finder<'_> {
    fn add(&mut self, name: &syn::Ident, orders: impl Iterator<Item = Option<&'static str>>) {
        let start = name.span().start();
        for (argument, order) in orders.enumerate() {
            let Some(order) = order else { continue };
            self.sites.push(Site {
                file: self.file.to_owned(),
                line: start.line,
                column: start.column + 1,
                method: name.to_string(),
                argument,
                order: order.to_owned(),
                excuse: self.excuse(start.line),
            });
        }
    }

    /// The reason in the comment above a line, which may have the start of its
    /// statement between.
    fn excuse(&self, line: usize) -> Option<String> {
        let above = self.lines[..line - 1].iter().rev();
        let comment: Vec<&str> = above
            .skip_while(|line| !line.trim_start().starts_with("//") && !ends_statement(line))
            .map_while(|line| line.trim_start().strip_prefix("//"))
            .collect();
        let text: Vec<&str> = comment.iter().rev().map(|line| line.trim()).collect();
        let text = text.join(" ");
        text.split_once(EXCUSE).map(|(_, reason)| reason.trim().to_owned())
    }
}

/// Whether a comment above this line belongs to something else.
fn ends_statement(line: &str) -> bool {
    line.trim_end().ends_with([';', '}', '{'])
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg")
            && matches!(&attr.meta, syn::Meta::List(list) if list.tokens.to_string().contains("test"))
    })
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let mut orders = call.args.iter().map(order_of).skip_while(Option::is_none).peekable();
        if orders.peek().is_none() {
            return syn::visit::visit_expr_method_call(self, call);
        }
        let first = call.args.iter().position(|arg| order_of(arg).is_some()).unwrap_or(0);
        // A success that is `Relaxed` before it still counts.
        let relaxed_before = call.args.iter().take(first).filter(|arg| is_relaxed(arg)).count();
        let orders: Vec<_> = std::iter::repeat_n(None, relaxed_before).chain(orders).collect();
        self.add(&call.method, orders.into_iter());
        self.visit_expr(&call.receiver);
        for arg in call.args.iter().filter(|arg| order_of(arg).is_none()) {
            self.visit_expr(arg);
        }
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        if order_of(&syn::Expr::Path(path.clone())).is_some() {
            self.missed.push(line_of(path.path.segments.last().map(|s| s.ident.span())));
        }
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.look_into(mac.tokens.clone());
    }
}

fn is_relaxed(expr: &syn::Expr) -> bool {
    matches!(expr, syn::Expr::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "Relaxed"))
}

fn line_of(span: Option<Span>) -> usize {
    span.map_or(0, |span| span.start().line)
}

impl Finder<'_> {
    /// Inside of a macro an access has no place of its own.
    fn look_into(&mut self, tokens: TokenStream) {
        let mut after_ordering = false;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.look_into(group.stream()),
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    let is_order = ORDERS.iter().any(|order| ident == order);
                    if is_order && after_ordering && colons == 2 {
                        self.missed.push(ident.span().start().line);
                    }
                    after_ordering = ident == "Ordering";
                    colons = 0;
                    continue;
                }
                _ => {}
            }
            after_ordering = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(text: &str) -> Vec<String> {
        let sites = of_text("a.rs", text).unwrap();
        sites
            .iter()
            .map(|site| {
                let Site { line, column, method, argument, order, .. } = site;
                format!(
                    "{line}:{column} {method} {argument} {order} -> {}",
                    site.weaker().join(", ")
                )
            })
            .collect()
    }

    #[test]
    fn every_form_of_access_is_a_site() {
        let text = "\
use std::sync::atomic::Ordering::{self, SeqCst};
fn f(a: &A) {
    a.load(Ordering::Acquire);
    a.b.store(1, SeqCst);
    a.load(Ordering::Relaxed);
    a.compare_exchange(
        a.load(SeqCst),
        1,
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
    a.compare_exchange_weak(0, 1, Ordering::Relaxed, Ordering::Acquire);
    a.swap(0, Ordering::SeqCst);
    x.cmp(&y) == std::cmp::Ordering::Less;
}
#[cfg(test)]
mod tests {
    fn f() { a.load(Ordering::Acquire); }
}
";
        let expected = [
            "3:7 load 0 Acquire -> Relaxed",
            "4:9 store 0 SeqCst -> Release",
            "6:7 compare_exchange 0 AcqRel -> Acquire, Release",
            "7:11 load 0 SeqCst -> Acquire",
            "12:7 compare_exchange_weak 1 Acquire -> Relaxed",
            "13:7 swap 0 SeqCst -> AcqRel",
        ];
        assert_eq!(sites(text), expected);
    }

    #[test]
    fn an_ordering_that_cannot_be_weakened_there_is_an_error() {
        for text in [
            "fn f() { let order = Ordering::Acquire; a.load(order); }",
            "fn f() { m! { a.load(Ordering::Acquire) } }",
            "fn f() { fence(Ordering::SeqCst); }",
        ] {
            assert!(of_text("a.rs", text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_excuse_stands_above_its_own_statement() {
        let text = "\
fn f() {
    // ORDERING: pairs with `g`. NOT CAUGHT: nobody can
    // see the difference.
    let a = b
        .load(Ordering::Acquire);
    c.store(1, Ordering::Release);
    // ORDERING: as above.
    d.load(Ordering::Acquire);
}
";
        let excuses: Vec<_> =
            of_text("a.rs", text).unwrap().into_iter().map(|site| site.excuse).collect();
        let reason = "nobody can see the difference.".to_owned();
        assert_eq!(excuses, [Some(reason), None, None]);
    }
}
