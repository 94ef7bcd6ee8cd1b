//! Everything at once: 10,000 tasks while workers are killed, tasks die and
//! panic, results do too, and file descriptors run out now and then. No task
//! gets the value of another, none is blamed that did nothing, none is lost,
//! none runs or ends twice.
//!
//! The seed is printed; `SELVEDGE_SEED` gives it. It decides what the tasks do;
//! the kernel decides what the kills hit.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "kills processes")]

use selvedge::nz;
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::{Fault, Pool};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TASKS: u32 = 10_000;

/// Results above this travel in a file of their own.
const INLINE: usize = 64 << 10;

/// Set in workers alone.
const WORKER: &str = "STORM_WORKER";

/// Set in the process that the storm has for itself: it runs out of
/// descriptors, which no other test is to notice.
const ALONE: &str = "STORM_ALONE";

fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// A number below `sides`, the same for a task in both processes.
fn dice(seed: u64, task: u32, throw: u64, sides: u64) -> u64 {
    mix(seed ^ mix(u64::from(task) << 8 | throw)) % sides
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Returns,
    Panics,
    KillsItself,
    Exits,
    ItsResultPanics,
}

fn part(seed: u64, task: u32) -> Part {
    match dice(seed, task, 0, 200) {
        0 => Part::KillsItself,
        1 => Part::Exits,
        2 | 3 => Part::Panics,
        4..=6 => Part::ItsResultPanics,
        _ => Part::Returns,
    }
}

/// Mostly small; one in thirty up to 1 MiB.
fn length(seed: u64, task: u32) -> usize {
    let most = match dice(seed, task, 1, 30) {
        0 => 1 << 20,
        1 | 2 => 100_000,
        _ => 500,
    };
    dice(seed, task, 2, most + 1) as usize
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    seed: u64,
    task: u32,
    /// Now and then long enough for a file of its own.
    ballast: String,
}

fn item(seed: u64, task: u32) -> Item {
    let ballast = if dice(seed, task, 3, 100) == 0 { 80_000 } else { 3 };
    Item { seed, task, ballast: "b".repeat(ballast) }
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Value {
    task: u32,
    panics: bool,
    body: String,
}

impl Value {
    /// What this task, and no other, returns.
    fn of(seed: u64, task: u32) -> Self {
        let letter = char::from(b'a' + dice(seed, task, 4, 26) as u8);
        let body = letter.to_string().repeat(length(seed, task));
        Self { task, panics: part(seed, task) == Part::ItsResultPanics, body }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if self.panics && std::env::var_os(WORKER).is_some() {
            panic!("the result of {}", self.task);
        }
    }
}

fn run(log: &String, item: Item) -> Value {
    let Item { seed, task, .. } = item;
    // One write: whole, whoever dies.
    let mut log = File::options().append(true).create(true).open(log).unwrap();
    log.write_all(&task.to_le_bytes()).unwrap();
    match part(seed, task) {
        Part::Returns | Part::ItsResultPanics => {}
        Part::Panics => panic!("the task {task}"),
        Part::Exits => std::process::exit(3),
        Part::KillsItself => loop {
            // SAFETY: kills this process and nothing else.
            unsafe { libc::raise(libc::SIGKILL) };
        },
    }
    Value::of(seed, task)
}

/// What the storm did, and until when.
#[derive(Default)]
struct Weather {
    over: AtomicBool,
    kills: AtomicUsize,
    shortages: AtomicUsize,
}

impl Weather {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Kills some worker every few milliseconds.
    fn kill(&self, seed: u64, pool: &Pool<String>) {
        let mut n = 0;
        while self.goes_on() {
            std::thread::sleep(Duration::from_millis(1 + dice(seed, n, 10, 30)));
            let pids = pool.worker_pids();
            if let Some(pid) = pids.get(dice(seed, n, 11, 3) as usize) {
                // SAFETY: a signal to a worker of this test.
                unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
                self.kills.fetch_add(1, Ordering::Relaxed);
            }
            n += 1;
        }
    }

    /// Takes every descriptor that there is, for a moment, every few
    /// milliseconds.
    fn run_short(&self, seed: u64) {
        let mut n = 0;
        while self.goes_on() {
            std::thread::sleep(Duration::from_millis(5 + dice(seed, n, 20, 20)));
            let mut taken = Vec::new();
            while let Ok(file) = File::open("/dev/null") {
                taken.push(file);
            }
            self.shortages.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(100 + dice(seed, n, 21, 1_500)));
            n += 1;
        }
    }
}

