//! Exploring a model and holding it to its exact set of outcomes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// A closure to explore, and how far.
///
/// Under loom: every schedule with at most [`preemptions`](Self::preemptions)
/// preemptions (3 unless told), up to what loom 0.7.2 misses. Under shuttle:
/// depth-first over every schedule, or [`pct`](Self::pct) or
/// [`random`](Self::random) where that does not end.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct Model {
    name: &'static str,
    preemptions: usize,
    search: Search,
    engines: Engines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Every schedule; an error if there are more than this.
    All { at_most: usize },
    /// Probabilistic concurrency testing: executions, and preemptions each.
    Pct { executions: usize, depth: usize },
    /// Any thread at any step, so many times.
    Random { executions: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engines {
    Both,
    LoomOnly,
    ShuttleOnly,
}

/// Every random search starts here, so that a run is the same everywhere.
const SEED: u64 = 0x5e1_7ed6e;

impl Model {
    /// A model named after its claim, `block::claim`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            preemptions: 3,
            search: Search::All { at_most: 300_000 },
            engines: Engines::Both,
        }
    }

    /// loom: at most this many preemptions in a schedule.
    pub(crate) fn preemptions(mut self, bound: usize) -> Self {
        self.preemptions = bound;
        self
    }

    /// shuttle: `executions` schedules picked by PCT with `depth` preemption
    /// points, for models whose schedules are too many to try all.
    pub(crate) fn pct(mut self, executions: usize, depth: usize) -> Self {
        self.search = Search::Pct { executions, depth };
        self
    }

    /// shuttle: `executions` schedules picked at random, for models that are
    /// too long for PCT's few preemptions to fall everywhere.
    #[cfg_attr(loom, allow(dead_code, reason = "the models that use it have no loom half"))]
    pub(crate) fn random(mut self, executions: usize) -> Self {
        self.search = Search::Random { executions };
        self
    }

    /// What it claims loom cannot show (a deadline, more than five threads).
    pub(crate) fn shuttle_only(mut self) -> Self {
        self.engines = Engines::ShuttleOnly;
        self
    }

    /// What it claims shuttle cannot show (a memory ordering).
    pub(crate) fn loom_only(mut self) -> Self {
        self.engines = Engines::LoomOnly;
        self
    }

    /// Runs `body` under every explored schedule and asserts that its results
    /// are exactly `expected`: nothing else was reached, and each of them was.
    /// Asserts as well that more than one execution ran.
    ///
    /// `body` spawns every actor and only joins, since loom keeps one last
    /// access an atomic and a step of the main thread's own can hide a race.
    pub(crate) fn reaches<O>(
        self,
        expected: impl IntoIterator<Item = O>,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) where
        O: Ord + Debug + Send + 'static,
    {
        let Some((reached, bound)) = self.explore(body) else {
            return;
        };
        let executions: u64 = reached.values().sum();
        let expected: std::collections::BTreeSet<O> = expected.into_iter().collect();
        let never: Vec<_> = expected.iter().filter(|o| !reached.contains_key(o)).collect();
        let beyond: Vec<_> = reached.keys().filter(|o| !expected.contains(o)).collect();
        assert!(
            never.is_empty() && beyond.is_empty(),
            "{}: outcomes over {executions} executions ({bound})\n  \
             expected but never reached: {never:?}\n  reached but not allowed: {beyond:?}",
            self.name
        );
        assert!(executions > 1, "{}: a single execution explores nothing", self.name);
        self.record(executions, reached.len(), &bound);
    }

    /// Runs `body` under every explored schedule; the asserts are inside it.
    pub(crate) fn holds(self, body: impl Fn() + Send + Sync + 'static) {
        self.reaches([()], body);
    }

    /// One line of `BOUNDS.md`, when the tool that makes it asks.
    fn record(&self, executions: u64, outcomes: usize, bound: &str) {
        let Some(path) = std::env::var_os("SELVEDGE_BOUNDS") else {
            return;
        };
        let line = format!("{}\t{ENGINE}\t{bound}\t{executions}\t{outcomes}\n", self.name);
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file named by SELVEDGE_BOUNDS can be appended to");
    }
}

/// Counts outcomes out of the checker's sight: a std mutex adds no
/// happens-before edge that loom or shuttle could see.
fn counted<O: Ord + Send + 'static>(
    body: impl Fn() -> O + Send + Sync + 'static,
) -> (Arc<Mutex<BTreeMap<O, u64>>>, impl Fn() + Send + Sync + 'static) {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let into = Arc::clone(&seen);
    (seen, move || {
        let outcome = body();
        *into.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_insert(0) += 1;
    })
}

fn taken<O: Ord>(seen: &Mutex<BTreeMap<O, u64>>) -> BTreeMap<O, u64> {
    std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(loom)]
const ENGINE: &str = "loom";

#[cfg(loom)]
impl Model {
    fn explore<O: Ord + Send + 'static>(
        &self,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) -> Option<(BTreeMap<O, u64>, String)> {
        if self.engines == Engines::ShuttleOnly {
            return None;
        }
        let (seen, run) = counted(body);
        let mut builder = ::loom::model::Builder::new();
        builder.preemption_bound = Some(self.preemptions);
        builder.max_branches = 20_000;
        builder.check(run);
        Some((taken(&seen), format!("preemptions <= {}", self.preemptions)))
    }
}

#[cfg(not(loom))]
const ENGINE: &str = "shuttle";

#[cfg(not(loom))]
impl Model {
    fn explore<O: Ord + Send + 'static>(
        &self,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) -> Option<(BTreeMap<O, u64>, String)> {
        use ::shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
        use ::shuttle::{Config, Runner};

        if self.engines == Engines::LoomOnly {
            return None;
        }
        let (seen, run) = counted(body);
        if let Ok(schedule) = std::env::var("SELVEDGE_REPLAY") {
            ::shuttle::replay(run, &schedule);
            panic!("{}: SELVEDGE_REPLAY ran one schedule, and it passed", self.name);
        }
        let config = Config::new();
        let bound = match self.search {
            Search::All { at_most } => {
                let ran = Runner::new(DfsScheduler::new(Some(at_most), false), config).run(run);
                assert!(
                    ran < at_most,
                    "{}: more than {at_most} schedules: make the model smaller or use pct()",
                    self.name
                );
                "every schedule".to_owned()
            }
            Search::Pct { executions, depth } => {
                let scheduler = PctScheduler::new_from_seed(SEED, depth, executions);
                Runner::new(scheduler, config).run(run);
                format!("PCT depth {depth}")
            }
            Search::Random { executions } => {
                Runner::new(RandomScheduler::new_from_seed(SEED, executions), config).run(run);
                "random".to_owned()
            }
        };
        Some((taken(&seen), bound))
    }
}
