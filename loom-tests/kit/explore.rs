//! Exploring a model and holding it to its exact set of outcomes.

use std::fmt::Debug;
use std::io::Write;

/// A closure to explore, and how far.
///
/// Under loom: every schedule with at most [`preemptions`](Self::preemptions)
/// preemptions (3 by default), up to what loom 0.7.3 misses. Under the harness:
/// one schedule of each class, with deadlines that pass at any step; where
/// [`executions`](Self::executions) are too few for that, as far as the claim
/// says.
///
/// A model that fails prints how to run the failing schedule again:
/// `SELVEDGE_REPLAY=model:engine:schedule`. A replay passes if the schedule does
/// not fail any more, and fails if the model has become another one that the
/// schedule does not fit.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct Model {
    name: &'static str,
    preemptions: usize,
    executions: u64,
    engines: Engines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engines {
    Both,
    LoomOnly,
    ShuttleOnly,
}

/// What was done, for `BOUNDS.md`.
struct Explored {
    bound: String,
    executions: u64,
    outcomes: usize,
}

impl Model {
    /// A model named after its claim, `block::claim`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, preemptions: 3, executions: 20_000, engines: Engines::Both }
    }

    /// loom: at most this many preemptions in a schedule.
    pub(crate) fn preemptions(mut self, bound: usize) -> Self {
        self.preemptions = bound;
        self
    }

    /// The harness: at most so many executions; 20,000 by default.
    #[cfg_attr(loom, allow(dead_code, reason = "the models that use it have no loom half"))]
    pub(crate) fn executions(mut self, at_most: u64) -> Self {
        self.executions = at_most;
        self
    }

    /// What it claims loom cannot show (a deadline, more than five threads).
    pub(crate) fn shuttle_only(mut self) -> Self {
        self.engines = Engines::ShuttleOnly;
        self
    }

    /// What it claims the harness cannot show (a memory ordering).
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
        if let Some(explored) = self.explore(expected, body) {
            self.record(&explored);
        }
    }

    /// Runs `body` under every explored schedule; the asserts are inside it.
    pub(crate) fn holds(self, body: impl Fn() + Send + Sync + 'static) {
        self.reaches([()], body);
    }

    /// One line of `BOUNDS.md`, when the tool that makes it asks.
    fn record(&self, explored: &Explored) {
        let Some(path) = std::env::var_os("SELVEDGE_BOUNDS") else {
            return;
        };
        let Explored { bound, executions, outcomes } = explored;
        let line = format!("{}\t{ENGINE}\t{bound}\t{executions}\t{outcomes}\n", self.name);
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file named by SELVEDGE_BOUNDS can be appended to");
    }
}

#[cfg(not(loom))]
const ENGINE: &str = "shuttle";

#[cfg(not(loom))]
impl Model {
    fn explore<O: Ord + Debug + Send + 'static>(
        &self,
        expected: impl IntoIterator<Item = O>,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) -> Option<Explored> {
        if self.engines == Engines::LoomOnly {
            return None;
        }
        // Bounded by executions alone: the claim is the same on every machine.
        let model = selvedge_model::Model::new(self.name)
            .engine(selvedge_model::Engine::Shuttle)
            .time(selvedge_model::Time::Any)
            .closed()
            .executions(self.executions)
            .duration(std::time::Duration::MAX);
        let report = model.reaches(expected, body);
        let (claim, _) = report.claim.rsplit_once(" (").unwrap_or((&report.claim, ""));
        let bound = claim.replace(", timers at any step", "");
        let (executions, outcomes) = (report.executions, report.outcomes);
        (executions > 1).then_some(Explored { bound, executions, outcomes })
    }
}

#[cfg(loom)]
use loom::ENGINE;

/// Under loom.
#[cfg(loom)]
mod loom {
    use super::{Engines, Explored, Model};
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Debug;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    pub(super) const ENGINE: &str = "loom";

    /// Counts outcomes out of the checker's sight: a std mutex adds no
    /// happens-before edge that loom could see.
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

