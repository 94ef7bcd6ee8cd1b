//! Totals `key:value` lines per key, from files or from a pipe.
//!
//! ```text
//! dpkg-query -W -f '${Section}:${Installed-Size}\n' |
//!     cargo run --release --example aggregate -- --top 5
//! ```

#[cfg(not(loom))]
mod flowing;
#[cfg(not(loom))]
mod general;
#[cfg(not(loom))]
mod output;
#[cfg(not(loom))]
mod signals;
#[cfg(not(loom))]
mod watch;

/// Under loom there is nothing to run.
#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(not(loom))]
mod cli {
    use crate::flowing::{Common, Flowing};
    use crate::general::{self, General};
    use crate::{output, signals, watch::Watch};
    use anyhow::Context;
    use clap::Parser;
    use selvedge::cancel::Token;
    use selvedge::pipeline::{Input, Overflow, Pipeline, Report, times};
    use std::ffi::OsString;
    use std::io::{self, Write};
    use std::num::NonZeroUsize;
    use std::process::ExitCode;
    use std::time::Duration;

    /// Totals `key:value` lines per key.
    ///
    /// The last colon of a line separates, so keys may hold colons; a value is
    /// a signed 64-bit integer. Prints `key:total`, the largest total first
    /// and equal totals in order of their keys. A line that is not of that
    /// form (an empty line too) is counted and left out, and the first few are
    /// shown on standard error. A file that cannot be read is reported there
    /// too: the totals are of all others, and the exit code is 1. It is 1 also
    /// if no line was of that form.
    ///
    /// Ctrl-C and SIGTERM print the totals so far, and the exit code is 3; a
    /// second one ends it without.
    #[derive(Debug, Parser)]
    #[command(name = "aggregate", version)]
    struct Args {
        /// Files to read, in turn; `-` is standard input, and so is no file.
        #[arg(value_name = "FILE")]
        files: Vec<OsString>,

        /// Threads that parse [default: one a core]
        #[arg(long, value_name = "N", value_parser = workers)]
        workers: Option<NonZeroUsize>,

        /// Multiply every value by this.
        #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
        factor: i64,

        /// Print only the largest K totals.
        #[arg(long, value_name = "K")]
        top: Option<usize>,

        /// Print one JSON object with `totals`, `keys`, `lines`, `malformed`
        /// and `samples`.
        #[arg(long)]
        json: bool,

        /// Exit with an error, and without totals, if a line is malformed.
        #[arg(long)]
        strict: bool,

        /// What to do about a total that leaves the signed 64-bit range.
        /// [default: error]
        #[arg(long, value_name = "POLICY", value_enum)]
        overflow: Option<Policy>,

        /// The longest line, in bytes; longer ones are malformed, and skipped
        /// without being held.
        #[arg(long, value_name = "BYTES", default_value = "1048576")]
        max_line: NonZeroUsize,

        /// Exit with an error as soon as more lines than this are malformed.
        #[arg(long, value_name = "N")]
        malformed_at_most: Option<u64>,

        /// Stop after this long, print the totals so far and exit with 3.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        within: Option<Duration>,

        /// Say on standard error how many lines are done, while they are, and
        /// at the end what each stage has done.
        #[arg(long)]
        stages: bool,

        #[command(flatten)]
        flowing: Flowing,

        #[command(flatten)]
        general: General,
    }

    /// More threads than this are of no use to anybody.
    const MOST_WORKERS: usize = 1024;

    fn workers(text: &str) -> Result<NonZeroUsize, String> {
        let workers: NonZeroUsize = text.parse().map_err(|error| format!("{error}"))?;
        if workers.get() > MOST_WORKERS {
            return Err(format!("at most {MOST_WORKERS} are possible"));
        }
        Ok(workers)
    }

    /// The exit code of a run that did not reach the end of its input.
    const STOPPED: u8 = 3;

    #[derive(Debug, Clone, Copy, clap::ValueEnum)]
    enum Policy {
        /// Exit with an error that names the key.
        Error,
        /// Print the nearest value in range.
        Saturate,
        /// Print the exact total.
        Widen,
    }

    impl From<Policy> for Overflow {
        fn from(policy: Policy) -> Self {
            match policy {
                Policy::Error => Self::Error,
                Policy::Saturate => Self::Saturate,
                Policy::Widen => Self::Widen,
            }
        }
    }

