//! A model: a body, how far to explore it, and what it may give.

mod outcomes;
mod search;
mod stress;

#[cfg(loom)]
mod loom;
#[cfg(all(feature = "model", feature = "tokio", not(loom)))]
mod paused;
#[cfg(all(feature = "model", not(loom)))]
mod shuttle;

pub use search::Search;

use outcomes::Outcomes;
use std::fmt::Debug;
use std::time::Duration;

/// How time passes inside of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Time {
    /// Deadlines pass in their order: the earliest once nothing else can run,
    /// those that are equal to it at any step from then on. What tokio's paused
    /// clock does, over every schedule.
    #[default]
    Ordered,
    /// A deadline may pass at any step, however long it is: what a machine
    /// under load does. Refutes code that leans on the order of deadlines.
    Any,
}

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Real threads and a real runtime, many times.
    Stress,
    /// tokio's paused clock on one thread, with the polls put off by a seed.
    Paused,
    /// shuttle's stacks: every schedule, or as many as the budget allows.
    Shuttle,
    /// loom: memory orderings, under `--cfg loom`.
    Loom,
}

const ENGINES: [Engine; 4] = [Engine::Stress, Engine::Paused, Engine::Shuttle, Engine::Loom];

impl Engine {
    /// Its name, in reports and in `SELVEDGE_REPLAY`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stress => "stress",
            Self::Paused => "paused",
            Self::Shuttle => "shuttle",
            Self::Loom => "loom",
        }
    }
}

/// A model to be explored. `#[model]` is the same as an attribute.
///
/// ```
/// # #[cfg(not(loom))] {
/// use selvedge_model::Model;
/// use selvedge_model::sync::{Arc, atomic::{AtomicU32, Ordering::SeqCst}};
/// use selvedge_model::thread;
///
/// // Two threads that add without losing anything.
/// let report = Model::new("adds").reaches([2], || {
///     let n = Arc::new(AtomicU32::new(0));
///     let threads = [0, 1].map(|_| {
///         let n = Arc::clone(&n);
///         thread::spawn(move || n.fetch_add(1, SeqCst))
///     });
///     threads.map(|thread| thread.join().unwrap());
///     n.load(SeqCst)
/// });
/// assert!(report.executions > 1);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a model does nothing until it is told what it reaches"]
#[cfg_attr(
    not(all(feature = "model", not(loom))),
    allow(dead_code, reason = "not every engine uses every setting")
)]
pub struct Model {
    name: String,
    engine: Engine,
    executions: u64,
    duration: Duration,
    steps: usize,
    time: Time,
    panics_are_values: bool,
    preemptions: Option<u32>,
    lines: Vec<&'static str>,
    seed: u64,
    closed: bool,
    trusted: Vec<&'static str>,
    search: Search,
    patience: Duration,
}

/// What an exploration did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What was completed, in words.
    pub claim: String,
    /// How often the body ran.
    pub executions: u64,
    /// How many outcomes were reached.
    pub outcomes: usize,
}

