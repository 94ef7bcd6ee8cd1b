//! A failing schedule with fewer surprises in it.

use super::drive::{Body, Failed, drive};
use super::exec::{Decision, Settings};
use super::strategy::Guided;
use std::fmt;

/// A schedule, told by where it leaves the default: before a task's nth
/// choice, another goes on. The default lets the task that runs go on, else
/// the oldest that can, else the earliest deadline pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Deviations(Vec<((u32, u32), (u32, usize))>);

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

/// Tries to leave deviations out, larger parts first, as long as the failure
/// stays the same one. What is left, and how often the body was run.
pub(crate) fn shrink(
    failed: &Failed,
    settings: &Settings,
    body: &Body,
    attempts: usize,
) -> (Deviations, usize) {
    let mut best = Deviations::of(&failed.decisions);
    let mut settings = settings.clone();
    settings.steps = settings.steps.min(failed.steps * 4 + 200);
    let mut used = 0;
    let fails = |attempt: &Deviations, used: &mut usize| {
        *used += 1;
        let strategy = Box::new(Guided::new(attempt.clone()));
        let run = drive(strategy, &settings, false, (1, None), body);
        let failed = run.failed.filter(|other| other.failure.resembles(&failed.failure));
        failed.map(|failed| (Deviations::of(&failed.decisions), failed.steps))
    };
    let mut size = best.0.len().max(1);
    loop {
        let mut start = 0;
        let mut smaller = false;
        while start < best.0.len() && used < attempts {
            let end = (start + size).min(best.0.len());
            let mut attempt = best.clone();
            attempt.0.drain(start..end);
            match fails(&attempt, &mut used) {
                // What it really did, which may be less still.
                Some((real, _)) if real.0.len() < best.0.len() => {
                    best = real;
                    smaller = true;
                }
                _ => start = end,
            }
        }
        if used >= attempts || (size == 1 && !smaller) {
            return (best, used);
        }
        if !smaller {
            size = (size / 2).max(1);
        }
    }
}
