//! Shows that the checks can fail.
//!
//! `loom-tests/seeded/BLOCK/` holds patches on the real source, each a bug,
//! and a `table.toml` that names the test which must find it:
//!
//! ```toml
//! [[bug]]
//! name = "notify_one_on_close"       # notify_one_on_close.patch
//! breaks = "close wakes one waiter instead of all"
//! engine = "loom"                    # or "shuttle", or "std"
//! test = "models::queue::close_wakes_every_waiter"
//! # engine = "std" only: target = "--test queue", and package = "…" if not selvedge
//! # hangs = true: running out of time is being caught; timeout = 20: in seconds
//! ```
//!
//! The source is copied once. In the copy the named test must exist and pass;
//! then the patch goes in, must compile, and exactly that test must fail; then
//! the patch comes out again. A patch that no longer fits is an error, and so
//! is one that does not compile: neither says anything about the check.

mod cargo;
mod scratch;
mod table;
mod verdict;

use anyhow::{Context as _, Result, bail, ensure};
use cargo::{Cargo, Ran};
use clap::Parser;
use scratch::Scratch;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use table::{Bug, Engine, Suite};
use verdict::{Ended, Verdict};

/// Puts known bugs into a copy of the source, one at a time, and shows that
/// the check named for each turns red.
#[derive(Debug, Parser)]
pub struct Options {
    /// Only bugs whose `block/name` contains one of these.
    pub filters: Vec<String>,
    /// Say which bugs there are and run nothing.
    #[arg(long)]
    pub list: bool,
    /// Print how each test failed.
    #[arg(long)]
    pub why: bool,
    /// Seconds that one run of one test may take.
    #[arg(long, default_value_t = 180)]
    pub timeout: u64,
    /// Where to keep build output from run to run, instead of the target
    /// folder of the workspace.
    #[arg(long)]
    pub target_dir: Option<PathBuf>,
}

/// Runs the bugs of the workspace at `root` and reports to `out`; whether each
/// was caught.
///
/// # Errors
///
/// If the tables are wrong, a patch is stale, or a test is not green without
/// any bug.
pub fn run(root: &Path, options: &Options, out: &mut dyn Write) -> Result<bool> {
    let mut bugs = table::read_all(&root.join("loom-tests/seeded"))?;
    let wanted = |bug: &Bug| {
        options.filters.is_empty() || options.filters.iter().any(|part| bug.id().contains(part))
    };
    bugs.retain(wanted);
    ensure!(!bugs.is_empty(), "no bug is called like that");
    if options.list {
        for bug in &bugs {
            writeln!(out, "{:<40} {} ({} {})", bug.id(), bug.breaks, engine(bug), bug.test)?;
        }
        return Ok(true);
    }

    let scratch = Scratch::copy_of(root).context("the source cannot be copied")?;
    let stale: Vec<String> = bugs
        .iter()
        .filter_map(|bug| {
            let why = scratch.fits(&bug.patch).err()?;
            Some(format!("stale patch {}: {why:#}", bug.id()))
        })
        .collect();
    ensure!(stale.is_empty(), "{}", stale.join("\n"));

    let target = options.target_dir.clone().unwrap_or_else(|| crate::target_dir(root));
    let _alone = only_run(&target)?;
    let cargo = Cargo { source: scratch.path(), target: &target };
    let mut caught = 0;
    for suite in bugs.chunk_by(|one, next| one.suite() == next.suite()) {
        require_green(&cargo, suite, options)?;
        for bug in suite {
            let start = Instant::now();
            let report = try_bug(&cargo, &scratch, bug, options)?;
            caught += usize::from(report.word == "caught");
            let seconds = start.elapsed().as_secs_f64();
            let by = format!("by {} {}", engine(bug), bug.test);
            let note = report.note.map_or_else(String::new, |note| format!(": {note}"));
            writeln!(out, "{:<7} {:<40} {by}{note}  ({seconds:.1} s)", report.word, bug.id())?;
            if let Some(detail) = report.detail {
                writeln!(out, "        {}", detail.replace('\n', "\n        "))?;
            }
            out.flush()?;
        }
    }
    writeln!(out, "caught {caught} of {}", bugs.len())?;
    Ok(caught == bugs.len())
}

/// Waits until no other run uses the same build output: one would run what the
/// other has just built from its bug.
fn only_run(target: &Path) -> Result<File> {
    fs::create_dir_all(target)?;
    let lock = File::create(target.join("seeded.lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(lock)
}

struct Report {
    word: &'static str,
    note: Option<String>,
    detail: Option<String>,
}

fn try_bug(cargo: &Cargo<'_>, scratch: &Scratch, bug: &Bug, options: &Options) -> Result<Report> {
    let applied = scratch.apply(&bug.patch).with_context(|| format!("stale patch {}", bug.id()))?;
    let built = cargo.build(&bug.suite())?;
    let report = if built.ended == Ended::Well {
        let limit = Duration::from_secs(bug.timeout.unwrap_or(options.timeout));
        let ran = cargo.run(&bug.suite(), &[&bug.test], limit)?;
        judge(bug, &ran, options)
    } else {
        let note = Some("does not compile".to_owned());
        Report { word: "ERROR", note, detail: Some(built.tail()) }
    };
    scratch.revert(applied)?;
    Ok(report)
}

fn judge(bug: &Bug, ran: &Ran, options: &Options) -> Report {
    let verdict = verdict::classify(&ran.stdout, &ran.stderr, ran.ended);
    let (word, note) = match verdict {
        Verdict::Failed => ("caught", None),
        Verdict::Died(how) => ("caught", Some(format!("the test process died, {how}"))),
        Verdict::Hung if bug.hangs => ("caught", Some("it hangs, as it should".to_owned())),
        Verdict::Hung => ("MISSED", Some("it hangs".to_owned())),
        Verdict::Passed => ("MISSED", Some(format!("although {}", bug.breaks))),
        Verdict::NotRun(why) => ("ERROR", Some(why)),
    };
    let detail = match word {
        "caught" if options.why => verdict::panic_message(&ran.stdout, &ran.stderr),
        "caught" => None,
        _ => Some(ran.tail()),
    };
    Report { word, note, detail }
}

/// Without any bug, each test of these must exist and pass.
fn require_green(cargo: &Cargo<'_>, bugs: &[Bug], options: &Options) -> Result<()> {
    let suite: Suite = bugs[0].suite();
    let built = cargo.build(&suite)?;
    if built.ended != Ended::Well {
        bail!("without any bug, {} does not compile\n{}", suite.select.join(" "), built.tail());
    }
    let tests: BTreeSet<&str> = bugs.iter().map(|bug| bug.test.as_str()).collect();
    let tests: Vec<&str> = tests.into_iter().collect();
    let limit = Duration::from_secs(options.timeout).saturating_mul(tests.len() as u32);
    let ran = cargo.run(&suite, &tests, limit)?;
    let not_green: Vec<&str> =
        tests.iter().copied().filter(|test| !verdict::passed(&ran.stdout, test)).collect();
    if !not_green.is_empty() || verdict::all_passed(&ran.stdout, ran.ended) != Some(tests.len()) {
        bail!("missing or red without any bug: {}\n{}", not_green.join(", "), ran.tail());
    }
    Ok(())
}

fn engine(bug: &Bug) -> &'static str {
    match bug.engine {
        Engine::Std => "std",
        Engine::Shuttle => "shuttle",
        Engine::Loom => "loom",
    }
}
