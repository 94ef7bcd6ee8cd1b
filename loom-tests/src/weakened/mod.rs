//! Shows for every memory ordering that it is needed, or says why no model can
//! tell.
//!
//! Every ordering above `Relaxed` in `src` (outside of the facade and of
//! tests) is weakened by one step, one at a time, and the loom models of its
//! room are run: one must fail. Where none does, the comment above the access
//! must say why, after `NOT CAUGHT:`. An access that a model does catch may
//! not carry that excuse.
//!
//! The models are built once: under `--cfg loom` the facade's atomics weaken
//! the one access that the environment names (`src/swap/loom.rs`).
//!
//! `loom-tests/weakened.toml` says which models a file has:
//!
//! ```toml
//! [models]
//! "src/queue/" = ["models::queue::"]     # beginnings of names
//! ```

mod sites;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use serde::Deserialize;
use sites::Site;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use wait_timeout::ChildExt as _;

/// Weakens each memory ordering by one step and shows that a model notices, or
/// that the source says why none can.
#[derive(Debug, Parser)]
pub struct Options {
    /// Only sites in files whose path contains one of these.
    pub filters: Vec<String>,
    /// Say which sites there are and run nothing.
    #[arg(long)]
    pub list: bool,
    /// Only sites in files that differ from this commit.
    #[arg(long)]
    pub changed: Option<String>,
    /// Seconds that one model may take with one ordering weakened.
    #[arg(long, default_value_t = 120)]
    pub timeout: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    models: BTreeMap<String, Vec<String>>,
}

