//! Compares checkers over the bugs of this package, and writes `TABLE.md`.
//!
//! `cargo run --release -p selvedge-bugs --example table [-- ROW…]`: all rows, or
//! those whose names contain one of the words, which are printed only.
//!
//! Each run is a process of its own (`table one ENGINE ROW SEED TWIN`), since an
//! engine may hang or end the program. loom's are those of a second build, with
//! `--cfg loom`, which this one starts.

#![allow(
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "the chapters are compiled once for each engine's primitives"
)]

mod one;
#[cfg(not(loom))]
mod page;

#[cfg(loom)]
mod loomed;
#[cfg(not(loom))]
mod modelled;
#[cfg(not(loom))]
mod real;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["one", engine, row, seed, twin] => {
            let number = |text: &str| text.parse().expect("a number");
            one::run(engine, number(row) as usize, number(seed), twin == "true");
        }
        #[cfg(not(loom))]
        _ => page::make(&args),
        #[cfg(loom)]
        _ => panic!("the build for loom runs single rows only"),
    }
}
