//! Running the one command of a bug.

use super::table::{Engine, Suite};
use super::verdict::Ended;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use wait_timeout::ChildExt as _;

/// Builds and runs test binaries in a copy of the source.
#[derive(Debug)]
pub(super) struct Cargo<'a> {
    /// The copy.
    pub(super) source: &'a Path,
    /// The folder of build output, kept from run to run, so that dependencies
    /// are built once. Each engine has its own, for they run side by side; std's
    /// is the folder itself, where the dependencies are already.
    pub(super) target: &'a Path,
}

/// What a process said, and how it ended.
#[derive(Debug)]
pub(super) struct Ran {
    /// Its standard output.
    pub(super) stdout: String,
    /// Its standard error.
    pub(super) stderr: String,
    /// How it ended.
    pub(super) ended: Ended,
}

impl Ran {
    /// The last lines of both outputs, for a reader who must find out why.
    #[must_use]
    pub(super) fn tail(&self) -> String {
        let lines: Vec<&str> = self.stdout.lines().chain(self.stderr.lines()).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Cargo<'_> {
    /// Compiles a suite.
    ///
    /// # Errors
    ///
    /// If cargo cannot be started.
    pub(super) fn build(&self, suite: &Suite) -> Result<Ran> {
        let mut command = self.test(suite);
        let output = command.arg("--no-run").stdin(Stdio::null()).output();
        let output = output.context("cargo cannot be run")?;
        Ok(Ran {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            ended: if output.status.success() { Ended::Well } else { Ended::Badly },
        })
    }

    /// Runs the tests called `names` of a suite that is built, within `limit`.
    ///
    /// # Errors
    ///
    /// If cargo cannot be started.
    pub(super) fn run(&self, suite: &Suite, names: &[&str], limit: Duration) -> Result<Ran> {
        let mut command = self.test(suite);
        command.args(["--", "--exact"]).args(names);
        run_within(&mut command, limit)
    }

    fn test(&self, suite: &Suite) -> Command {
        let mut command = Command::new("cargo");
        command.arg("test").args(&suite.select).current_dir(self.source);
        // What the caller's build was told must not change the verdict.
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "SELVEDGE_BOUNDS", "SELVEDGE_REPLAY"] {
            command.env_remove(name);
        }
        let (target, flags) = match suite.engine {
            Engine::Std => (self.target.to_owned(), None),
            Engine::Shuttle => (self.target.join("seeded"), None),
            Engine::Loom => (self.target.join("seeded-loom"), Some("--cfg loom")),
        };
        command.env("CARGO_TARGET_DIR", target);
        command.envs(flags.map(|flags| ("RUSTFLAGS", flags)));
        // Less to link, plain text to read, and the same random cases each time.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_TERM_COLOR", "never");
        command.env("RUST_BACKTRACE", "0").env("PROPTEST_RNG_SEED", "20251");
        command
    }
}

/// Runs a command in a process group of its own and kills what is left of the
/// group at the end: a test with a bug in it may hang, or leave processes
/// behind. Output goes through files, since a process left behind would hold a
/// pipe open.
fn run_within(command: &mut Command, limit: Duration) -> Result<Ran> {
    let outputs = tempfile::tempdir()?;
    let paths: [PathBuf; 2] = ["out", "err"].map(|name| outputs.path().join(name));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&paths[0])?)
        .stderr(File::create(&paths[1])?)
        .process_group(0)
        .spawn()
        .context("cargo cannot be run")?;
    let status = child.wait_timeout(limit)?;
    let group = Pid::from_child(&child);
    // Fails if nobody is left, which is as well.
    let _ = kill_process_group(group, Signal::KILL);
    let ended = match status {
        Some(status) if status.success() => Ended::Well,
        Some(_) => Ended::Badly,
        None => {
            child.wait()?;
            Ended::Late
        }
    };
    let [stdout, stderr] = paths.map(|path| fs::read(path).unwrap_or_default());
    Ok(Ran {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        ended,
    })
}