    pub(super) fn main() -> ExitCode {
        match run(&Args::parse()) {
            Ok(code) => code,
            Err(error) => {
                // Not `eprintln!`, which panics if nobody listens.
                let _ = writeln!(io::stderr(), "aggregate: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn run(args: &Args) -> anyhow::Result<ExitCode> {
        let mut watch = Watch::new(&args.files, args.stages);
        let token = Token::new();
        signals::cancel(&token).context("cannot listen for Ctrl-C")?;
        let common = common(args, token);
        if args.general.is_wanted() {
            return in_general(args, common, &mut watch);
        }
        let report = if args.flowing.is_wanted() {
            args.flowing.run(args.workers, common, &mut watch)
        } else {
            in_blocks(args, common, &mut watch)
        };
        watch.clear();
        let report = report?;

        output::malformed(&report);
        output::unreadable(&report);
        strict(args, &report)?;
        if args.stages {
            output::stages(&report);
        }
        match output::totals(&report, args.top, args.json) {
            // Whoever read the totals has had enough of them.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed.context("cannot print the totals")?,
        }
        ending(&report)
    }

    fn in_general(args: &Args, common: Common, watch: &mut Watch) -> anyhow::Result<ExitCode> {
        for (given, name) in [
            (args.flowing.is_wanted(), "--async and --per-second"),
            (args.factor != 1, "--factor"),
            (args.overflow.is_some(), "--overflow"),
        ] {
            anyhow::ensure!(!given, "{name}: for key:value lines without columns and aggregates");
        }
        let print = (args.top, args.json);
        let ran = args.general.run(&args.files, common, args.workers, print, watch);
        watch.clear();
        let (report, printed) = ran?;
        general::tell(&report, args.stages);
        strict(args, &report)?;
        general::write(&printed).context("cannot print the totals")?;
        ending(&report)
    }

    fn strict<T>(args: &Args, report: &Report<T>) -> anyhow::Result<()> {
        let (malformed, lines) = (report.read.malformed, report.read.lines);
        let refused = args.strict && malformed > 0;
        anyhow::ensure!(!refused, "{malformed} of {lines} lines are malformed (--strict)");
        Ok(())
    }

    /// The exit code, when all has been printed.
    fn ending<T>(report: &Report<T>) -> anyhow::Result<ExitCode> {
        let (lines, malformed) = (report.read.lines, report.read.malformed);
        if lines > 0 && lines == malformed && report.stopped.is_none() {
            anyhow::bail!("no line is a record, of {lines}");
        }
        Ok(match &report.stopped {
            None if report.unreadable.is_empty() => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
            Some(stopped) => {
                output::stopped(stopped, report);
                ExitCode::from(STOPPED)
            }
        })
    }

    fn common(args: &Args, token: Token) -> Common {
        Common {
            inputs: inputs(&args.files),
            max_line: args.max_line,
            factor: args.factor,
            overflow: args.overflow.unwrap_or(Policy::Error).into(),
            malformed_at_most: args.malformed_at_most,
            within: args.within,
            token,
        }
    }

    fn in_blocks(args: &Args, common: Common, watch: &mut Watch) -> anyhow::Result<Report> {
        let mut pipeline = Pipeline::key_value()
            .keep_going()
            .token(common.token)
            .transform(times(common.factor))
            .overflow(common.overflow)
            .max_line(common.max_line);
        if let Some(workers) = args.workers {
            pipeline = pipeline.workers(workers);
        }
        if let Some(limit) = common.malformed_at_most {
            pipeline = pipeline.malformed_at_most(limit);
        }
        if let Some(within) = common.within {
            pipeline = pipeline.within(within);
        }
        Ok(pipeline.run_with(common.inputs, |progress| watch.see(progress))?)
    }

    fn inputs(files: &[OsString]) -> Vec<Input> {
        if files.is_empty() {
            return vec![stdin()];
        }
        let input = |file: &OsString| match file.to_str() {
            Some("-") => stdin(),
            _ => Input::file(file),
        };
        files.iter().map(input).collect()
    }

    /// Nothing else reads it, so it may be asked whether there is anything.
    #[cfg(unix)]
    fn stdin() -> Input {
        use std::os::fd::AsFd;
        match io::stdin().as_fd().try_clone_to_owned() {
            Ok(descriptor) => Input::descriptor("standard input", descriptor),
            Err(_) => Input::stdin(),
        }
    }

    #[cfg(not(unix))]
    fn stdin() -> Input {
        Input::stdin()
    }
}
