//! tokio's paused clock, and polls that a seed puts off.

use super::stress::repeat;
use super::{Model, Outcomes, Report};
use std::fmt::Debug;

/// Seeds to try.
const SEEDS: u64 = 64;

#[track_caller]
pub(super) fn run<O, B, F>(model: &Model, outcomes: &Outcomes<O>, body: B) -> Report
where
    O: PartialEq + Debug + Send + 'static,
    B: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = O> + Send + 'static,
{
    let first = model.seed;
    let label = format!("paused clock, polls put off by seeds from {first}");
    repeat(model, outcomes, SEEDS, &label, move |run| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        // The first as tokio has it.
        let outcome = match run {
            0 => runtime.block_on(body()),
            run => crate::task::perturbed(first + run, |body| runtime.block_on(body), body()),
        };
        (outcome, true)
    })
}
