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
use std::str::FromStr;
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
    /// Only one share of the bugs, as `1/3`, `2/3` or `3/3`: the shares are of
    /// about the same size and together hold each bug once.
    #[arg(long, default_value = "1/1")]
    pub share: Share,
    /// Print how each test failed.
    #[arg(long)]
    pub why: bool,
    /// Seconds that one run of one test may take: many times what the longest
    /// takes on a machine with nothing else to do.
    #[arg(long, default_value_t = 600)]
    pub timeout: u64,
    /// Where to keep build output from run to run, instead of the target
    /// folder of the workspace.
    #[arg(long)]
    pub target_dir: Option<PathBuf>,
}

/// One of `of` parts of about the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    number: usize,
    of: usize,
}

impl Share {
    fn part<T>(self, all: &[T]) -> &[T] {
        let bound = |number| all.len() * number / self.of;
        &all[bound(self.number - 1)..bound(self.number)]
    }
}

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (number, of) = text.split_once('/').context("a share is like 1/3")?;
        let (number, of) = (number.parse()?, of.parse()?);
        ensure!((1..=of).contains(&number), "share {number} of {of}: they are counted from 1");
        Ok(Self { number, of })
    }
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
    let all = bugs.len();
    // Bugs of one suite stand together: each suite is built anew. Each lane
    // gets its part.
    let lanes = bugs.chunk_by(|one, next| one.engine == next.engine);
    bugs = lanes.flat_map(|lane| options.share.part(lane)).cloned().collect();
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
    let of_all = if bugs.len() == all { String::new() } else { format!(", a share of {all}") };
    writeln!(out, "caught {caught} of {}{of_all}", bugs.len())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_hold_each_bug_once() {
        for (of, len) in [(1, 7), (2, 7), (3, 7), (3, 9), (3, 2), (5, 0)] {
            let bugs: Vec<usize> = (0..len).collect();
            let shares: Vec<&[usize]> =
                (1..=of).map(|number| Share { number, of }.part(&bugs)).collect();
            assert_eq!(shares.concat(), bugs);
            assert!(shares.iter().all(|share| share.len().abs_diff(len / of) <= 1), "{shares:?}");
        }
    }

    #[test]
    fn a_share_is_some_of_some() {
        assert_eq!("2/3".parse::<Share>().unwrap(), Share { number: 2, of: 3 });
        for wrong in ["", "3", "0/3", "4/3", "1/0", "-1/3", "a/b"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
