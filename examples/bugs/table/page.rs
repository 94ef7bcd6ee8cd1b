//! All bugs, all engines, all seeds: the page.

use selvedge_bugs::{facade, tasks};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Seeds of the engines that have any.
const SEEDS: u64 = 20;

/// A process that has not ended by then is ended.
const LONG: Duration = Duration::from_secs(90);

/// The threads that loom can have.
const LOOM: usize = 5;

/// What a run told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Found {
        at: u64,
        preemptions: Option<u64>,
    },
    Missed,
    /// It did not come to an end in its time.
    Cut,
}

struct Row {
    name: &'static str,
    source: &'static str,
    minimum: usize,
    /// For each engine: its ends, one a seed; none if it cannot run the row.
    ends: Vec<Vec<End>>,
    /// The engines that take the mended twin for broken.
    alarms: Vec<usize>,
}

/// An engine, whether it has seeds, and whether it is in the build for loom.
struct Engine {
    name: &'static str,
    title: &'static str,
    seeds: bool,
    loom: bool,
}

const fn engine(name: &'static str, title: &'static str, seeds: bool, loom: bool) -> Engine {
    Engine { name, title, seeds, loom }
}

const ENGINES: [Engine; 7] = [
    engine("selvedge", "selvedge", true, false),
    engine("random", "shuttle, random", true, false),
    engine("pct", "shuttle, PCT", true, false),
    engine("stress", "std threads", false, false),
    engine("loom-2", "loom, 2 preemptions", false, true),
    engine("loom-3", "loom, 3 preemptions", false, true),
    engine("selvedge-loom", "selvedge's loom", false, true),
];
const SELVEDGE: usize = 0;
const SHUTTLE: [usize; 2] = [1, 2];

