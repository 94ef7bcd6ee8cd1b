//! A failing schedule with fewer surprises in it.

use super::drive::{Body, Failed, drive};
use super::exec::{Decision, Settings};
use super::strategy::{Dfs, Guided, Strategy};
use std::fmt;

/// A schedule, told by where it leaves the default: before a task's nth
/// choice, another goes on. The default lets the task that runs go on, else
/// the oldest that can, else the earliest deadline pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Deviations(Vec<Deviation>);

impl Deviations {
    pub(crate) fn of(decisions: &[Decision]) -> Self {
        let deviating = decisions.iter().filter(|decision| decision.deviates);
        Self(deviating.map(|d| ((d.task, d.nth), (d.to, d.alternative))).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, key: (u32, u32)) -> Option<(u32, usize)> {
        self.0.iter().find(|(at, _)| *at == key).map(|(_, to)| *to)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text == "default" {
            return Some(Self::default());
        }
        let one = |part: &str| {
            let (from, to) = part.split_once('-')?;
            let (task, nth) = from.split_once('.')?;
            let (to, alternative) = to.split_once('.').unwrap_or((to, "0"));
            let alternative =
                if alternative == "late" { super::EXPIRED } else { alternative.parse().ok()? };
            Some(((task.parse().ok()?, nth.parse().ok()?), (to.parse().ok()?, alternative)))
        };
        text.split(',').map(one).collect::<Option<Vec<_>>>().map(Self)
    }
}

impl fmt::Display for Deviations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("default");
        }
        for (index, ((task, nth), (to, alternative))) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{task}.{nth}-{to}")?;
            match *alternative {
                0 => {}
                super::EXPIRED => f.write_str(".late")?,
                other => write!(f, ".{other}")?,
            }
        }
        Ok(())
    }
}

/// What is to be made small: preemptions first, then deviations.
fn cost(decisions: &[Decision]) -> (usize, usize) {
    let count = |f: fn(&Decision) -> bool| decisions.iter().filter(|decision| f(decision)).count();
    (count(|decision| decision.preempts), count(|decision| decision.deviates))
}

struct Shrink<'a> {
    failed: &'a Failed,
    settings: Settings,
    body: &'a Body,
    used: usize,
    most: usize,
    best: Deviations,
    cost: (usize, usize),
}

/// Executions of the search below, for each bound on preemptions.
const BELOW: u64 = 200;

/// Tries to leave deviations out, larger parts first, as long as the failure
/// stays the same one; to go straight where one task is stopped for a next; and
/// then to find it with fewer preemptions. What is left, and how often the body
/// was run.
pub(crate) fn shrink(
    failed: &Failed,
    settings: &Settings,
    body: &Body,
    attempts: usize,
) -> (Deviations, usize) {
    let mut settings = settings.clone();
    settings.steps = settings.steps.min(failed.steps * 4 + 200);
    let best = Deviations::of(&failed.decisions);
    let cost = cost(&failed.decisions);
    let mut shrink = Shrink { failed, settings, body, used: 0, most: attempts, best, cost };
    loop {
        let before = shrink.cost;
        shrink.pass(|deviations, start, end| {
            deviations.drain(start..end);
        });
        shrink.pass(|deviations, start, end| {
            let (_, to) = deviations[end - 1];
            deviations[start].1 = to;
            deviations.drain(start + 1..end);
        });
        if shrink.cost == before {
            break;
        }
    }
    shrink.search();
    (shrink.best, shrink.used)
}

type Deviation = ((u32, u32), (u32, usize));

impl Shrink<'_> {
    /// Applies `edit` to windows of the deviations, the larger ones first.
    fn pass(&mut self, edit: impl Fn(&mut Vec<Deviation>, usize, usize)) {
        let mut size = self.best.0.len();
        while size > 0 {
            let mut start = 0;
            let mut smaller = false;
            while start + size <= self.best.0.len() && self.used < self.most {
                let mut attempt = self.best.clone();
                edit(&mut attempt.0, start, start + size);
                if attempt != self.best && self.take(Box::new(Guided::new(attempt)), 1) {
                    smaller = true;
                } else {
                    start += (size / 2).max(1);
                }
            }
            if !smaller {
                size /= 2;
            }
        }
    }

    /// Whether the strategy shows the same failure at a lower cost: what it
    /// really did is the best from there on.
    fn take(&mut self, strategy: Box<dyn Strategy>, executions: u64) -> bool {
        let run = drive(strategy, &self.settings, false, (executions, None), self.body);
        self.used += run.executions as usize;
        let failed = run.failed.filter(|other| other.failure.resembles(&self.failed.failure));
        let Some(failed) = failed.filter(|other| cost(&other.decisions) < self.cost) else {
            return false;
        };
        self.cost = cost(&failed.decisions);
        self.best = Deviations::of(&failed.decisions);
        true
    }

    /// Looks for it depth first, with the bound on preemptions raised.
    fn search(&mut self) {
        for bound in 0..self.cost.0 {
            if self.take(Box::new(Dfs::new(bound as u32)), BELOW) {
                return;
            }
        }
    }
}
