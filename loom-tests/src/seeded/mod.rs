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
mod lane;
mod scratch;
mod table;
mod verdict;

use anyhow::{Context as _, Result, ensure};
use cargo::Cargo;
use clap::Parser;
use lane::Lane;
use scratch::Scratch;
use std::fs::{self, File};
use std::io::Write;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use table::{Bug, Engine};

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

    let target = options.target_dir.clone().unwrap_or_else(|| crate::target_dir(root));
    let _alone = only_run(&target)?;
    let copy = || Scratch::copy_of(root).context("the source cannot be copied");
    // The engines share no build output: a lane for each, side by side.
    let scratches = [copy()?, copy()?, copy()?];
    require_fresh(&scratches[0], &bugs)?;

    let gave_up = AtomicBool::new(false);
    let (lines, report) = mpsc::channel();
    let caught = thread::scope(|scope| {
        let mut lanes = Vec::new();
        for (engine, scratch) in [Engine::Std, Engine::Shuttle, Engine::Loom].iter().zip(&scratches)
        {
            let bugs: Vec<&Bug> = bugs.iter().filter(|bug| bug.engine == *engine).collect();
            let cargo = Cargo { source: scratch.path(), target: &target };
            let lines = lines.clone();
            let lane = Lane { cargo, scratch, options, lines, gave_up: &gave_up };
            lanes.push(scope.spawn(move || lane.run(&bugs)));
        }
        drop(lines);
        // Ends when all lanes have: each drops its sender.
        for line in report {
            out.write_all(String::as_bytes(&line))?;
            out.flush()?;
        }
        let caught =
            |lane: ScopedJoinHandle<'_, _>| lane.join().unwrap_or_else(|p| resume_unwind(p));
        lanes.into_iter().map(caught).sum::<Result<usize>>()
    })?;
    writeln!(out, "caught {caught} of {}", bugs.len())?;
    Ok(caught == bugs.len())
}

/// Every patch still fits the source.
fn require_fresh(scratch: &Scratch, bugs: &[Bug]) -> Result<()> {
    let stale = |bug: &Bug| {
        let why = scratch.fits(&bug.patch).err()?;
        Some(format!("stale patch {}: {why:#}", bug.id()))
    };
    let stale: Vec<String> = bugs.iter().filter_map(stale).collect();
    ensure!(stale.is_empty(), "{}", stale.join("\n"));
    Ok(())
}

/// Waits until no other run uses the same build output: one would run what the
/// other has just built from its bug.
fn only_run(target: &Path) -> Result<File> {
    fs::create_dir_all(target)?;
    let lock = File::create(target.join("seeded.lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(lock)
}

fn engine(bug: &Bug) -> &'static str {
    match bug.engine {
        Engine::Std => "std",
        Engine::Shuttle => "shuttle",
        Engine::Loom => "loom",
    }
}
