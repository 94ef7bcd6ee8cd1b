//! Totals `key:value` lines per key, from files or from a pipe.
//!
//! ```text
//! dpkg-query -W -f '${Section}:${Installed-Size}\n' |
//!     cargo run --release --example aggregate -- --top 5
//! ```

#[cfg(not(loom))]
mod output;
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
    use crate::{output, watch::Watch};
    use anyhow::Context;
    use clap::Parser;
    use selvedge::pipeline::{Input, Overflow, Pipeline, times};
    use std::ffi::OsString;
    use std::io::{self, Write};
    use std::num::NonZeroUsize;
    use std::process::ExitCode;

    /// Totals `key:value` lines per key.
    ///
    /// The last colon of a line separates, so keys may hold colons; a value is
    /// a signed 64-bit integer. Prints `key:total`, the largest total first
    /// and equal totals in order of their keys. A line that is not of that
    /// form (an empty line too) is counted and left out, and the first few are
    /// shown on standard error.
    #[derive(Debug, Parser)]
    #[command(name = "aggregate")]
    struct Args {
        /// Files to read, in turn; `-` is standard input, and so is no file.
        #[arg(value_name = "FILE")]
        files: Vec<OsString>,

        /// Threads that parse [default: one a core]
        #[arg(long, value_name = "N")]
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
        #[arg(long, value_name = "POLICY", value_enum, default_value_t = Policy::Error)]
        overflow: Policy,

        /// The longest line, in bytes; longer ones are malformed, and skipped
        /// without being held.
        #[arg(long, value_name = "BYTES", default_value = "1048576")]
        max_line: NonZeroUsize,
    }

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
        let mut pipeline = Pipeline::key_value()
            .transform(times(args.factor))
            .overflow(args.overflow.into())
            .max_line(args.max_line);
        if let Some(workers) = args.workers {
            pipeline = pipeline.workers(workers);
        }
        let mut watch = Watch::new(&args.files);
        let inputs = inputs(&args.files);
        let report = pipeline.run_with(inputs, |progress| watch.see(progress));
        watch.clear();
        let report = report?;

        output::malformed(&report);
        if args.strict && report.read.malformed > 0 {
            let (malformed, lines) = (report.read.malformed, report.read.lines);
            anyhow::bail!("{malformed} of {lines} lines are malformed (--strict)");
        }
        let printed = output::totals(&report, args.top, args.json);
        match printed {
            // Whoever read the totals has had enough of them.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            printed => printed.context("cannot print the totals").map(|()| ExitCode::SUCCESS),
        }
    }

    fn inputs(files: &[OsString]) -> Vec<Input> {
        if files.is_empty() {
            return vec![Input::stdin()];
        }
        let input = |file: &OsString| match file.to_str() {
            Some("-") => Input::stdin(),
            _ => Input::file(file),
        };
        files.iter().map(input).collect()
    }
}
