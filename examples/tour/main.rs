//! All twelve exercises on real input, each checked against something simpler.
//!
//! ```text
//! cargo run --release --example tour
//! cargo run --release --example tour -- /usr/include
//! ```

#[cfg(all(target_os = "linux", not(loom)))]
mod corpus;
#[cfg(all(target_os = "linux", not(loom)))]
mod stops;

/// Under loom, and without worker processes, there is nothing to run.
#[cfg(not(all(target_os = "linux", not(loom))))]
fn main() {
    eprintln!("tour: needs Linux");
}

#[cfg(all(target_os = "linux", not(loom)))]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(all(target_os = "linux", not(loom)))]
mod cli {
    use crate::corpus::Corpus;
    use crate::stops::{Guide, STOPS, Stop, Verdict};
    use clap::Parser;
    use selvedge::outcome::Panic;
    use std::io::{self, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::PathBuf;
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    /// Runs the twelve exercises on files of this machine.
    ///
    /// Prints a line for each: whether it was right, what ran, the result, the
    /// check behind it, and the time it took. Exits with 1 if one was wrong, or
    /// could not be run for want of processes or descriptors.
    #[derive(Debug, Parser)]
    #[command(name = "tour", version)]
    struct Args {
        /// Folders to take files from, in order. Where they hold none, files
        /// are made up.
        #[arg(value_name = "FOLDER", default_values = ["/etc", "/usr/share"])]
        folders: Vec<PathBuf>,

        /// The most files to take.
        #[arg(long, value_name = "N", default_value_t = 2000)]
        files: usize,

        /// Check against one file more than was given to the exercises: every
        /// line that has input must then be wrong.
        #[arg(long)]
        spoil: bool,
    }

    pub(super) fn main() -> ExitCode {
        match run(&Args::parse()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            // Whoever read the lines has seen enough.
            Err(error) if is_closed(&error) => ExitCode::SUCCESS,
            Err(error) => {
                // Not `eprintln!`, which panics if nobody listens.
                let _ = writeln!(io::stderr(), "tour: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn is_closed(error: &anyhow::Error) -> bool {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether all were right.
    fn run(args: &Args) -> anyhow::Result<bool> {
        let given = Corpus::load(&args.folders, args.files);
        let mut checked = given.clone();
        if args.spoil {
            checked.spoil();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let guide = Guide { given: &given, checked: &checked, runtime: &runtime };
        let mut out = io::stdout().lock();
        writeln!(out, "{given}")?;
        let start = Instant::now();
        let (mut wrong, mut not_run) = (0, 0);
        for (number, (name, stop)) in (1..).zip(STOPS) {
            let started = Instant::now();
            let told = visit(stop, &guide);
            let mark = match told.verdict {
                Verdict::Right => "right",
                Verdict::Wrong => "WRONG",
                Verdict::NotRun => "not run",
            };
            wrong += u32::from(told.verdict == Verdict::Wrong);
            not_run += u32::from(told.verdict == Verdict::NotRun);
            let Stop { ran, result, check, .. } = told;
            let took = took(started.elapsed());
            writeln!(out, "{number:2} {mark} {took:>8}  {name}: {ran}: {result} [{check}]")?;
        }
        let took = took(start.elapsed());
        match (wrong, not_run) {
            (0, 0) => writeln!(out, "all {} right, in {took}", STOPS.len())?,
            (0, _) => writeln!(out, "{not_run} of {} not run, in {took}", STOPS.len())?,
            _ => writeln!(out, "{wrong} of {} WRONG, in {took}", STOPS.len())?,
        }
        Ok(wrong + not_run == 0)
    }

    /// A stop that panics is wrong, and the tour goes on.
    fn visit(stop: fn(&Guide<'_>) -> Stop, guide: &Guide<'_>) -> Stop {
        catch_unwind(AssertUnwindSafe(|| stop(guide))).unwrap_or_else(|payload| Stop {
            ran: "it was run".to_owned(),
            result: Panic::from_payload(&*payload).to_string(),
            check: "no panic".to_owned(),
            verdict: Verdict::Wrong,
        })
    }

    fn took(time: Duration) -> String {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    }
}