#[test]
fn ten_thousand_tasks_in_a_storm() {
    let name = "ten_thousand_tasks_in_a_storm";
    if std::env::var_os(ALONE).is_some() {
        return storm();
    }
    let seed = std::env::var("SELVEDGE_SEED").unwrap_or_else(|_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (mix(now.as_nanos() as u64) % 1_000_000).to_string()
    });
    println!("seed {seed}: repeat it with SELVEDGE_SEED={seed}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .envs([(ALONE, "1"), ("SELVEDGE_SEED", &seed)])
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
}

fn storm() {
    let seed = std::env::var("SELVEDGE_SEED").unwrap().parse().expect("SELVEDGE_SEED is a number");
    // Few, so that they are soon taken.
    let limit = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
    // SAFETY: a limit of this process and its children.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("starts").to_str().unwrap().to_owned();
    let pool = Pool::builder().workers(nz!(3)).env(WORKER, "1").context(log.clone()).build();
    let pool = pool.unwrap();

    let weather = Weather::default();
    let began = Instant::now();
    let mut killed = 0;
    let mut ends = BTreeMap::<&str, u32>::new();
    std::thread::scope(|scope| {
        let weather = &weather;
        let over = Over(weather);
        scope.spawn(|| weather.kill(seed, &pool));
        scope.spawn(|| weather.run_short(seed));
        scope.spawn(|| {
            while weather.goes_on() {
                if began.elapsed() > Duration::from_secs(120) {
                    eprintln!("seed {seed}: a task never ended: {pool:?}");
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let mut stream = pool.stream_with(run, (0..TASKS).map(|n| item(seed, n)), nz!(500));
        for task in 0..TASKS {
            let report = stream.next().expect("one report a task");
            assert_eq!(report.index, task as usize);
            let what = fair(seed, task, report.outcome);
            killed += usize::from(what == "killed");
            *ends.entry(what).or_default() += 1;
        }
        assert!(stream.next().is_none(), "one report a task and no more");
        drop(over);
    });

    let (kills, shortages) = (weather.kills.into_inner(), weather.shortages.into_inner());
    assert!(killed <= kills, "{killed} tasks blamed for {kills} kills");
    let mut starts = vec![0; TASKS as usize];
    for task in std::fs::read(&log).unwrap().chunks_exact(4) {
        starts[u32::from_le_bytes(task.try_into().unwrap()) as usize] += 1;
    }
    let twice: Vec<usize> = (0..starts.len()).filter(|task| starts[*task] > 1).collect();
    assert!(twice.is_empty(), "run twice: {twice:?}");
    println!(
        "{TASKS} tasks in {:?}, {kills} kills, {shortages} shortages of descriptors: {ends:?}",
        began.elapsed()
    );
    assert!(kills > 10 && shortages > 10 && ends["value"] > TASKS * 9 / 10, "it was no storm");
}

/// Ends the weather, also where a check fails.
struct Over<'w>(&'w Weather);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// What a task may come to, by what it does and what can be done to it.
fn fair(seed: u64, task: u32, outcome: Outcome<Value, Fault>) -> &'static str {
    let part = part(seed, task);
    match (part, outcome) {
        (Part::Returns, Outcome::Ok(value)) => {
            assert!(value == Value::of(seed, task), "task {task} has the value of {}", value.task);
            "value"
        }
        (Part::Panics, Outcome::Panicked(panic)) => {
            assert_eq!(panic.message(), format!("the task {task}"));
            "panic"
        }
        (Part::ItsResultPanics, Outcome::Panicked(panic)) => {
            assert_eq!(panic.message(), format!("the result of {task}"));
            "panic of a result"
        }
        (Part::KillsItself, Outcome::Crashed(Crash::Signal(libc::SIGKILL)))
        | (Part::Exits, Outcome::Crashed(Crash::Exit(3))) => "crash of its own",
        // Whatever it is: it ran when a worker was killed. Counted above.
        (_, Outcome::Crashed(Crash::Signal(libc::SIGKILL))) => "killed",
        // Large ones alone, and the reason is the right one.
        (Part::Returns, Outcome::Err(Fault::Undelivered(why))) => {
            assert!(why.contains("no file descriptor left"), "task {task}: {why}");
            assert!(length(seed, task) > INLINE - 100, "task {task} is small: {why}");
            "no descriptor for the result"
        }
        (_, Outcome::Err(Fault::Encode(why))) => {
            assert!(why.starts_with("the item: ") && why.contains("os error 24"), "{task}: {why}");
            assert!(item(seed, task).ballast.len() > INLINE, "task {task} is small: {why}");
            "no descriptor for the item"
        }
        (_, other) => panic!("task {task}, which {part:?}: {:?}", other.map_value()),
    }
}

trait MapValue {
    fn map_value(self) -> String;
}

impl MapValue for Outcome<Value, Fault> {
    fn map_value(self) -> String {
        match self {
            Outcome::Ok(value) => format!("the value of task {}", value.task),
            other => other.to_string(),
        }
    }
}
