//! Real threads, many times.

use super::{Model, Outcomes, Report, Time};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Runs, and how long they may take together.
const RUNS: u64 = 200;
const LONG: Duration = Duration::from_millis(500);

#[track_caller]
pub(super) fn run<O, B>(model: &Model, outcomes: Outcomes<O>, body: B) -> Report
where
    O: PartialEq + Debug + Send + 'static,
    B: Fn() -> O + Send + Sync + 'static,
{
    let model_time = model.time;
    // Real timers are late, so that a run which waited for one may show what
    // deadlines in their order cannot. (Or another test's did: then less is held.)
    let held = move |before| model_time == Time::Any || clocked() == before;
    repeat(model, &outcomes, RUNS, "stress, on real threads", move |_| {
        let before = clocked();
        let outcome = body();
        (outcome, held(before))
    })
}

#[cfg(all(feature = "model", not(loom)))]
use crate::engine::clocked_so_far as clocked;

/// Nothing counts.
#[cfg(not(all(feature = "model", not(loom))))]
fn clocked() -> u64 {
    0
}

/// Runs the body again and again, beside a watch: one that hangs is told. The
/// body says whether its outcome is held to the set.
#[track_caller]
pub(super) fn repeat<O, B>(
    model: &Model,
    outcomes: &Outcomes<O>,
    runs: u64,
    label: &str,
    body: B,
) -> Report
where
    O: PartialEq + Debug + Send + 'static,
    B: Fn(u64) -> (O, bool) + Send + Sync + 'static,
{
    let (tell, told) = channel();
    let into = outcomes.clone();
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    let start = Instant::now();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        for run in 0..runs {
            let outcome = catch_unwind(AssertUnwindSafe(|| body(run)));
            let outcome = outcome.map(|(outcome, held)| {
                let taken = into.take(outcome);
                if held { taken } else { Ok(()) }
            });
            let last = !matches!(outcome, Ok(Ok(())));
            if tell.send(outcome).is_err() || last || start.elapsed() > LONG {
                return;
            }
        }
    });
    thread.expect("a thread for the runs");
    let name = &model.name;
    let mut ran = 0;
    loop {
        match told.recv_timeout(model.patience) {
            Ok(Ok(Ok(()))) => ran += 1,
            Ok(Ok(Err(outcome))) => panic!("{name}: {outcome} ({label}, run {})", ran + 1),
            Ok(Err(payload)) => resume_unwind(payload),
            Err(RecvTimeoutError::Timeout) => panic!(
                "{name}: run {} ({label}) has not ended for {:?}: a deadlock? The shuttle engine \
                 shows who waits for whom.",
                ran + 1,
                model.patience
            ),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let claim = format!("{label}: {ran} runs showed nothing");
    Report { claim, executions: ran, outcomes: outcomes.count() }
}
