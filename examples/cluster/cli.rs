//! The command line.

use crate::blocks::Blocks;
use crate::totals::{Sum, total};
use anyhow::Context as _;
use clap::Parser;
use selvedge_cluster::Cluster;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Totals of `key:value` lines, on the machines of a cluster.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
enum Args {
    /// Totals `key:value` lines per key, as `aggregate` does on one machine.
    Aggregate {
        /// Where the cluster is: `nats://HOST/JOB`.
        #[arg(long, value_name = "URL")]
        cluster: String,
        /// Files to read, in turn; `-` is standard input, and so is no file.
        #[arg(value_name = "FILE")]
        files: Vec<OsString>,
        /// Print only the largest K totals.
        #[arg(long, value_name = "K")]
        top: Option<usize>,
        /// Exit with an error, and without totals, if a line is malformed.
        #[arg(long)]
        strict: bool,
        /// Wait for this many workers before the first line is read.
        #[arg(long, value_name = "N", default_value_t = 1)]
        workers: usize,
        /// How soon a worker that is lost is noticed, in milliseconds.
        #[arg(long, value_name = "MS", default_value_t = 5_000)]
        lease: u64,
    },
    /// Makes this machine a worker, until Ctrl-C or SIGTERM.
    Worker {
        /// Where the cluster is: `nats://HOST/JOB?workers=N`.
        url: String,
    },
    /// Shows the workers, and what waits for them.
    Status {
        /// Where the cluster is: `nats://HOST/JOB`.
        url: String,
    },
}

pub(crate) fn main() -> ExitCode {
    let done = match Args::parse() {
        Args::Aggregate { cluster, files, top, strict, workers, lease } => {
            let builder =
                Cluster::builder(&cluster).workers(workers).lease(Duration::from_millis(lease));
            aggregate(builder, files, top, strict)
        }
        Args::Worker { url } => {
            selvedge_cluster::work(&url).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Args::Status { url } => status(&url),
    };
    done.unwrap_or_else(|error| {
        // Not `eprintln!`, which panics if nobody listens.
        let _ = writeln!(io::stderr(), "aggregate: {error:#}");
        ExitCode::FAILURE
    })
}

fn aggregate(
    builder: selvedge_cluster::Builder,
    mut files: Vec<OsString>,
    top: Option<usize>,
    strict: bool,
) -> anyhow::Result<ExitCode> {
    if files.is_empty() {
        files.push("-".into());
    }
    let cluster = builder.connect()?;
    let mut unreadable = Vec::new();
    let mut sum = Sum::default();
    // Whose block each task was, in order.
    let sent = RefCell::new(VecDeque::new());
    let blocks = Blocks::new(&files, &mut unreadable).map(|block| {
        sent.borrow_mut().push_back((block.input, block.bytes.len() as u64));
        block.bytes
    });
    let mut watch = Watch::new();
    let window = NonZeroUsize::new(64).expect("more than none");
    for report in cluster.stream(total, blocks, window) {
        let (input, bytes) = sent.borrow_mut().pop_front().expect("a block for each report");
        let partial = report.flatten().into_result()?;
        let name = match files[input].to_string_lossy() {
            name if name == "-" => "standard input".into(),
            name => name,
        };
        sum.add((input, &name), partial);
        watch.see(&cluster, &sum, bytes);
    }
    watch.clear();
    sum.complain();
    for (input, error) in &unreadable {
        eprintln!("aggregate: cannot read {}: {error}", files[*input].display());
    }
    if strict && sum.malformed > 0 {
        anyhow::bail!("{} of {} lines are malformed (--strict)", sum.malformed, sum.lines);
    }
    if let Some((key, total)) = sum.overflow() {
        anyhow::bail!("the total of {key:?}, {total}, does not fit a signed 64-bit integer");
    }
    match print(&sum, top) {
        // Whoever read the totals has had enough of them.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed.context("cannot print the totals")?,
    }
    Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(sum: &Sum, top: Option<usize>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    for (key, total) in sum.sorted().into_iter().take(top.unwrap_or(usize::MAX)) {
        writeln!(out, "{key}:{total}")?;
    }
    out.flush()
}

fn status(url: &str) -> anyhow::Result<ExitCode> {
    let status = selvedge_cluster::status(url, Duration::from_secs(1))?;
    let mut out = io::stdout().lock();
    match status.stored {
        None => writeln!(out, "the job is not set up: no caller was here yet")?,
        Some((messages, bytes)) => {
            writeln!(out, "{messages} batches wait or are under way, {bytes} bytes")?;
        }
    }
    writeln!(out, "{} workers", status.workers.len())?;
    for worker in &status.workers {
        writeln!(
            out,
            "{} process {}: {} at a time, {} batches in hand, {} tasks executed{}",
            worker.host,
            worker.pid,
            worker.slots,
            worker.busy,
            worker.executed,
            if worker.same_build { "" } else { " (another build than this program)" }
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how far it is, if someone looks.
struct Watch {
    begun: Instant,
    last: Instant,
    bytes: u64,
    looks: bool,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, bytes: 0, looks: io::stderr().is_terminal() }
    }

    fn see(&mut self, cluster: &Cluster, sum: &Sum, bytes: u64) {
        self.bytes += bytes;
        if !self.looks || self.last.elapsed() < Duration::from_millis(200) {
            return;
        }
        self.last = Instant::now();
        let (mib, workers) = (self.bytes >> 20, cluster.workers().len());
        let rate = self.bytes as f64 / 1e6 / self.begun.elapsed().as_secs_f64();
        let lines = sum.lines;
        eprint!("\r{lines} lines, {mib} MiB, {rate:.0} MB/s, {workers} workers seen \x1b[K");
    }

    fn clear(&self) {
        if self.looks {
            eprint!("\r\x1b[K");
        }
    }
}
