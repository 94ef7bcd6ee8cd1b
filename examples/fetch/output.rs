//! Rows, the summary and the progress bar.

use crate::item::{Done, Failed, Kind};
use indicatif::{ProgressBar, ProgressStyle};
use selvedge::gather::Progress;
use selvedge::offload::to_thread;
use selvedge::outcome::Outcome;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What is printed of one URL.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// From one, as in the names of the files.
    number: usize,
    url: String,
    outcome: &'static str,
    status: Option<u16>,
    bytes: u64,
    seconds: f64,
    file: Option<std::path::PathBuf>,
    error: Option<String>,
}

impl Row {
    /// One line. A URL may be anything: what would break the line is escaped.
    fn text(&self) -> String {
        let plain = |text: &str| -> String {
            let escape = |c: char| {
                let control = c.is_control();
                let escaped = control.then(|| c.escape_default()).into_iter().flatten();
                escaped.chain((!control).then_some(c))
            };
            text.chars().flat_map(escape).collect()
        };
        let status = self.status.map_or("-".to_owned(), |status| status.to_string());
        let Self { outcome, bytes, seconds, .. } = self;
        let url = plain(&self.url);
        let error = self.error.as_deref().map(plain).unwrap_or_default();
        let row = format!("{outcome}\t{status}\t{bytes}\t{seconds:.3}\t{url}\t{error}");
        row.trim_end().to_owned()
    }
}

/// What became of all of them.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    fetched: usize,
    failed: usize,
    timed_out: usize,
    cancelled: usize,
    /// If it is known how many there are.
    not_started: Option<usize>,
    bytes: u64,
    #[serde(skip)]
    total: Option<usize>,
    #[serde(skip)]
    started: Instant,
}

impl Summary {
    pub(crate) fn new(total: Option<usize>) -> Self {
        Self {
            fetched: 0,
            failed: 0,
            timed_out: 0,
            cancelled: 0,
            not_started: total,
            bytes: 0,
            total,
            started: Instant::now(),
        }
    }

    /// Counts one, and makes its row.
    pub(crate) fn add(&mut self, index: usize, outcome: Outcome<Done, Failed>) -> Row {
        let (name, done, error) = match outcome {
            Outcome::Ok(done) => ("fetched", done, None),
            Outcome::Err(Failed { done, kind, why }) => {
                let name = match kind {
                    Kind::Failed => "failed",
                    Kind::TimedOut => "timed out",
                    Kind::Cancelled => "cancelled",
                };
                (name, done, Some(why))
            }
            other => ("failed", Done::default(), Some(other_than_an_end(&other))),
        };
        let count = match name {
            "fetched" => &mut self.fetched,
            "timed out" => &mut self.timed_out,
            "cancelled" => &mut self.cancelled,
            _ => &mut self.failed,
        };
        *count += 1;
        self.not_started = self.not_started.map(|count| count - 1);
        self.bytes += done.bytes;
        Row {
            number: index + 1,
            url: done.url,
            outcome: name,
            status: done.status,
            bytes: done.bytes,
            seconds: done.seconds,
            file: done.file,
            error,
        }
    }

    pub(crate) fn all_fetched(&self) -> bool {
        self.failed + self.timed_out + self.cancelled == 0
    }

    fn text(&self, cause: Option<&str>) -> String {
        let Self { fetched, failed, timed_out, cancelled, bytes, .. } = self;
        let rows = fetched + failed + timed_out + cancelled;
        let total = self.total.unwrap_or(rows);
        let mut text = format!(
            "{fetched} of {total} fetched, {failed} failed, {timed_out} timed out, \
             {cancelled} cancelled"
        );
        match self.not_started {
            Some(0) => {}
            Some(count) => text.push_str(&format!(", {count} not started")),
            None if cause.is_some() => text.push_str(", the rest not read"),
            None => {}
        }
        let seconds = self.started.elapsed().as_secs_f64();
        text.push_str(&format!("; {bytes} bytes in {seconds:.3} s"));
        match cause {
            Some(cause) => format!("{text} (stopped: {cause})"),
            None => text,
        }
    }
}

fn other_than_an_end(outcome: &Outcome<Done, Failed>) -> String {
    match outcome {
        Outcome::Panicked(panic) => panic.to_string(),
        Outcome::TimedOut(timed_out) => timed_out.to_string(),
        _ => "it did not end".to_owned(),
    }
}

/// Prints rows to standard output, and the rest to standard error.
pub(crate) struct Printer {
    json: bool,
    bar: ProgressBar,
    closed: Arc<AtomicBool>,
}

impl Printer {
    /// A bar shows on a terminal.
    pub(crate) fn new(json: bool, total: Option<usize>) -> Self {
        let bar = if io::stderr().is_terminal() { bar(total) } else { ProgressBar::hidden() };
        Self { json, bar, closed: Arc::default() }
    }

    /// What the gather calls after each item.
    pub(crate) fn progress(&self) -> impl Fn(Progress) + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |progress: Progress| {
            let Progress { started, done, failed, .. } = progress;
            bar.set_position(done as u64);
            bar.set_message(format!("{} under way, {failed} failed", started - done));
        }
    }

    /// Prints a row, off the event loop: whoever reads may be slow. `false` if
    /// nobody reads any more.
    pub(crate) async fn print(&self, row: Row) -> anyhow::Result<bool> {
        let line = if self.json { serde_json::to_string(&row)? } else { row.text() };
        self.line(line).await
    }

    /// The last words. `cause` is why it stopped early, if it did.
    pub(crate) async fn finish(
        &self,
        summary: &Summary,
        cause: Option<&str>,
    ) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        if self.json {
            let summary = serde_json::json!({ "summary": summary, "stopped": cause });
            self.line(summary.to_string()).await?;
        } else {
            // That nobody reads it is no reason to fail.
            let _ = writeln!(io::stderr(), "fetch: {}", summary.text(cause));
        }
        Ok(())
    }

    /// Whether whoever read the rows has gone.
    pub(crate) fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    async fn line(&self, line: String) -> anyhow::Result<bool> {
        if self.closed() {
            return Ok(false);
        }
        let bar = self.bar.clone();
        let write = move || writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
        let written = to_thread(move |_| bar.suspend(write)).await;
        match written.into_result() {
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Ok(written) => {
                written.map_err(|error| anyhow::anyhow!("cannot print a row: {error}"))?;
                Ok(true)
            }
            Err(outcome) => anyhow::bail!("cannot print a row: {outcome}"),
        }
    }
}

fn bar(total: Option<usize>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total as u64), "{bar:30} {pos}/{len} {elapsed}  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} {elapsed}  {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is well formed"))
}
