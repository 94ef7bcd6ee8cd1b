//! Every schedule, or as many as the budget allows.

use super::{Model, Outcomes, Report, Search as Way, Time};
use crate::engine::{
    self, Body, Deviations, Dfs, Event, Every, Facts, Failed, Guided, Mixed, Opening, Run, Sampled,
    Settings, Strategy,
};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

/// The bounds on preemptions that are tried in turn.
const BOUNDS: [u32; 8] = [0, 1, 2, 3, 4, 6, 9, u32::MAX];

/// How often one schedule is run, to see whether it does the same each time.
const REPEATS: usize = 6;

/// Whether two steps are the same, as far as that may be asked: numbers that
/// could be addresses differ from run to run.
fn same(one: Option<&Event>, other: Option<&Event>) -> bool {
    let plain = |event: &Event| {
        let words = event.text.split(|c: char| !c.is_ascii_alphanumeric());
        let small =
            |word: &&str| !(word.len() > 4 && word.starts_with(|c: char| c.is_ascii_digit()));
        let words: Vec<String> = words.filter(small).map(str::to_owned).collect();
        (event.task, event.object, words)
    };
    one.map(plain) == other.map(plain)
}

/// How often a failing schedule is run to make it shorter.
const SHRINKS: usize = 400;

struct Search<'a> {
    model: &'a Model,
    settings: Settings,
    body: Body,
    start: Instant,
    ran: u64,
    marks: BTreeSet<&'static str>,
}

#[track_caller]
pub(super) fn run<O, B>(model: &Model, outcomes: &Outcomes<O>, body: B) -> Report
where
    O: PartialEq + Debug + Send + 'static,
    B: Fn() -> O + Send + Sync + 'static,
{
    let into = outcomes.clone();
    let mut search = Search {
        model,
        settings: Settings {
            steps: model.steps,
            ordered: model.time == Time::Ordered,
            panics_are_values: model.panics_are_values,
            unlock_steps: false,
            closed: model.closed,
            trusted: model.trusted.clone(),
            patience: model.patience,
        },
        body: Arc::new(move || into.take(body())),
        start: Instant::now(),
        ran: 0,
        marks: BTreeSet::new(),
    };
    if let Ok(replay) = std::env::var("SELVEDGE_REPLAY") {
        let claim = search.replay(&replay);
        return Report { claim, executions: 1, outcomes: outcomes.count() };
    }
    let claim = match model.search {
        Way::Mixed => search.claim(),
        Way::Plain => search.only(Box::new(Dfs::new(model.preemptions.unwrap_or(u32::MAX))), ""),
        Way::Classes => {
            let ordered = search.settings.ordered;
            let every = match model.preemptions {
                Some(bound) => Every::bounded(ordered, bound),
                None => Every::new(ordered),
            };
            search.only(Box::new(every), ", one of each class")
        }
    };
    search.holds_to_its_schedule(&claim);
    let name = &model.name;
    for block in &model.trusted {
        assert!(
            search.marks.contains(block),
            "{name}: it trusts {block:?}, of which nothing is used: a block that can be trusted, \
             with its feature `model`?"
        );
    }
    for line in &model.lines {
        assert!(
            search.marks.contains(line),
            "{name}: no execution reached reachable!({line:?}) ({claim})"
        );
    }
    if let Some(missed) = outcomes.missed() {
        panic!("{name}: outcomes that no execution reached: {missed} ({claim})");
    }
    Report { claim, executions: search.ran, outcomes: outcomes.count() }
}