impl Table {
    fn read(root: &Path) -> Result<Self> {
        let path = root.join("loom-tests/weakened.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Beginnings of the names of the models for `file`.
    fn of(&self, file: &str) -> &[String] {
        let matching = self.models.iter().filter(|(path, _)| file.starts_with(path.as_str()));
        matching.max_by_key(|(path, _)| path.len()).map_or(&[], |(_, models)| models)
    }
}

/// What came of one ordering made weaker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// This model failed.
    Caught(String),
    /// None did; the source says why.
    Explained(String),
    /// None did, and nothing says why. Whether any model came by.
    Missed { reached: bool },
    /// A model did, and the source says that none can.
    Stale(String),
}

impl Verdict {
    fn is_right(&self) -> bool {
        matches!(self, Self::Caught(_) | Self::Explained(_))
    }
}

/// Runs the sites of the workspace at `root` and reports to `out`; whether each
/// was caught or explained.
///
/// # Errors
///
/// If the source cannot be parsed, the models cannot be built, or a model that
/// failed is not green without any change.
pub fn run(root: &Path, options: &Options, out: &mut (dyn Write + Send)) -> Result<bool> {
    let table = Table::read(root)?;
    let mut mutants = Vec::new();
    for file in wanted_files(root, options)? {
        for site in sites::of_file(root, &file)? {
            mutants.extend(site.weaker().iter().map(|weaker| (site.clone(), *weaker)));
        }
    }
    if options.list {
        for (site, weaker) in &mutants {
            writeln!(out, "{:<52} {} -> {weaker}", site.place(), site.order)?;
        }
        return Ok(true);
    }
    if mutants.is_empty() {
        writeln!(out, "weakened 0 of 0: no ordering in what was asked for")?;
        return Ok(true);
    }
    let suite = Suite::build(root, Duration::from_secs(options.timeout))?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let out = Mutex::new(out);
    let each = || -> Result<()> {
        while let Some((site, weaker)) = mutants.get(next.fetch_add(1, Relaxed)) {
            let at = results.lock().expect("no panic").len();
            let verdict = suite.judge(site, weaker, table.of(&site.file))?;
            let line = describe(site, weaker, &verdict);
            let mut out = out.lock().expect("no panic");
            writeln!(out, "{line}").and_then(|()| out.flush())?;
            results.lock().expect("no panic").insert((site.clone(), *weaker, at), verdict);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let all: Vec<_> = (0..cores).map(|_| scope.spawn(each)).collect();
        all.into_iter()
            .try_for_each(|one| one.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    })?;
    let results = results.into_inner().expect("no panic");
    suite.require_green(results.values().filter_map(|verdict| match verdict {
        Verdict::Caught(model) | Verdict::Stale(model) => Some(model.as_str()),
        _ => None,
    }))?;
    let right = results.values().filter(|verdict| verdict.is_right()).count();
    let caught = results.values().filter(|v| matches!(v, Verdict::Caught(_))).count();
    writeln!(
        out.into_inner().expect("no panic"),
        "weakened {right} of {}: caught, or explained ({caught} caught, {} explained)",
        mutants.len(),
        right - caught
    )?;
    Ok(right == mutants.len())
}

fn describe(site: &Site, weaker: &str, verdict: &Verdict) -> String {
    let what = format!("{} {} -> {weaker}", site.place(), site.order);
    match verdict {
        Verdict::Caught(model) => format!("caught     {what}: {model}"),
        Verdict::Explained(reason) => format!("explained  {what}: {reason}"),
        Verdict::Missed { reached: true } => {
            format!("MISSED     {what}: no model fails, and no comment says why")
        }
        Verdict::Missed { reached: false } => {
            format!("MISSED     {what}: no model comes by, and no comment says why")
        }
        Verdict::Stale(model) => {
            format!("STALE      {what}: said not to be caught, but {model} fails")
        }
    }
}

/// The source files that may hold sites.
fn wanted_files(root: &Path, options: &Options) -> Result<Vec<String>> {
    let git = |arguments: &[&str]| -> Result<BTreeSet<String>> {
        let output = Command::new("git").args(arguments).current_dir(root).output()?;
        ensure!(
            output.status.success(),
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    };
    let mut files = git(&["ls-files", "--cached", "--others", "--exclude-standard", "src"])?;
    if let Some(base) = &options.changed {
        let changed = git(&["diff", "--name-only", base, "--", "src"])?;
        files.retain(|file| changed.contains(file));
    }
    // The facade hands orderings on.
    files.retain(|file| {
        file.ends_with(".rs")
            && !file.starts_with("src/swap/")
            && !file.ends_with("tests.rs")
            && root.join(file).exists()
            && (options.filters.is_empty()
                || options.filters.iter().any(|part| file.contains(part)))
    });
    Ok(files.into_iter().collect())
}

/// The models, built.
struct Suite {
    program: PathBuf,
    folder: PathBuf,
    tests: Vec<String>,
    limit: Duration,
    /// How many orderings each model caught: the best are asked first.
    caught: Mutex<HashMap<String, usize>>,
}

impl Suite {
    fn build(root: &Path, limit: Duration) -> Result<Self> {
        let output = Command::new("cargo")
            .args(["test", "-q", "--no-run", "--message-format=json", "-p", "loom-tests"])
            .args(["--test", "models"])
            .current_dir(root)
            .env("RUSTFLAGS", "--cfg loom")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .stderr(Stdio::inherit())
            .output()
            .context("cargo cannot be run")?;
        ensure!(output.status.success(), "the models under loom cannot be built");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let executable = |line: &str| -> Option<String> {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_models = message["target"]["name"] == "models";
            message["executable"].as_str().filter(|_| is_models).map(str::to_owned)
        };
        let program = text.lines().find_map(executable).context("cargo named no test binary")?;
        let program = PathBuf::from(program);
        let listed = Command::new(&program).args(["--list", "--format", "terse"]).output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let tests: Vec<String> = listed
            .lines()
            .filter_map(|line| Some(line.strip_suffix(": test")?.to_owned()))
            .collect();
        ensure!(!tests.is_empty(), "the test binary lists no models");
        Ok(Self {
            program,
            folder: root.join("loom-tests"),
            tests,
            limit,
            caught: Mutex::default(),
        })
    }

    /// Runs the models whose names begin so until one fails.
    fn judge(&self, site: &Site, weaker: &str, beginnings: &[String]) -> Result<Verdict> {
        let begins =
            |test: &&String| beginnings.iter().any(|start| test.starts_with(start.as_str()));
        let mut tests: Vec<&String> = self.tests.iter().filter(begins).collect();
        if !beginnings.is_empty() && tests.is_empty() {
            bail!("{}: no model is called like {beginnings:?}", site.file);
        }
        {
            let caught = self.caught.lock().expect("no panic");
            let count = |test: &String| caught.get(test).copied().unwrap_or(0);
            tests.sort_by_key(|test| std::cmp::Reverse(count(test)));
        }
        let marks = tempfile::tempdir()?;
        let mark = marks.path().join("reached");
        let Site { file, line, column, argument, .. } = site;
        let target = format!("{file}:{line}:{column}:{argument}:{weaker}");
        for test in tests {
            let run = self
                .command(test)
                .env("SELVEDGE_WEAKEN", &target)
                .env("SELVEDGE_WEAKEN_REACHED", &mark)
                .spawn();
            if !self.passes(run)? {
                *self.caught.lock().expect("no panic").entry(test.clone()).or_insert(0) += 1;
                return Ok(match site.excuse {
                    Some(_) => Verdict::Stale(test.clone()),
                    None => Verdict::Caught(test.clone()),
                });
            }
        }
        Ok(match &site.excuse {
            Some(reason) if !reason.is_empty() => Verdict::Explained(reason.clone()),
            _ => Verdict::Missed { reached: mark.exists() },
        })
    }

    /// A model that fails anyway catches nothing.
    fn require_green<'a>(&self, models: impl Iterator<Item = &'a str>) -> Result<()> {
        for model in models.collect::<BTreeSet<_>>() {
            let passes = self.passes(self.command(model).spawn())?;
            ensure!(passes, "{model} is not green with nothing weakened");
        }
        Ok(())
    }

    fn command(&self, test: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([test, "--exact", "--test-threads=1"]).current_dir(&self.folder);
        for name in ["SELVEDGE_WEAKEN", "SELVEDGE_BOUNDS", "SELVEDGE_REPLAY"] {
            command.env_remove(name);
        }
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Whether it ends well. Running out of time is no failure of the model.
    fn passes(&self, child: std::io::Result<std::process::Child>) -> Result<bool> {
        let mut child = child.context("the models cannot be run")?;
        match child.wait_timeout(self.limit)? {
            Some(status) => Ok(status.success()),
            None => {
                child.kill()?;
                child.wait()?;
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(excuse: Option<&str>) -> Site {
        Site {
            file: "src/a.rs".into(),
            line: 3,
            column: 7,
            method: "load".into(),
            argument: 0,
            order: "Acquire".into(),
            excuse: excuse.map(str::to_owned),
        }
    }

    /// A suite of one "model", a program that fails if an ordering is
    /// weakened, or never.
    fn suite(folder: &Path, script: &str) -> Suite {
        let program = folder.join("models");
        // Written by another process: a child that another test forks meanwhile
        // would have it open for writing, and then it cannot be run.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$0\" >models && chmod +x models";
        let wrote = Command::new("sh").args(["-c", write, script]).current_dir(folder).status();
        assert!(wrote.unwrap().success());
        Suite {
            program,
            folder: folder.to_owned(),
            tests: vec!["models::a::holds".into()],
            limit: Duration::from_secs(20),
            caught: Mutex::default(),
        }
    }

    /// Neither caught nor explained is red; so is an excuse for what is caught.
    #[test]
    fn each_site_is_caught_or_explained() {
        let folder = tempfile::tempdir().unwrap();
        let models = ["models::a::".to_owned()];
        let notices = suite(folder.path(), "[ \"$SELVEDGE_WEAKEN\" != src/a.rs:3:7:0:Relaxed ]");
        let judge = |suite: &Suite, excuse| suite.judge(&site(excuse), "Relaxed", &models).unwrap();
        assert_eq!(judge(&notices, None), Verdict::Caught("models::a::holds".into()));
        assert_eq!(judge(&notices, Some("so")), Verdict::Stale("models::a::holds".into()));
        notices.require_green(["models::a::holds"].into_iter()).unwrap();

        let comes_by = suite(folder.path(), ": >\"$SELVEDGE_WEAKEN_REACHED\"");
        assert_eq!(judge(&comes_by, None), Verdict::Missed { reached: true });
        assert_eq!(judge(&comes_by, Some("so")), Verdict::Explained("so".into()));
        assert_eq!(judge(&comes_by, Some("")), Verdict::Missed { reached: true });
        let passes_by = suite(folder.path(), "true");
        assert_eq!(judge(&passes_by, None), Verdict::Missed { reached: false });
        assert!(passes_by.judge(&site(None), "Relaxed", &["models::b::".to_owned()]).is_err());
        let no_models = passes_by.judge(&site(None), "Relaxed", &[]).unwrap();
        assert_eq!(no_models, Verdict::Missed { reached: false });
        let red = suite(folder.path(), "false");
        assert!(red.require_green(["models::a::holds"].into_iter()).is_err());
    }

    #[test]
    fn a_file_has_the_models_of_its_longest_path() {
        let table: Table = toml::from_str(
            "[models]\n'src/' = ['all']\n'src/queue/' = ['queue']\n'src/queue/core.rs' = ['core']\n",
        )
        .unwrap();
        assert_eq!(table.of("src/queue/core.rs"), ["core"]);
        assert_eq!(table.of("src/queue/handles.rs"), ["queue"]);
        assert_eq!(table.of("src/wait.rs"), ["all"]);
        assert!(table.of("tests/queue.rs").is_empty());
    }
}