impl Model {
    /// A model named after its claim.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            engine: if cfg!(loom) {
                Engine::Loom
            } else if cfg!(feature = "model") {
                Engine::Shuttle
            } else {
                Engine::Stress
            },
            executions: 50_000,
            duration: Duration::from_secs(10),
            steps: 20_000,
            time: Time::Ordered,
            panics_are_values: false,
            preemptions: None,
            lines: Vec::new(),
            seed: 0x5e1_7ed6e,
            closed: false,
            trusted: Vec::new(),
            search: Search::Mixed,
            patience: Duration::from_secs(30),
        }
    }

    /// Runs on `engine`. By default on shuttle's, under `--cfg loom` on loom.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// At most so many executions; defaults to 50,000.
    pub fn executions(mut self, at_most: u64) -> Self {
        self.executions = at_most;
        self
    }

    /// At most so long; defaults to ten seconds. It bounds what is claimed,
    /// and is never a part of the claim.
    pub fn duration(mut self, at_most: Duration) -> Self {
        self.duration = at_most;
        self
    }

    /// At most so many steps in one execution; defaults to 20,000. More is a
    /// failure: a loop that waits for what never comes.
    pub fn steps(mut self, at_most: usize) -> Self {
        self.steps = at_most;
        self
    }

    /// How time passes; defaults to [`Time::Ordered`].
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Schedules with at most so many preemptions only. By default the bound
    /// is raised from 0 until no schedule is left or the budget is used up, and
    /// some schedules are tried before and sampled among them; with this, none
    /// are. Under loom the bound is 3.
    pub fn preemptions(mut self, at_most: u32) -> Self {
        self.preemptions = Some(at_most);
        self
    }

    /// A thread's panic is the result of its `join`, as in std; by default it
    /// fails the model, with the line that panicked.
    pub fn panics_are_values(mut self) -> Self {
        self.panics_are_values = true;
        self
    }

    /// All that the tasks of the model share is this crate's, or told of by a
    /// [`kit::Foreign`](crate::kit::Foreign): none of tokio's channels or
    /// locks, no atomic of std's, and what lies in a mutex is changed through
    /// `&mut` alone (no `Cell`, no channel of std's). Then models of async tasks
    /// are reduced to one schedule of each class as well, and so are locks that
    /// are taken to look.
    pub fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    /// How long a run on real threads may take, and how long a task of a model
    /// may go without a step of it, before it counts as hung; 30 seconds by
    /// default.
    pub fn patience(mut self, at_most: Duration) -> Self {
        self.patience = at_most;
        self
    }

    /// Some execution has to reach `reachable!(name)`.
    pub fn reaches_line(mut self, name: &'static str) -> Self {
        self.lines.push(name);
        self
    }

    /// Where sampled schedules start. `SELVEDGE_SEED` overrides it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Explores `body`, and holds it to its exact set of outcomes: nothing
    /// else is reached, and each of them is. ([`Engine::Stress`] and
    /// [`Engine::Paused`] hold it to the first half.)
    ///
    /// # Panics
    ///
    /// If the model fails, with everything that is known of the failure; if
    /// it explores nothing: one schedule, or one thread.
    #[track_caller]
    pub fn reaches<O, B>(self, outcomes: impl IntoIterator<Item = O>, body: B) -> Report
    where
        O: PartialEq + Debug + Send + 'static,
        B: Fn() -> O + Send + Sync + 'static,
    {
        let allowed = outcomes.into_iter().collect();
        self.run(Outcomes::new(Some(allowed)), body)
    }

    /// Explores `body`; the asserts are inside of it.
    ///
    /// # Panics
    ///
    /// As [`reaches`](Self::reaches).
    #[track_caller]
    pub fn holds<O, B>(self, body: B) -> Report
    where
        O: PartialEq + Debug + Send + 'static,
        B: Fn() -> O + Send + Sync + 'static,
    {
        self.run(Outcomes::new(None), body)
    }

    #[track_caller]
    fn run<O, B>(self, outcomes: Outcomes<O>, body: B) -> Report
    where
        O: PartialEq + Debug + Send + 'static,
        B: Fn() -> O + Send + Sync + 'static,
    {
        if !self.chosen() {
            return self.skipped();
        }
        let reached = outcomes.clone();
        let report = match self.engine {
            Engine::Stress => stress::run(&self, outcomes, body),
            #[cfg(all(feature = "model", not(loom)))]
            Engine::Shuttle => shuttle::run(&self, &outcomes, body),
            #[cfg(loom)]
            Engine::Loom => loom::run(&self, &outcomes, body),
            Engine::Paused => panic!(
                "{}: the paused clock runs async bodies: use reaches_async or holds_async",
                self.name
            ),
            #[allow(unreachable_patterns, reason = "of those that this build has")]
            other => self.absent(other),
        };
        self.record(&report, &reached);
        report
    }

    /// As [`reaches`](Self::reaches), for a body that is a future.
    ///
    /// # Panics
    ///
    /// As [`reaches`](Self::reaches).
    #[cfg(all(feature = "model", feature = "tokio", not(loom)))]
    #[track_caller]
    pub fn reaches_async<O, B, F>(self, outcomes: impl IntoIterator<Item = O>, body: B) -> Report
    where
        O: PartialEq + Debug + Send + 'static,
        B: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = O> + Send + 'static,
    {
        let allowed = outcomes.into_iter().collect();
        self.run_async(Outcomes::new(Some(allowed)), body)
    }

    /// As [`holds`](Self::holds), for a body that is a future.
    ///
    /// # Panics
    ///
    /// As [`reaches`](Self::reaches).
    #[cfg(all(feature = "model", feature = "tokio", not(loom)))]
    #[track_caller]
    pub fn holds_async<O, B, F>(self, body: B) -> Report
    where
        O: PartialEq + Debug + Send + 'static,
        B: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = O> + Send + 'static,
    {
        self.run_async(Outcomes::new(None), body)
    }

    #[cfg(all(feature = "model", feature = "tokio", not(loom)))]
    #[track_caller]
    fn run_async<O, B, F>(self, outcomes: Outcomes<O>, body: B) -> Report
    where
        O: PartialEq + Debug + Send + 'static,
        B: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = O> + Send + 'static,
    {
        if !self.chosen() {
            return self.skipped();
        }
        let reached = outcomes.clone();
        let report = match self.engine {
            Engine::Stress => stress::run(&self, outcomes, move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async { tokio::spawn(body()).await }).unwrap_or_else(|error| {
                    match error.try_into_panic() {
                        Ok(payload) => std::panic::resume_unwind(payload),
                        Err(error) => panic!("the body was {error}"),
                    }
                })
            }),
            Engine::Paused => paused::run(&self, &outcomes, body),
            Engine::Shuttle => {
                shuttle::run(&self, &outcomes, move || crate::task::block_on_modelled(body()))
            }
            #[allow(unreachable_patterns, reason = "of those that this build has")]
            other => self.absent(other),
        };
        self.record(&report, &reached);
        report
    }

    fn absent(&self, engine: Engine) -> ! {
        panic!(
            "{}: this build has no engine named {}: `paused` and `shuttle` need the feature \
             `model` (`paused` and async bodies `tokio` as well), `loom` needs RUSTFLAGS=\"--cfg loom\"",
            self.name,
            engine.name()
        )
    }

    /// Whether `SELVEDGE_ENGINES` (names, with commas) and `SELVEDGE_REPLAY`
    /// leave this one in.
    ///
    /// # Panics
    ///
    /// If one of them cannot be meant: a word that is mistyped would leave
    /// every model out, and all would be green.
    #[track_caller]
    fn chosen(&self) -> bool {
        let named = |name: &str| ENGINES.iter().any(|engine| engine.name() == name);
        let mut chosen = true;
        if let Ok(list) = std::env::var("SELVEDGE_ENGINES") {
            let names: Vec<&str> = list.split(',').map(str::trim).collect();
            for name in &names {
                assert!(
                    named(name),
                    "SELVEDGE_ENGINES={list}: {name:?} is no engine: expected some of stress, \
                     paused, shuttle, loom, with commas"
                );
            }
            chosen &= names.contains(&self.engine.name());
        }
        if let Ok(replay) = std::env::var("SELVEDGE_REPLAY") {
            let mut parts = replay.rsplitn(3, ':').skip(1);
            let (engine, model) = (parts.next().unwrap_or_default(), parts.next());
            assert!(
                named(engine) && model.is_some(),
                "SELVEDGE_REPLAY={replay}: expected test:engine:schedule, as a failure prints it"
            );
            chosen &= replay.starts_with(&self.replay_prefix());
        }
        if let Ok(trace) = std::env::var("SELVEDGE_TRACE") {
            assert!(trace == "html", "SELVEDGE_TRACE={trace}: html is what there is");
        }
        chosen
    }

    fn replay_prefix(&self) -> String {
        format!("{}:{}:", self.name, self.engine.name())
    }

    /// The test that runs this: libtest names a test's thread after it, unless
    /// it runs them in turn.
    #[cfg_attr(not(any(feature = "model", loom)), allow(dead_code, reason = "nothing explores"))]
    fn test(&self) -> String {
        let thread = std::thread::current();
        let own = || format!("{}::{}", self.name, self.engine.name());
        thread.name().filter(|name| *name != "main").map_or_else(own, str::to_owned)
    }

    fn skipped(&self) -> Report {
        println!("{}: {} is left out, as the environment says", self.name, self.engine.name());
        Report { claim: "left out".to_owned(), executions: 0, outcomes: 0 }
    }

    /// One line, which is the claim, and what was reached if nobody said what
    /// may be.
    fn record<O: PartialEq + Debug>(&self, report: &Report, reached: &Outcomes<O>) {
        let reached = reached.listed().map_or_else(String::new, |set| format!("; reached: {set}"));
        println!("{}: {}{reached}", self.name, report.claim);
        if let Some(path) = std::env::var_os("SELVEDGE_CLAIMS") {
            use std::io::Write;
            let (engine, outcomes) = (self.engine.name(), report.outcomes);
            let line = format!(
                "{}\t{engine}\t{}\t{}\t{outcomes}\n",
                self.name, report.claim, report.executions
            );
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            file.and_then(|mut file| file.write_all(line.as_bytes()))
                .unwrap_or_else(|error| panic!("SELVEDGE_CLAIMS={}: {error}", path.display()));
        }
    }
}

/// Of `reachable!`.
#[doc(hidden)]
pub fn mark(name: &'static str) {
    #[cfg(all(feature = "model", not(loom)))]
    if crate::engine::inside() {
        crate::engine::note(name);
    }
    #[cfg(loom)]
    crate::loom_engine::note(name);
    let _ = name;
}
