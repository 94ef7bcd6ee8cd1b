//! What is shown of a run while it goes on.

use indicatif::{ProgressBar, ProgressStyle};
use selvedge::pipeline::{Progress, StageCounts};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Input that is read sooner than this shows no bar.
const LONG: Duration = Duration::from_millis(300);

/// How often the lines are told that are done, if they are more by then.
const TOLD: Duration = Duration::from_millis(80);

/// A bar on standard error, once the input proves long and if that is a
/// terminal.
pub(crate) struct Watch {
    /// How much there is to read, if that is known.
    size: Option<u64>,
    started: Instant,
    terminal: bool,
    bar: Option<ProgressBar>,
    /// Whether to tell it line by line.
    tells: bool,
    /// How many lines were told, and when.
    told: (u64, Instant),
}

impl Watch {
    /// `tells` is for where there is no terminal.
    pub(crate) fn new(files: &[OsString], tells: bool) -> Self {
        let size = |file| match std::fs::metadata(file) {
            Ok(metadata) if metadata.is_file() => Some(metadata.len()),
            _ => None,
        };
        let size = if files.is_empty() { None } else { files.iter().map(size).sum() };
        let (started, terminal) = (Instant::now(), io::stderr().is_terminal());
        Self { size, started, terminal, bar: None, tells, told: (0, started) }
    }

    fn tell(&mut self, lines: u64) {
        let (told, when) = self.told;
        if self.tells && !self.terminal && lines > told && when.elapsed() >= TOLD {
            self.told = (lines, Instant::now());
            // That nobody reads it is no reason to fail.
            let _ = writeln!(io::stderr(), "aggregate: {lines} lines so far");
        }
    }

    pub(crate) fn see(&mut self, progress: Progress) {
        self.tell(progress.lines);
        let size = self.size;
        if let Some(bar) = self.bar(|| bar(size)) {
            bar.set_position(progress.bytes);
            bar.set_message(format!("{} lines, {} malformed", progress.lines, progress.malformed));
        }
    }

    /// Each stage: what it has done, and what waits and is in hand there.
    pub(crate) fn see_stages(&mut self, stages: &[StageCounts]) {
        self.tell(stages.last().map_or(0, |last| last.items));
        if let Some(bar) = self.bar(ProgressBar::new_spinner) {
            let stage = |it: &StageCounts| {
                format!("{} {} ({} waiting, {} in hand)", it.name, it.items, it.waiting, it.busy)
            };
            bar.set_message(stages.iter().map(stage).collect::<Vec<_>>().join(" | "));
            bar.tick();
        }
    }

    fn bar(&mut self, make: impl FnOnce() -> ProgressBar) -> Option<&ProgressBar> {
        if !self.terminal || self.started.elapsed() < LONG {
            return None;
        }
        Some(self.bar.get_or_insert_with(make))
    }

    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}  {msg}",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}  {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is well formed"))
}
