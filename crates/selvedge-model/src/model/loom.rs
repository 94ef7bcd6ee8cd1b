//! loom: memory orderings.

use super::{Model, Outcomes, Report};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    let (into, ran) = (outcomes.clone(), Arc::new(AtomicU64::new(0)));
    let (name, count) = (model.name.clone(), Arc::clone(&ran));
    builder.check(move || {
        // ORDERING: a count, which orders nothing and is read by one thread.
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(outcome) = into.take(body()) {
            panic!("{name}: {outcome} (loom, at most {bound} preemptions; execution {number})");
        }
    });
    let (name, ran) = (&model.name, ran.load(Ordering::Relaxed));
    let claim = format!(
        "every schedule and weak read that loom knows, with at most {bound} preemptions ({ran} executions)"
    );
    assert!(
        ran > 1,
        "{name}: there is one schedule only: what the threads share must come from selvedge_model::sync"
    );
    if let Some(missed) = outcomes.missed() {
        panic!("{name}: outcomes that no execution reached: {missed} ({claim})");
    }
    Report { claim, executions: ran, outcomes: outcomes.count() }
}
