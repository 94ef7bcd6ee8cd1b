//! How far each model was explored: `loom-tests/BOUNDS.md`.
//!
//! Every model appends a line to the file named by `SELVEDGE_BOUNDS`: its name,
//! the engine, the bound, the executions and the outcomes. Both searches are
//! deterministic, so the table is compared whole, counts included: a count that
//! changed means that a model, or the code below it, did.

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Explores every model under loom and shuttle and writes how far to
/// loom-tests/BOUNDS.md.
#[derive(Debug, Parser)]
pub struct Options {
    /// Write nothing; fail if the committed file says something else.
    #[arg(long)]
    pub check: bool,
    /// Take the lines that a run of both engines left here, instead of
    /// running them.
    #[arg(long)]
    pub from: Option<PathBuf>,
}

/// What renews the file.
const RENEW: &str = "cargo run -q -p loom-tests --bin bounds";

const INTRO: &str = "\
# How far the models were explored

Made by `cargo run -q -p loom-tests --bin bounds`, and compared in CI with what the models do. A row is a model: a
few threads or tasks on a block, and the set of outcomes they may have. It passes if the schedules explored reach
exactly that set. An execution is one schedule, run from start to end.

- *loom bound*: every schedule with at most so many preemptions, and for each of them the values that the memory
  orderings allow a load to return, up to what loom leaves out.
- *shuttle bound*: this project's own engine on shuttle's stacks (`crates/selvedge-model`). `every schedule` is a
  search that ended: depth first, or with `one of each class`, where schedules are left out that differ from one that
  was run only in the order of steps which touch nothing in common. `with at most k preemptions, and n sampled`:
  there are more classes than the model's budget of executions, so that with k preemptions all were run, and n others
  were chosen by a fixed seed (partial order sampling, PCT, at random), always the same ones.
- A `-` means that the claim is not one which that engine can show.

What the engines cannot see, and nobody should read into a row:

- **loom 0.7.3** remembers one last access of each atomic, so a thread's own load can hide a race behind it: it leaves
  some schedules out, within its bound too (its issues 166 and 392). Here every actor is a thread of its own, the main
  thread only joins, and shuttle repeats the model. A load never returns a value that is stored later in program
  order (load buffering), nor one that is more than six stores old. A `SeqCst` access counts as `AcqRel`; `selvedge::swap` puts a fence on each side of it. Five
  threads at most. A deadline that lies ahead does not pass, a condition variable wakes nobody without reason, and
  spinning ends at once.
- **shuttle** makes every atomic sequentially consistent: it says nothing about a memory ordering, loom alone does.
  It does not see what the drop of an `Arc` orders, nor its counts. A deadline may pass at any step, however soon.
  Classes assume that actors share nothing but what `selvedge::swap` gives them or what is told of
  (`kit::Foreign`); no wake-up comes without a reason.
- Both explore the small case that is written down, with so many threads and so many operations, and no larger one.

";

/// One line that a model left.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Search {
    bound: String,
    executions: u64,
    outcomes: u64,
}

impl Search {
    /// Whether nothing was left to a sample or a bound.
    fn is_whole(&self) -> bool {
        matches!(&*self.bound, "every schedule" | "every schedule, one of each class")
    }
}

/// By model, then by engine.
type Searches = BTreeMap<String, BTreeMap<String, Search>>;

/// Writes or checks the file of the workspace at `root`.
///
/// # Errors
///
/// If a model fails, or says something that makes no sense, or the file is not
/// up to date.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let lines = match &options.from {
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => explore(root)?,
    };
    let fresh = render(&parse(&lines)?);
    let path = root.join("loom-tests/BOUNDS.md");
    if !options.check {
        fs::write(&path, &fresh)?;
        println!("wrote {}", path.display());
        return Ok(());
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let changes = changes(&committed, &fresh);
    ensure!(
        changes.is_empty(),
        "{} is out of date; `{RENEW}` renews it (- says, + is)\n{}",
        path.display(),
        changes.join("\n")
    );
    println!("loom-tests/BOUNDS.md is up to date");
    Ok(())
}

/// Runs both engines and returns the lines that the models left.
fn explore(root: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bounds");
    let engines = [
        ("", "test -p selvedge --lib -- models::"),
        ("--cfg loom", "test -p loom-tests --test models"),
    ];
    for (flags, command) in engines {
        println!("RUSTFLAGS=\"{flags}\" cargo {command}");
        let output = Command::new("cargo")
            .args(command.split(' '))
            .current_dir(root)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("SELVEDGE_REPLAY")
            .env("RUSTFLAGS", flags)
            .env("SELVEDGE_BOUNDS", &file)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cargo cannot be run")?;
        if !output.status.success() {
            bail!("a model is red\n{}", String::from_utf8_lossy(&output.stdout));
        }
    }
    fs::read_to_string(&file).context("no model left a line")
}

