//! Every bug is found, with few preemptions, and every twin passes.

#![cfg(not(loom))]

use selvedge_bugs::{facade, tasks};
use selvedge_model::Model;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Executions that are enough for all but those.
const ENOUGH: u64 = 400;

/// What is not found in so few executions, or not at all: `SafeStack` needs five
/// preemptions, and `idle worker` is a matter of memory orderings, which loom
/// shows.
const MISSED: [&str; 2] = ["SafeStack", "idle worker"];

fn model(name: &str, executions: u64) -> Model {
    Model::new(name).executions(executions).duration(Duration::from_secs(60))
}

/// The preemptions that the report of a failure tells of.
fn preemptions(report: &str) -> usize {
    let line = report.lines().find(|line| line.starts_with("(shuttle, ")).expect("such a line");
    let count = line.split("; ").nth(2).and_then(|part| part.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count: {line}"))
}

fn check(name: &str, minimum: usize, run: impl FnOnce()) {
    let end = catch_unwind(AssertUnwindSafe(run));
    match end {
        Ok(()) => assert!(MISSED.contains(&name), "{name} was not found"),
        Err(payload) => {
            let report = payload.downcast::<String>().expect("a text");
            assert!(!MISSED.contains(&name), "{name} is found after all");
            let shown = preemptions(&report);
            assert!(shown <= minimum + 2, "{name}: {shown} preemptions, not {minimum}: {report}");
        }
    }
}

#[test]
fn bugs_of_threads_are_found() {
    for bug in facade::chapters::ALL {
        let run = bug.run;
        check(bug.name, bug.minimum, move || {
            model(bug.name, ENOUGH).holds(move || run(false));
        });
    }
}

#[test]
fn mended_bugs_of_threads_are_none() {
    for bug in facade::chapters::ALL {
        let run = bug.run;
        model(bug.name, 200).holds(move || run(true));
    }
}

#[test]
fn bugs_of_tasks_are_found() {
    for bug in tasks::ALL {
        let run = bug.run;
        check(bug.name, bug.minimum, move || {
            model(bug.name, ENOUGH).holds_async(move || run(false));
        });
    }
}

#[test]
fn mended_bugs_of_tasks_are_none() {
    for bug in tasks::ALL {
        let run = bug.run;
        model(bug.name, 200).holds_async(move || run(true));
    }
}
