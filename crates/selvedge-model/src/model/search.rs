//! How an exploration goes through the schedules.

use super::Model;

/// How the harness's own engine goes through the schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Search {
    /// What finds failures early and claims the most: some schedules that are
    /// tried first, bounds on preemptions, classes, samples.
    #[default]
    Mixed,
    /// Every schedule in turn, depth first, and nothing else.
    Plain,
    /// One of each class of schedules that differ in the order of independent
    /// steps, and nothing else. With a bound on preemptions, as many of each class
    /// as that needs.
    Classes,
}

impl Model {
    /// Goes through the schedules in this way. To compare them: the default is
    /// what to test with.
    pub fn search(mut self, search: Search) -> Self {
        self.search = search;
        self
    }

    /// Each operation of `block` is one step, with what it touches: the block is
    /// not what is tested. An operation that waits is one step until then, and
    /// one from when it goes on. The claim says what was trusted.
    ///
    /// For blocks that are shown linearizable by models of their own: of
    /// selvedge, with its feature `model`, `"queue"` and `"counter"` (the exact
    /// one). Values that an operation drops are dropped within its step.
    pub fn trust(mut self, block: &'static str) -> Self {
        self.trusted.push(block);
        self
    }

    /// The steps inside of `block` are explored, as they are by default.
    pub fn open(mut self, block: &'static str) -> Self {
        self.trusted.retain(|trusted| *trusted != block);
        self
    }
}