/// Runs one and reads its line.
fn one(program: &Path, engine: &str, row: usize, seed: u64, twin: bool) -> End {
    let mut child = Command::new(program)
        .args(["one", engine, &row.to_string(), &seed.to_string(), &twin.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process for one run");
    let start = Instant::now();
    while child.try_wait().expect("its end").is_none() {
        if start.elapsed() > LONG {
            child.kill().expect("it can be ended");
            child.wait().expect("its end");
            return End::Cut;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("what it printed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = text.lines().last().unwrap_or_default().split(' ').collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
    match words[0] {
        "found" => End::Found { at: number(1).unwrap_or(1), preemptions: number(2) },
        "missed" => End::Missed,
        "cut" => End::Cut,
        _ => panic!("{engine}, row {row}, seed {seed}: {text:?}"),
    }
}

fn row(number: usize, programs: [&Path; 2]) -> Row {
    let threads = facade::chapters::ALL.get(number);
    let (name, source, minimum) = match threads {
        Some(bug) => (bug.name, bug.source, bug.minimum),
        None => {
            let bug = &tasks::ALL[number - facade::chapters::ALL.len()];
            (bug.name, bug.source, bug.minimum)
        }
    };
    let mut row = Row { name, source, minimum, ends: Vec::new(), alarms: Vec::new() };
    for (index, engine) in ENGINES.iter().enumerate() {
        let runs = match threads {
            Some(bug) => !engine.loom || bug.actors <= LOOM,
            None => ["selvedge", "stress"].contains(&engine.name),
        };
        let seeds = if !runs {
            0
        } else if engine.seeds {
            SEEDS
        } else {
            1
        };
        let program = programs[usize::from(engine.loom)];
        row.ends
            .push((0..seeds).map(|seed| one(program, engine.name, number, seed, false)).collect());
        if runs && matches!(one(program, engine.name, number, 0, true), End::Found { .. }) {
            row.alarms.push(index);
        }
    }
    eprintln!("{name}: {:?}", row.ends.iter().map(|ends| median(ends)).collect::<Vec<_>>());
    row
}

/// The executions to the first failure of each seed, in order; never is last.
fn sorted(ends: &[End]) -> Vec<u64> {
    let mut all: Vec<u64> = ends
        .iter()
        .map(|end| match end {
            End::Found { at, .. } => *at,
            End::Missed | End::Cut => u64::MAX,
        })
        .collect();
    all.sort_unstable();
    all
}

fn median(ends: &[End]) -> Option<u64> {
    let all = sorted(ends);
    all.get(all.len().saturating_sub(1) / 2).copied().filter(|at| *at != u64::MAX)
}

fn preemptions(ends: &[End]) -> Option<u64> {
    let of = |end: &End| match end {
        End::Found { preemptions, .. } => *preemptions,
        End::Missed | End::Cut => None,
    };
    ends.iter().filter_map(of).max()
}

fn found(ends: &[End]) -> bool {
    ends.iter().any(|end| matches!(end, End::Found { .. }))
}

fn cell(row: &Row, engine: usize) -> String {
    let ends = &row.ends[engine];
    let number = |at: Option<u64>| at.map_or("-".to_owned(), |at| at.to_string());
    let mut text = match ends.as_slice() {
        [] => "".to_owned(),
        [End::Found { at, .. }] => format!("{at}"),
        [End::Missed] => "-".to_owned(),
        [End::Cut] => "no end".to_owned(),
        _ if !found(ends) => "-".to_owned(),
        _ => {
            let worst = sorted(ends).last().copied().filter(|at| *at != u64::MAX);
            format!("{} / {}", number(median(ends)), number(worst))
        }
    };
    if row.alarms.contains(&engine) {
        text.push_str(" (!)");
    }
    text
}

/// The build for loom.
fn build_for_loom() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/loom-table");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "-q", "-p", "selvedge-bugs", "--example", "table"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", "--cfg loom")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the build for loom failed");
    target.join("release/examples/table")
}

/// Runs all rows, or those that contain a word, and writes or prints the page.
pub(crate) fn make(words: &[String]) {
    let own = std::env::current_exe().expect("this program");
    let loom = build_for_loom();
    let names = facade::chapters::ALL.iter().map(|bug| bug.name);
    let names = names.chain(tasks::ALL.iter().map(|bug| bug.name));
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let numbers: Vec<usize> =
        names.enumerate().filter(|(_, name)| wanted(name)).map(|(number, _)| number).collect();
    let rows = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get().min(4)) {
            scope.spawn(|| {
                // ORDERING: a ticket; what it stands for is not shared.
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = row(*number, [&own, &loom]);
                    rows.lock().expect("no row panicked").push((*number, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no row panicked");
    rows.sort_by_key(|(number, _)| *number);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    let page = page(&rows);
    eprintln!("{} rows in {:?}", rows.len(), start.elapsed());
    if words.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("TABLE.md");
        std::fs::write(path, page).expect("the page can be written");
    } else {
        println!("{page}");
    }
}

fn page(rows: &[Row]) -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("| bug | from |");
    for engine in &ENGINES {
        let _ = write!(out, " {} |", engine.title);
    }
    out.push_str(" preemptions |\n|---|---|");
    out.push_str(&"---|".repeat(ENGINES.len() + 1));
    for row in rows {
        let _ = write!(out, "\n| {} | {} |", row.name, row.source);
        for engine in 0..ENGINES.len() {
            let _ = write!(out, " {} |", cell(row, engine));
        }
        let shown = preemptions(&row.ends[SELVEDGE]);
        let shown = shown.map_or("-".to_owned(), |shown| shown.to_string());
        let _ = write!(out, " {shown} of {} |", row.minimum);
    }
    out.push_str("\n| **found** | |");
    for engine in 0..ENGINES.len() {
        let real = |row: &&Row| found(&row.ends[engine]) && !row.alarms.contains(&engine);
        let count = rows.iter().filter(real).count();
        let runs = rows.iter().filter(|row| !row.ends[engine].is_empty()).count();
        let _ = write!(out, " **{count} of {runs}** |");
    }
    out.push_str(" |\n\n");
    compare(rows, &mut out);
    out
}

/// Ours beside the better of shuttle's two, row by row.
fn compare(rows: &[Row], out: &mut String) {
    let (mut half, mut first, mut others) = (0, Vec::new(), Vec::new());
    let mut compared = 0;
    for row in rows.iter().filter(|row| !row.ends[SHUTTLE[0]].is_empty()) {
        compared += 1;
        let best = SHUTTLE.iter().filter_map(|engine| median(&row.ends[*engine])).min();
        let own = median(&row.ends[SELVEDGE]);
        match (own, best) {
            (Some(own), Some(best)) if own * 2 <= best => half += 1,
            (Some(_), None) => half += 1,
            (Some(1), Some(1)) => first.push(row.name),
            (None, None) => others.push(format!("{} (neither finds it)", row.name)),
            _ => {
                let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
                let reason = match (own, best) {
                    (_, Some(1 | 2)) => "a random schedule mostly fails".to_owned(),
                    (Some(own @ 1..=10), _) => {
                        format!("number {own} of the ten that are tried first shows it")
                    }
                    _ => "none of the ten that are tried first shows it".to_owned(),
                };
                let (own, best) = (number(own), number(best));
                others.push(format!("{} ({own} to {best}: {reason})", row.name));
            }
        }
    }
    let _ = writeln!(
        out,
        "Of the {compared} rows that shuttle runs, selvedge's median is at most half of the better of shuttle's two in \
         {half}.\nBoth find at the first execution, so that there is nothing to halve: {}.\nThe others, selvedge's \
         median to shuttle's, and why: {}.",
        first.join(", "),
        others.join(", ")
    );
}

const INTRODUCTION: &str = "\
# Which checker finds which bug

Written by `cargo run --release -p selvedge-bugs --example table`. Each bug is a file in `src/chapters` (threads) or
`src/tasks` (async tasks), which says what it is; the same source runs on all engines.

A number is the execution in which the bug was first seen: the median and the worst of 20 seeds, or the one number of an
engine without seeds. `-`: not seen, in no seed or in this one. Empty: the engine cannot run it (loom has five threads at
most, and neither bare shuttle nor loom has tasks with a clock). `(!)`: the engine takes the mended twin for broken as
well, so that its finding says nothing, and is not counted.

* **selvedge**: `selvedge_model::Model`, 10,000 executions. It begins with ten schedules that are not random.
* **shuttle**: shuttle 0.9 alone, 10,000 executions, its random scheduler and PCT of depth 3.
* **std threads**: 1,000 runs; one that hangs for two seconds is a finding.
* **loom**: loom 0.7 alone, for at most 20 seconds; `no end`: it was not through by then. `SeqCst` accesses are weaker
  there than in C11, which is the reason for most `(!)`.
* **selvedge's loom**: the facade under `--cfg loom`, at 3 preemptions.
* **preemptions**: in the counterexample that selvedge prints, the most of 20 seeds, and the fewest that can be.

";
