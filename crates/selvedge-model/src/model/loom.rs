//! loom: memory orderings.

use super::{Model, Outcomes, Report};
use crate::loom_engine::{self, Failed};
use std::fmt::Debug;

#[track_caller]
pub(super) fn run<O, B>(model: &Model, outcomes: &Outcomes<O>, body: B) -> Report
where
    O: PartialEq + Debug + Send + 'static,
    B: Fn() -> O + Send + Sync + 'static,
{
    let bound = model.preemptions.unwrap_or(3) as usize;
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = model.steps;
    let replay = replayed(model);
    if let Some(number) = replay {
        // loom looks at its bounds before the executions with such numbers.
        builder.max_permutations = Some(number + 1);
        builder.checkpoint_interval = number + 1;
        builder.location = true;
    }
    let into = outcomes.clone();
    let explored = loom_engine::explore(builder, move || into.take(body()));
    let name = &model.name;
    let explored = match explored {
        Ok(explored) => explored,
        Err(failed) => panic!("{}", told(model, &failed, bound)),
    };
    let ran = explored.executions;
    if let Some(number) = replay {
        let claim = format!("replayed: the first {number} executions do not fail any more");
        return Report { claim, executions: ran, outcomes: outcomes.count() };
    }
    let claim = format!(
        "every schedule and weak read that loom knows, with at most {bound} preemptions ({ran} executions)"
    );
    assert!(
        ran > 1,
        "{name}: there is one schedule only: either nothing happens at the same time (is each \
         thread joined before the next is started?), or what the threads share does not come from \
         selvedge::sync"
    );
    for line in &model.lines {
        assert!(
            explored.marks.contains(line),
            "{name}: no execution reached reachable!({line:?}) ({claim})"
        );
    }
    if let Some(missed) = outcomes.missed() {
        panic!("{name}: outcomes that no execution reached: {missed} ({claim})");
    }
    Report { claim, executions: ran, outcomes: outcomes.count() }
}

/// What `SELVEDGE_REPLAY` asks for: loom tries schedules in the same order each
/// time, so that the number of the one that failed names it.
#[track_caller]
fn replayed(model: &Model) -> Option<usize> {
    let told = std::env::var("SELVEDGE_REPLAY").ok()?;
    let number = told.strip_prefix(&model.replay_prefix())?;
    Some(number.parse().unwrap_or_else(|_| {
        panic!("{}: SELVEDGE_REPLAY: {number:?} is no number of an execution", model.name)
    }))
}

fn told(model: &Model, failed: &Failed, bound: usize) -> String {
    let claim = format!("loom, at most {bound} preemptions");
    let schedule = format!("{}{}", model.replay_prefix(), failed.execution());
    let test = model.test();
    let command = format!(
        "SELVEDGE_REPLAY='{schedule}' RUSTFLAGS=\"--cfg loom\" cargo test --lib --tests {test} -- --exact"
    );
    failed.text(&model.name, &claim, &command)
}
