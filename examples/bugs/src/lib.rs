//! Public concurrency bugs, retold in our own words, each with its mended twin.
//!
//! `chapters` has those of threads, `tasks` those of async tasks: one file a
//! bug, which says what the program is for, what is wrong, and where that is
//! from. All are written over the facade of `selvedge_model`, whose engine
//! finds them; `tests/found.rs` sees that it does, and that every twin passes.
//!
//! `cargo run --release -p selvedge-bugs --example table` compares engines and
//! writes `TABLE.md`. For it, the same files are compiled with the primitives of
//! std, shuttle and loom: they take theirs from `super::prim`.

use std::pin::Pin;

/// A bug of threads.
#[derive(Debug, Clone, Copy)]
pub struct Bug {
    /// What it is called here.
    pub name: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// How many threads it has, the body's among them.
    pub actors: usize,
    /// The fewest preemptions that it can be shown with.
    pub minimum: usize,
    /// The program; mended if the argument is true.
    pub run: fn(bool),
}

/// The program of a bug of tasks.
pub type Tasks = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A bug of async tasks.
#[derive(Debug, Clone, Copy)]
pub struct TaskBug {
    /// What it is called here.
    pub name: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// The fewest preemptions that it can be shown with.
    pub minimum: usize,
    /// The program; mended if the argument is true.
    pub run: fn(bool) -> Tasks,
}

pub mod facade;
#[cfg(not(loom))]
pub mod tasks;
