//! Counts primes among integers from a file, a pipe or a range.
//!
//! ```text
//! cargo run --release --example primes -- --range 1000000..2000000
//! seq 1000000 | cargo run --release --example primes
//! ```

#[cfg(all(target_os = "linux", not(loom)))]
mod input;

/// Under loom, and without worker processes, there is nothing to run.
#[cfg(not(all(target_os = "linux", not(loom))))]
fn main() {
    eprintln!("primes: needs Linux");
}

#[cfg(all(target_os = "linux", not(loom)))]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(all(target_os = "linux", not(loom)))]
mod cli {
    use crate::input::{self, Range};
    use anyhow::Context;
    use clap::Parser;
    use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
    use selvedge::exercises::is_prime;
    use selvedge::map::Backend;
    use selvedge::nz;
    use selvedge::process::Pool;
    use selvedge::threads::Threads;
    use std::io::{self, IsTerminal, Write};
    use std::num::NonZeroUsize;
    use std::path::PathBuf;
    use std::process::ExitCode;
    use std::time::Duration;

    /// Counts primes.
    ///
    /// The input is integers, one a line; blank lines are skipped. What is not
    /// an unsigned 64-bit integer is an error that names its line, and nothing
    /// is counted then.
    #[derive(Debug, Parser)]
    #[command(name = "primes", version)]
    struct Args {
        /// File to read; `-`, or nothing, is standard input.
        #[arg(value_name = "FILE", conflicts_with = "range")]
        file: Option<PathBuf>,

        /// Check START, START+1, … END-1 instead of an input.
        #[arg(long, value_name = "START..END")]
        range: Option<Range>,

        /// Where to run: `thread` or `process`.
        #[arg(long, value_name = "BACKEND", default_value_t = Backend::Process)]
        backend: Backend,

        /// Threads or processes, no more than there are numbers [default: one
        /// a core]
        #[arg(long, value_name = "N")]
        workers: Option<NonZeroUsize>,

        /// Longest that one number may take, as in `50ms` (a number without a
        /// unit is of seconds); needs `--backend process`.
        #[arg(long, value_name = "TIME", value_parser = time)]
        deadline: Option<Duration>,

        /// Print one JSON object with `count` and `checked`.
        #[arg(long)]
        json: bool,
    }

    fn time(text: &str) -> Result<Duration, String> {
        let time = match text.parse() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
            Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
        };
        match time? {
            Duration::ZERO => Err("no time at all".to_owned()),
            time => Ok(time),
        }
    }

    #[derive(Debug, serde::Serialize)]
    struct Counted {
        count: u64,
        checked: u64,
    }

    pub(crate) fn main() -> ExitCode {
        match run(&Args::parse()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Not `eprintln!`, which panics if nobody listens.
                let _ = writeln!(io::stderr(), "primes: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn run(args: &Args) -> anyhow::Result<()> {
        if args.deadline.is_some() && args.backend != Backend::Process {
            anyhow::bail!("a thread cannot be killed: --deadline needs --backend process");
        }
        let counted = match args.range {
            Some(range) => {
                let bar = bar(Some(range.len()));
                count(args, range.iter().map(Ok), &bar)?
            }
            None => {
                let (lines, bytes) = input::open(args.file.as_deref())?;
                let bar = bar(None);
                if let Some(bytes) = bytes {
                    bar.set_message(format!("of a file of {bytes} bytes"));
                }
                count(args, input::numbers(lines), &bar)?
            }
        };
        let mut out = io::stdout().lock();
        let written = if args.json {
            writeln!(out, "{}", serde_json::to_string(&counted)?)
        } else {
            writeln!(out, "{} of {} are prime", counted.count, counted.checked)
        };
        match written.and_then(|()| out.flush()) {
            // Whoever read the output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("cannot write the result"),
        }
    }

    /// Items on their way at any time: bounds memory on endless input.
    const WINDOW: NonZeroUsize = nz!(262_144);

    fn count(
        args: &Args,
        numbers: impl Iterator<Item = anyhow::Result<u64>>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Counted> {
        // The first bad line ends the input; it is reported once what came
        // before is counted, whichever backend that is.
        let mut bad = None;
        let mut good = numbers.map_while(|number| number.map_err(|error| bad = Some(error)).ok());
        // Workers that find no number are not started.
        let few: Vec<u64> = good.by_ref().take(args.workers.map_or(0, NonZeroUsize::get)).collect();
        let workers = args.workers.map(|_| NonZeroUsize::new(few.len()).unwrap_or(nz!(1)));
        let good = few.into_iter().chain(good);
        let mut counted = Counted { count: 0, checked: 0 };
        let mut tally = |prime: bool| {
            counted.count += u64::from(prime);
            counted.checked += 1;
            if counted.checked.is_multiple_of(1024) {
                bar.set_position(counted.checked);
            }
        };
        match args.backend {
            Backend::Process => {
                let mut builder = Pool::builder();
                if let Some(workers) = workers {
                    builder = builder.workers(workers);
                }
                if let Some(deadline) = args.deadline {
                    builder = builder.deadline(deadline);
                }
                for report in builder.build()?.stream(is_prime, good, WINDOW) {
                    tally(report.into_result()?);
                }
            }
            _ => {
                let threads = Threads::new().window(WINDOW);
                let threads = workers.map_or(threads, |most| threads.max_workers(most));
                threads.stream_here(good, is_prime, |primes| primes.for_each(tally));
            }
        }
        bar.finish_and_clear();
        match bad {
            Some(error) => Err(error),
            None => Ok(counted),
        }
    }

    /// On a terminal: how many, how fast, how long still.
    fn bar(len: Option<u64>) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let (bar, style) = match len {
            Some(len) => {
                (ProgressBar::new(len), "{wide_bar} {human_pos}/{human_len}, {rate}, {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} {msg}, {rate}"),
        };
        let style = ProgressStyle::with_template(style).expect("a template that was tried");
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // That it cannot be shown is no reason to fail.
            let _ = write!(out, "{}/s", HumanCount(state.per_sec().round() as u64));
        };
        bar.set_style(style.with_key("rate", rate));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}