impl Search<'_> {
    /// What is completed, with the bound on preemptions raised step by step.
    #[track_caller]
    fn claim(&mut self) -> String {
        let most = self.model.executions;
        let bounds: Vec<u32> = match self.model.preemptions {
            Some(bound) => vec![bound],
            None => BOUNDS.to_vec(),
        };
        let time = self.assuming();
        let mut completed = None;
        let mut tasks = 0;
        let mut index = 0;
        let mut sampled = 0;
        let seed = seed(self.model.seed);
        // Of the budget, a twentieth goes to schedules that are sampled early, up
        // to what that is by default.
        let (openings, early) = match self.model.preemptions {
            Some(_) => (0, 0),
            None => (Opening::COUNT.min(most / 4), (most / 20).min(2_500)),
        };
        let run = self.drive(Box::new(Opening::new()), openings, 3, "the first schedules");
        if run.tried {
            self.settings.unlock_steps = true;
            self.drive(Box::new(Opening::new()), openings, 3, "the first schedules");
        }
        while let Some(bound) = bounds.get(index) {
            // A quarter is left for sampling, should this not end.
            let share = most.saturating_mul(3) / 4;
            let claim = match completed {
                None => "the first schedules".to_owned(),
                Some(done) => Self::bounded(done),
            };
            let left = share.saturating_sub(self.ran);
            let samples = Sampled::new(seed.wrapping_add(sampled), early.saturating_sub(sampled));
            let mixed = Mixed::new(Dfs::new(*bound), samples);
            let run = self.drive(Box::new(mixed), left, 3, &claim);
            sampled += run.executions - run.walked;
            if run.tried && !self.settings.unlock_steps {
                // A lock that is tried: to give it up is a step, from now on.
                self.settings.unlock_steps = true;
                (completed, index) = (None, 0);
                continue;
            }
            tasks = tasks.max(run.tasks);
            if !run.complete {
                break;
            }
            completed = Some(*bound);
            if !run.cut {
                self.must_explore(tasks, run.walked);
                return format!("every schedule{time} ({} executions)", run.walked);
            }
            // What a preemption or two does not find, the whole does; where
            // that is too much, more preemptions.
            if *bound == 1
                && let Some(claim) = self.every(most / 2, tasks, &time)
            {
                return claim;
            }
            index += 1;
        }
        let done = match completed {
            Some(bound) => Self::bounded(bound),
            None => String::new(),
        };
        if self.model.preemptions.is_none() || completed.is_none() {
            let rest = most.saturating_sub(self.ran).max(2);
            let claim = if done.is_empty() { "sampled" } else { &done };
            let samples = Sampled::new(!seed, rest);
            sampled += self.drive(Box::new(samples), rest, 0, claim).executions;
        }
        self.must_explore(tasks, self.ran);
        let ran = self.ran;
        match (done.is_empty(), sampled) {
            (false, 0) => format!("{done}{time} ({ran} executions)"),
            (false, _) => format!("{done}{time}, and {sampled} sampled ({ran} executions)"),
            (true, _) => format!("{sampled} sampled{time} ({ran} executions)"),
        }
    }

    /// What every claim is under.
    fn assuming(&self) -> String {
        let mut text = if self.settings.ordered { "" } else { ", timers at any step" }.to_owned();
        if !self.model.trusted.is_empty() {
            text.push_str(&format!(", trusting {}", self.model.trusted.join(" and ")));
        }
        text
    }

    /// This strategy and nothing else.
    #[track_caller]
    fn only(&mut self, strategy: Box<dyn Strategy>, of: &str) -> String {
        // With nobody who tries a lock, to give one up is no step.
        let run = self.drive(Box::new(Opening::new()), Opening::COUNT, 0, "the first schedules");
        self.settings.unlock_steps = run.tried;
        let most = self.model.executions;
        let run = self.drive(strategy, most, 0, "the first schedules");
        self.ran = run.executions;
        if run.complete {
            let bound = if run.cut { self.model.preemptions } else { None };
            let every = Self::bounded(bound.unwrap_or(u32::MAX));
            format!("{every}{}{of} ({} executions)", self.assuming(), run.executions)
        } else {
            format!("nothing: it did not end ({} executions)", run.executions)
        }
    }

    /// One schedule of each class, if that comes to an end.
    #[track_caller]
    fn every(&mut self, share: u64, tasks: usize, time: &str) -> Option<String> {
        let left = share.saturating_sub(self.ran);
        let claim = Self::bounded(1);
        let run = self.drive(Box::new(Every::new(self.settings.ordered)), left, 2, &claim);
        self.must_explore(tasks.max(run.tasks), self.ran);
        run.complete.then(|| {
            let executions = run.executions;
            format!("every schedule{time}, one of each class ({executions} executions)")
        })
    }

    fn bounded(bound: u32) -> String {
        match bound {
            0 => "every schedule without a preemption".to_owned(),
            1 => "every schedule with at most 1 preemption".to_owned(),
            u32::MAX => "every schedule".to_owned(),
            n => format!("every schedule with at most {n} preemptions"),
        }
    }

    #[track_caller]
    fn must_explore(&self, tasks: usize, executions: u64) {
        let name = &self.model.name;
        assert!(
            tasks > 1,
            "{name}: nothing runs beside the body: a model needs threads or tasks that it spawns \
             with selvedge_model::thread or selvedge_model::task"
        );
        assert!(
            executions > 1,
            "{name}: there is one schedule only: either nothing happens at the same time (is each \
             thread joined before the next is started?), or what the threads share does not come \
             from selvedge::sync"
        );
    }

    /// Runs a strategy; a failure ends in a panic. `part` says how much of the
    /// time may be gone by then.
    #[track_caller]
    fn drive(&mut self, strategy: Box<dyn Strategy>, most: u64, part: u32, claim: &str) -> Run {
        let share = match part {
            3 => self.model.duration / 4 * 3,
            2 => self.model.duration / 2,
            1 => self.model.duration / 8 * 7,
            _ => self.model.duration,
        };
        let until = self.start.checked_add(share);
        let run = engine::drive(strategy, &self.settings, false, (most, until), &self.body);
        if let Some((task, at)) = run.hung {
            let (name, patience, execution) =
                (&self.model.name, self.model.patience, self.ran + run.executions);
            let task = match task {
                0 | 1 => "main".to_owned(),
                task => format!("task {}", task - 1),
            };
            panic!(
                "{name}: no step of the model for {patience:?} ({claim}; execution {execution}): \
                 {task} has not come back since its step at {}:{}. Does it wait outside of the \
                 model, for a lock or a channel of std's that another task has? All tasks share \
                 one OS thread: take them from selvedge::sync.",
                at.file(),
                at.line()
            );
        }
        self.ran += run.executions;
        self.marks.extend(run.marks.iter().copied());
        if let Some(failed) = &run.failed {
            self.fail(failed, claim);
        }
        run
    }

    #[track_caller]
    fn fail(&self, failed: &Failed, claim: &str) -> ! {
        let from = Deviations::of(&failed.decisions).len();
        let (short, attempts) = engine::shrink(failed, &self.settings, &self.body, SHRINKS);
        let again = self.record(short.clone());
        let facts = Facts {
            name: &self.model.name,
            claim: format!("shuttle, after {claim}"),
            at: self.ran,
            shrunk_from: from,
            attempts,
            command: self.command(&short),
        };
        let shown = again.as_ref().filter(|again| again.failure.resembles(&failed.failure));
        let mut message = engine::text(shown.unwrap_or(failed), &facts);
        if shown.is_none() {
            message.push_str(
                "\n(it did not fail again on the same choices: the body does not only depend on \
                 them)",
            );
        }
        engine::page(shown.unwrap_or(failed), &facts).write(&mut message);
        panic!("{message}");
    }

    /// Runs a schedule once more, and writes everything down.
    fn record(&self, deviations: Deviations) -> Option<Failed> {
        let strategy = Box::new(Guided::new(deviations));
        engine::drive(strategy, &self.settings, true, (1, None), &self.body).failed
    }

    /// Runs one schedule again and again: the body has to do the same.
    #[track_caller]
    fn holds_to_its_schedule(&self, claim: &str) {
        let mut first: Option<Vec<Event>> = None;
        for _ in 0..REPEATS {
            let strategy = Box::new(Guided::new(Deviations::default()));
            let run = engine::drive(strategy, &self.settings, true, (1, None), &self.body);
            if let Some(failed) = &run.failed {
                self.fail(failed, claim);
            }
            let Some(first) = &first else {
                first = Some(run.events);
                continue;
            };
            let told = |events: &[Event], at: usize| match events.get(at) {
                Some(event) => format!("{} at {}:{}", event.text, event.at.file(), event.at.line()),
                None => "nothing more".to_owned(),
            };
            let most = first.len().max(run.events.len());
            if let Some(at) = (0..most).find(|at| !same(first.get(*at), run.events.get(*at))) {
                panic!(
                    "{}: the body does other things on the same schedule: step {} is once {} and \
                     once {}. It must not depend on the clock, on the addresses or the hashes of \
                     things, on random numbers, or on what an earlier execution left in a static \
                     ({claim})",
                    self.model.name,
                    at + 1,
                    told(first, at),
                    told(&run.events, at)
                );
            }
        }
    }

    /// Runs the schedule that is told. That it does not fail any more is a claim.
    #[track_caller]
    fn replay(&self, told: &str) -> String {
        let text = told.strip_prefix(&self.model.replay_prefix()).unwrap_or_default();
        let (text, unlocks) = match text.strip_suffix(",try") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let Some(deviations) = Deviations::parse(text) else {
            panic!("SELVEDGE_REPLAY: {text:?} is no schedule: expected 1.2-3,… or default");
        };
        let mut settings = self.settings.clone();
        settings.unlock_steps = unlocks;
        let strategy = Box::new(Guided::new(deviations.clone()));
        let run = engine::drive(strategy, &settings, true, (1, None), &self.body);
        let Some(failed) = run.failed else {
            let (all, left) = (deviations.len(), run.unfollowed);
            assert!(
                left == 0,
                "{}: SELVEDGE_REPLAY: nothing failed, but {left} of the {all} choices of the \
                 schedule do not fit: the model has become another one",
                self.model.name
            );
            return "replayed: that schedule does not fail any more".to_owned();
        };
        let facts = Facts {
            name: &self.model.name,
            claim: "shuttle, replayed".to_owned(),
            at: 1,
            shrunk_from: deviations.len(),
            attempts: 0,
            command: format!(
                "SELVEDGE_REPLAY='{told}' cargo test {} -- --exact",
                self.model.test()
            ),
        };
        let mut message = engine::text(&failed, &facts);
        engine::page(&failed, &facts).write(&mut message);
        panic!("{message}");
    }

    fn command(&self, deviations: &Deviations) -> String {
        let unlocks = if self.settings.unlock_steps { ",try" } else { "" };
        let prefix = self.model.replay_prefix();
        let test = self.model.test();
        format!("SELVEDGE_REPLAY='{prefix}{deviations}{unlocks}' cargo test {test} -- --exact")
    }
}

/// The seed of the environment, or the model's.
fn seed(own: u64) -> u64 {
    match std::env::var("SELVEDGE_SEED") {
        Ok(text) => {
            text.parse().unwrap_or_else(|_| panic!("SELVEDGE_SEED={text}: expected a number"))
        }
        Err(_) => own,
    }
}
