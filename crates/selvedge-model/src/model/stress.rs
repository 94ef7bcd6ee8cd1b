//! Real threads, many times.

use super::{Model, Outcomes, Report};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Runs, and how long they may take together.
const RUNS: u64 = 200;
const LONG: Duration = Duration::from_millis(500);

/// A run that has not ended by then never will.
const HUNG: Duration = Duration::from_secs(30);

#[track_caller]
pub(super) fn run<O, B>(model: &Model, outcomes: Outcomes<O>, body: B) -> Report
where
    O: PartialEq + Debug + Send + 'static,
    B: Fn() -> O + Send + Sync + 'static,
{
    repeat(model, &outcomes, RUNS, "stress, on real threads", move |_| body())
}

/// Runs the body again and again, beside a watch: one that hangs is told.
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
    B: Fn(u64) -> O + Send + Sync + 'static,
{
    let (tell, told) = channel();
    let into = outcomes.clone();
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    let start = Instant::now();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        for run in 0..runs {
            let outcome = catch_unwind(AssertUnwindSafe(|| body(run)));
            let outcome = outcome.map(|outcome| into.take(outcome));
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
        match told.recv_timeout(HUNG) {
            Ok(Ok(Ok(()))) => ran += 1,
            Ok(Ok(Err(outcome))) => panic!("{name}: {outcome} ({label}, run {})", ran + 1),
            Ok(Err(payload)) => resume_unwind(payload),
            Err(RecvTimeoutError::Timeout) => panic!(
                "{name}: run {} ({label}) has not ended for {HUNG:?}: a deadlock? The shuttle \
                 engine shows who waits for whom.",
                ran + 1
            ),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let claim = format!("{label}: {ran} runs showed nothing");
    Report { claim, executions: ran, outcomes: outcomes.count() }
}
