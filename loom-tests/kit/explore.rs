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
    #[cfg_attr(not(loom), allow(dead_code, reason = "loom's bound"))]
    preemptions: u32,
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
    pub(crate) fn preemptions(mut self, bound: u32) -> Self {
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

    /// Runs `body` with 0, 1, 2 and so on, each under every explored schedule,
    /// until it returns `false` in all of them: there was no such case. At least
    /// two cases; the asserts are inside of it.
    #[cfg(not(loom))]
    pub(crate) fn holds_in_each_case(self, body: impl Fn(usize) -> bool + Send + Sync + 'static) {
        use std::sync::atomic::{AtomicBool, Ordering};
        let body = std::sync::Arc::new(body);
        let (mut bounds, mut executions) = (std::collections::BTreeSet::new(), 0);
        for case in 0..Self::MOST_CASES {
            let more = std::sync::Arc::new(AtomicBool::new(false));
            let explored = self.explore_as(format!("{}::case_{case}", self.name), [()], {
                let (body, more) = (body.clone(), more.clone());
                // ORDERING: it is read when the exploration is over.
                move || _ = more.fetch_or(body(case), Ordering::Relaxed)
            });
            // A replay is of one case, and the others are left out. A comparison
            // is of the first.
            let Some(explored) = explored else {
                if std::env::var_os("SELVEDGE_COMPARE").is_some() {
                    return;
                }
                continue;
            };
            bounds.insert(explored.bound);
            executions += explored.executions;
            if !more.load(Ordering::Relaxed) {
                assert!(case > 1, "{}: there are no cases", self.name);
                let bound = bounds.into_iter().collect::<Vec<_>>().join("; ");
                return self.record(&Explored { bound, executions, outcomes: 1 });
            }
        }
        assert!(executions == 0, "{}: more than {} cases", self.name, Self::MOST_CASES);
    }

    #[cfg(not(loom))]
    const MOST_CASES: usize = 64;

    /// One line of `BOUNDS.md`, when the tool that makes it asks.
    fn record(&self, explored: &Explored) {
        let Some(path) = std::env::var_os("SELVEDGE_BOUNDS") else {
            return;
        };
        let Explored { bound, executions, outcomes } = explored;
        let engine = ENGINE.name();
        let line = format!("{}\t{engine}\t{bound}\t{executions}\t{outcomes}\n", self.name);
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file named by SELVEDGE_BOUNDS can be appended to");
    }
}

#[cfg(not(loom))]
const ENGINE: selvedge_model::Engine = selvedge_model::Engine::Shuttle;
#[cfg(loom)]
const ENGINE: selvedge_model::Engine = selvedge_model::Engine::Loom;

impl Model {
    fn explore<O: Ord + Debug + Send + 'static>(
        &self,
        expected: impl IntoIterator<Item = O>,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) -> Option<Explored> {
        self.explore_as(self.name.to_owned(), expected, body)
    }

    /// Searches plainly and by classes; one line of `CLASSES.md`.
    #[cfg(not(loom))]
    fn compare<O: Ord + Debug + Send + 'static>(
        &self,
        model: &selvedge_model::Model,
        path: &std::ffi::OsStr,
        body: std::sync::Arc<impl Fn() -> O + Send + Sync + 'static>,
    ) {
        use selvedge_model::Search;
        let most = std::env::var("SELVEDGE_COMPARE_MOST").ok().and_then(|n| n.parse().ok());
        let mut line = self.name.to_owned();
        for search in [Search::Plain, Search::Classes] {
            let body = std::sync::Arc::clone(&body);
            let start = std::time::Instant::now();
            let model = model.clone().search(search).executions(most.unwrap_or(30_000));
            let report = model.holds(move || body());
            let (count, ended) = (report.executions, report.claim.starts_with("every"));
            line.push_str(&format!("\t{count}\t{ended}\t{}", start.elapsed().as_nanos()));
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).expect("SELVEDGE_COMPARE is a file");
    }

    fn explore_as<O: Ord + Debug + Send + 'static>(
        &self,
        name: String,
        expected: impl IntoIterator<Item = O>,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) -> Option<Explored> {
        let elsewhere = if cfg!(loom) { Engines::ShuttleOnly } else { Engines::LoomOnly };
        if self.engines == elsewhere {
            return None;
        }
        let model = selvedge_model::Model::new(name).engine(ENGINE);
        #[cfg(loom)]
        let model = model.preemptions(self.preemptions);
        // Bounded by executions alone: the claim is the same on every machine.
        #[cfg(not(loom))]
        let model = model
            .time(selvedge_model::Time::Any)
            .closed()
            .executions(self.executions)
            .duration(std::time::Duration::MAX);
        #[cfg(not(loom))]
        if let Some(path) = std::env::var_os("SELVEDGE_COMPARE") {
            self.compare(&model, &path, std::sync::Arc::new(body));
            return None;
        }
        let report = model.reaches(expected, body);
        let bound = if cfg!(loom) {
            format!("preemptions <= {}", self.preemptions)
        } else {
            let (claim, _) = report.claim.rsplit_once(" (").unwrap_or((&report.claim, ""));
            claim.replace(", timers at any step", "")
        };
        let (executions, outcomes) = (report.executions, report.outcomes);
        (executions > 1 && outcomes > 0).then_some(Explored { bound, executions, outcomes })
    }
}