    /// What `SELVEDGE_REPLAY` asks of this model under this engine.
    fn replay_of(model: &str) -> Option<String> {
        replay_in(&std::env::var("SELVEDGE_REPLAY").ok()?, model)
    }

    /// The schedule in `request`, if that is for this model under this engine.
    fn replay_in(request: &str, model: &str) -> Option<String> {
        let rest = request.strip_prefix(model)?.strip_prefix(':')?;
        Some(rest.strip_prefix(ENGINE)?.strip_prefix(':')?.to_owned())
    }

    /// While a model runs: if it panics, says how to run that schedule again.
    struct TellsHowToReplay<F: Fn() -> String> {
        model: &'static str,
        schedule: F,
    }

    impl<F: Fn() -> String> Drop for TellsHowToReplay<F> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let (model, schedule) = (self.model, (self.schedule)());
                eprintln!("that schedule again: SELVEDGE_REPLAY='{model}:{ENGINE}:{schedule}'");
            }
        }
    }

    impl Model {
        pub(super) fn explore<O: Ord + Debug + Send + 'static>(
            &self,
            expected: impl IntoIterator<Item = O>,
            body: impl Fn() -> O + Send + Sync + 'static,
        ) -> Option<Explored> {
            if self.engines == Engines::ShuttleOnly {
                return None;
            }
            let (seen, run) = counted(body);
            let began = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&began);
            let run = move || {
                counter.fetch_add(1, Ordering::Relaxed);
                run();
            };
            let mut builder = ::loom::model::Builder::new();
            builder.preemption_bound = Some(self.preemptions);
            builder.max_branches = 20_000;
            // loom tries schedules in the same order each time: the number of
            // the one that failed names it.
            let replay = replay_of(self.name);
            if let Some(number) = &replay {
                let number = number.parse().unwrap_or_else(|_| {
                    panic!(
                        "{}: SELVEDGE_REPLAY: {number:?} is no number of an execution",
                        self.name
                    )
                });
                builder.max_permutations = Some(number);
                builder.location = true;
            }
            {
                let schedule = || began.load(Ordering::Relaxed).to_string();
                let _tells = TellsHowToReplay { model: self.name, schedule };
                builder.check(run);
            }
            if let Some(number) = replay {
                eprintln!("{}: replayed: the first {number} executions do not fail", self.name);
                return None;
            }
            let reached = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
            let bound = format!("preemptions <= {}", self.preemptions);
            Some(self.held(&expected.into_iter().collect(), &reached, bound))
        }

        /// What was reached, if that is what was expected.
        fn held<O: Ord + Debug>(
            &self,
            expected: &BTreeSet<O>,
            reached: &BTreeMap<O, u64>,
            bound: String,
        ) -> Explored {
            let executions: u64 = reached.values().sum();
            let never: Vec<_> = expected.iter().filter(|o| !reached.contains_key(o)).collect();
            let beyond: Vec<_> = reached.keys().filter(|o| !expected.contains(o)).collect();
            assert!(
                never.is_empty() && beyond.is_empty(),
                "{}: outcomes over {executions} executions ({bound})\n  \
                 expected but never reached: {never:?}\n  reached but not allowed: {beyond:?}",
                self.name
            );
            assert!(executions > 1, "{}: a single execution explores nothing", self.name);
            Explored { bound, executions, outcomes: reached.len() }
        }
    }

    #[test]
    fn a_replay_is_for_one_model_and_engine() {
        let request = format!("queue::close:{ENGINE}:91:02");
        assert_eq!(replay_in(&request, "queue::close"), Some("91:02".to_owned()));
        assert_eq!(replay_in(&request, "queue::clos"), None);
        assert_eq!(replay_in(&request, "queue::close_wakes"), None);
        assert_eq!(replay_in("queue::close:another:91", "queue::close"), None);
        assert_eq!(replay_in("9102", "queue::close"), None);
    }
}
