//! One bug, one engine, one seed: one line.

use selvedge_bugs::facade::chapters::ALL;
use selvedge_model::Model;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Executions of an engine that samples; of std's threads a tenth.
const EXECUTIONS: u64 = 10_000;

/// The steps after which an execution counts as endless.
const STEPS: usize = 20_000;

/// Executions that have begun, of the engines that do not count them.
static BEGUN: AtomicU64 = AtomicU64::new(0);

fn begin() {
    // ORDERING: a count, read by the thread that panics.
    BEGUN.fetch_add(1, Ordering::Relaxed);
}

fn begun() -> u64 {
    BEGUN.load(Ordering::Relaxed)
}

/// The first panic tells, and ends the process: what engines do with it after
/// that differs.
fn tell_at_a_panic() {
    std::panic::set_hook(Box::new(|_| {
        println!("found {}", begun());
        std::process::exit(0);
    }));
}

/// Runs, and prints `found EXECUTIONS [PREEMPTIONS]`, `missed EXECUTIONS` or
/// `cut EXECUTIONS`.
pub(crate) fn run(engine: &str, row: usize, seed: u64, twin: bool) {
    match engine {
        #[cfg(not(loom))]
        "selvedge" => selvedge(row, seed, twin),
        #[cfg(loom)]
        "selvedge-loom" => selvedge(row, seed, twin),
        #[cfg(not(loom))]
        "stress" => stress(row, twin),
        #[cfg(not(loom))]
        "random" | "pct" => shuttle(engine, row, seed, twin),
        #[cfg(loom)]
        "loom-2" => loom(row, 2, twin),
        #[cfg(loom)]
        "loom-3" => loom(row, 3, twin),
        _ => panic!("no engine named {engine}"),
    }
}

/// The facade, with its own engine.
fn selvedge(row: usize, seed: u64, twin: bool) {
    let most = if twin { EXECUTIONS / 10 } else { EXECUTIONS };
    let model = |name| {
        Model::new(name).seed(seed).executions(most).steps(STEPS).duration(Duration::from_secs(30))
    };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        if let Some(bug) = ALL.get(row) {
            let report = model(bug.name).holds(move || (bug.run)(twin));
            return report.executions;
        }
        #[cfg(not(loom))]
        {
            let bug = &selvedge_bugs::tasks::ALL[row - ALL.len()];
            model(bug.name).holds_async(move || (bug.run)(twin)).executions
        }
        #[cfg(loom)]
        panic!("loom has no tasks")
    }));
    match ended {
        Ok(executions) => println!("missed {executions}"),
        Err(payload) => {
            let report = payload.downcast::<String>().map_or_else(|_| String::new(), |text| *text);
            let number = |before: &str| {
                let rest = report.split_once(before)?.1;
                rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
            };
            // loom's reports are loom's own, but for outcomes.
            let executions = number("failed in execution ").unwrap_or(1);
            let preemptions = number(&format!("failed in execution {executions}; "));
            println!("found {executions} {}", preemptions.map_or(String::new(), |n| n.to_string()));
        }
    }
}

/// std's threads. A run that has not ended after two seconds never will.
#[cfg(not(loom))]
fn stress(row: usize, twin: bool) {
    if let Some(bug) = crate::real::chapters::ALL.get(row) {
        repeat(move || (bug.run)(twin));
    } else {
        let bug = &selvedge_bugs::tasks::ALL[row - ALL.len()];
        repeat(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async { tokio::spawn((bug.run)(twin)).await }).expect("it ends");
        });
    }
}

#[cfg(not(loom))]
fn repeat(body: impl Fn() + Send + 'static) {
    tell_at_a_panic();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..EXECUTIONS / 10 {
            begin();
            body();
            let _ = tell.send(());
        }
    });
    loop {
        match told.recv_timeout(Duration::from_secs(2)) {
            Ok(()) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                println!("found {}", begun());
                std::process::exit(0);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    println!("missed {}", begun());
}

/// shuttle alone.
#[cfg(not(loom))]
fn shuttle(engine: &str, row: usize, seed: u64, twin: bool) {
    use ::shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    use ::shuttle::{Config, FailurePersistence, MaxSteps, Runner};
    tell_at_a_panic();
    let most = if twin { EXECUTIONS / 10 } else { EXECUTIONS } as usize;
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.max_time = Some(Duration::from_secs(30));
    config.silence_warnings = true;
    let scheduler: Box<dyn Scheduler + Send> = match engine {
        "random" => Box::new(RandomScheduler::new_from_seed(seed, most)),
        _ => Box::new(PctScheduler::new_from_seed(seed, 3, most)),
    };
    let bug = &crate::modelled::chapters::ALL[row];
    Runner::new(scheduler, config).run(move || {
        begin();
        (bug.run)(twin);
    });
    println!("missed {}", begun());
}

/// loom alone.
#[cfg(loom)]
fn loom(row: usize, preemptions: usize, twin: bool) {
    tell_at_a_panic();
    let most = Duration::from_secs(20);
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = STEPS;
    builder.max_duration = Some(most);
    builder.max_permutations = twin.then_some(EXECUTIONS as usize);
    let bug = &crate::loomed::chapters::ALL[row];
    let start = std::time::Instant::now();
    builder.check(move || {
        begin();
        (bug.run)(twin);
    });
    let end = if start.elapsed() >= most { "cut" } else { "missed" };
    println!("{end} {}", begun());
}