fn parse(lines: &str) -> Result<Searches> {
    let mut searches = Searches::new();
    for line in lines.lines() {
        let [model, engine, bound, executions, outcomes] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            bail!("not a line of a model: {line}");
        };
        let search = Search {
            bound: bound.to_owned(),
            executions: executions.parse().with_context(|| line.to_owned())?,
            outcomes: outcomes.parse().with_context(|| line.to_owned())?,
        };
        let engines = searches.entry(model.to_owned()).or_default();
        let twice = engines.insert(engine.to_owned(), search);
        ensure!(twice.is_none(), "two models are called {model}, or one ran twice under {engine}");
    }
    ensure!(!searches.is_empty(), "no model left a line");
    for engine in ["loom", "shuttle"] {
        let ran = searches.values().any(|engines| engines.contains_key(engine));
        ensure!(ran, "no model ran under {engine}");
    }
    Ok(searches)
}

fn render(searches: &Searches) -> String {
    let mut text = INTRO.to_owned();
    text += "| model | loom bound | loom executions | shuttle bound | shuttle executions | outcomes |\n";
    text += "|---|---|---:|---|---:|---:|\n";
    for (model, engines) in searches {
        let cells = |engine: &str| {
            engines.get(engine).map_or_else(
                || "- | -".to_owned(),
                |search| format!("{} | {}", search.bound, thousands(search.executions)),
            )
        };
        let mut outcomes: Vec<u64> = engines.values().map(|search| search.outcomes).collect();
        outcomes.dedup();
        let outcomes: Vec<String> = outcomes.iter().map(u64::to_string).collect();
        let _ = writeln!(
            text,
            "| `{model}` | {} | {} | {} |",
            cells("loom"),
            cells("shuttle"),
            outcomes.join(" / ")
        );
    }
    let shuttle = || searches.values().filter_map(|engines| engines.get("shuttle"));
    let total = |engine: &str| {
        let of = searches.values().filter_map(|engines| engines.get(engine));
        thousands(of.map(|search| search.executions).sum())
    };
    let _ = writeln!(
        text,
        "\n{} models; {} executions under loom, {} under shuttle, where {} of {} ran every schedule.",
        searches.len(),
        total("loom"),
        total("shuttle"),
        shuttle().filter(|search| search.is_whole()).count(),
        shuttle().count(),
    );
    text
}

/// 12345 as `12,345`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The lines that only one of the two has.
fn changes(committed: &str, fresh: &str) -> Vec<String> {
    let only = |of: &str, other: &str, sign: char| -> Vec<String> {
        let other: Vec<&str> = other.lines().collect();
        of.lines()
            .filter(|line| !other.contains(line))
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    let mut changes = only(committed, fresh, '-');
    changes.extend(only(fresh, committed, '+'));
    if changes.is_empty() && committed != fresh {
        changes.push("the same lines in another order".to_owned());
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "queue::b\tshuttle\tevery schedule with at most 2 preemptions, and 60 sampled\t20000\t2\n\
        counter::a\tloom\tpreemptions <= 3\t1234567\t3\n\
        counter::a\tshuttle\tevery schedule\t999\t3\n";

    #[test]
    fn a_row_a_model() {
        let text = render(&parse(LINES).unwrap());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `counter::a` | preemptions <= 3 | 1,234,567 | every schedule | 999 | 3 |",
                "| `queue::b` | - | - | every schedule with at most 2 preemptions, and 60 sampled \
                 | 20,000 | 2 |",
            ]
        );
        let sum = "2 models; 1,234,567 executions under loom, 20,999 under shuttle, where 1 of 2 \
                   ran every schedule.\n";
        assert!(text.ends_with(sum), "{text}");
    }

    #[test]
    fn lines_that_make_no_sense_are_refused() {
        let one_engine = LINES.lines().find(|line| line.contains("loom")).unwrap();
        let twice = format!("{LINES}{one_engine}\n");
        for bad in ["", "a\tloom\t3\n", "a\tloom\tb\tmany\t1\n", one_engine, &twice] {
            assert!(parse(bad).is_err(), "accepted: {bad}");
        }
    }

    #[test]
    fn a_check_sees_a_count_that_changed_and_a_model_that_left() {
        let committed = render(&parse(LINES).unwrap());
        assert_eq!(changes(&committed, &committed), [""; 0]);
        let counted = render(&parse(&LINES.replace("999", "998")).unwrap());
        assert_eq!(changes(&committed, &counted).len(), 4, "row and sum, old and new");
        let gone: String = LINES.split_inclusive('\n').skip(1).collect();
        let gone = render(&parse(&gone).unwrap());
        assert!(changes(&committed, &gone)[0].starts_with("- | `queue::b`"));
    }

    #[test]
    fn the_file_is_written_and_checked() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("loom-tests")).unwrap();
        let from = root.path().join("lines");
        fs::write(&from, LINES).unwrap();
        let options = |check| Options { check, from: Some(from.clone()) };
        assert!(run(root.path(), &options(true)).is_err());
        run(root.path(), &options(false)).unwrap();
        run(root.path(), &options(true)).unwrap();
        fs::write(&from, LINES.replace("20000", "20001")).unwrap();
        let error = run(root.path(), &options(true)).unwrap_err().to_string();
        assert!(error.contains(RENEW) && error.contains("20,001"), "{error}");
    }
}
