//! One bug after the other, in a copy of the source of its own.

use super::cargo::{Cargo, Ran};
use super::scratch::Scratch;
use super::table::{Bug, Suite};
use super::verdict::{self, Ended, Verdict};
use super::{Options, engine};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Runs bugs whose build output no other lane touches.
pub(super) struct Lane<'a> {
    /// Builds and runs in the copy.
    pub(super) cargo: Cargo<'a>,
    /// The copy.
    pub(super) scratch: &'a Scratch,
    /// What the user asked for.
    pub(super) options: &'a Options,
    /// Where reports go, each one or more whole lines.
    pub(super) lines: Sender<String>,
    /// Whether a lane ended with an error: the others need not go on.
    pub(super) gave_up: &'a AtomicBool,
}

struct Report {
    word: &'static str,
    note: Option<String>,
    detail: Option<String>,
}

impl Lane<'_> {
    /// How many of the bugs were caught.
    ///
    /// # Errors
    ///
    /// If a test is not green without any bug, or a copy cannot be changed.
    pub(super) fn run(self, bugs: &[&Bug]) -> Result<usize> {
        let caught = self.each(bugs);
        self.gave_up.fetch_or(caught.is_err(), Relaxed);
        caught
    }

    fn each(&self, bugs: &[&Bug]) -> Result<usize> {
        let mut caught = 0;
        for suite in bugs.chunk_by(|one, next| one.suite() == next.suite()) {
            if self.gave_up.load(Relaxed) {
                break;
            }
            self.require_green(suite)?;
            for bug in suite.iter().take_while(|_| !self.gave_up.load(Relaxed)) {
                let start = Instant::now();
                let report = self.try_bug(bug)?;
                caught += usize::from(report.word == "caught");
                // The reader is gone only if nothing can be written any more.
                let _ = self.lines.send(report.lines(bug, start.elapsed()));
            }
        }
        Ok(caught)
    }

    fn try_bug(&self, bug: &Bug) -> Result<Report> {
        let (cargo, options) = (&self.cargo, self.options);
        let applied = self.scratch.apply(&bug.patch);
        let applied = applied.with_context(|| format!("stale patch {}", bug.id()))?;
        let built = cargo.build(&bug.suite())?;
        let report = if built.ended == Ended::Well {
            let limit = Duration::from_secs(bug.timeout.unwrap_or(options.timeout));
            let ran = cargo.run(&bug.suite(), &[&bug.test], limit)?;
            judge(bug, &ran, options)
        } else {
            let note = Some("does not compile".to_owned());
            Report { word: "ERROR", note, detail: Some(built.tail()) }
        };
        self.scratch.revert(applied)?;
        Ok(report)
    }

    /// Without any bug, each test of these must exist and pass.
    fn require_green(&self, bugs: &[&Bug]) -> Result<()> {
        let suite: Suite = bugs[0].suite();
        let built = self.cargo.build(&suite)?;
        if built.ended != Ended::Well {
            bail!("without any bug, {} does not compile\n{}", suite.select.join(" "), built.tail());
        }
        let tests: BTreeSet<&str> = bugs.iter().map(|bug| bug.test.as_str()).collect();
        let tests: Vec<&str> = tests.into_iter().collect();
        let limit = Duration::from_secs(self.options.timeout).saturating_mul(tests.len() as u32);
        let ran = self.cargo.run(&suite, &tests, limit)?;
        let not_green: Vec<&str> =
            tests.iter().copied().filter(|test| !verdict::passed(&ran.stdout, test)).collect();
        if !not_green.is_empty() || verdict::all_passed(&ran.stdout, ran.ended) != Some(tests.len())
        {
            bail!("missing or red without any bug: {}\n{}", not_green.join(", "), ran.tail());
        }
        Ok(())
    }
}

impl Report {
    fn lines(&self, bug: &Bug, took: Duration) -> String {
        let (word, seconds) = (self.word, took.as_secs_f64());
        let by = format!("by {} {}", engine(bug), bug.test);
        let note = self.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        let mut lines = format!("{word:<7} {:<40} {by}{note}  ({seconds:.1} s)\n", bug.id());
        if let Some(detail) = &self.detail {
            lines += &format!("        {}\n", detail.replace('\n', "\n        "));
        }
        lines
    }
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
