//! Fetches many URLs, a limited number at a time.
//!
//! ```text
//! cargo run --release --example fetch -- --limit 8 --timeout 2s https://example.com/ https://example.org/
//! cargo run --release --example fetch -- --keep-going --output pages - < urls
//! ```

#[cfg(not(loom))]
mod http;
#[cfg(not(loom))]
mod item;
#[cfg(not(loom))]
mod output;
#[cfg(not(loom))]
mod source;

/// Under loom there is nothing to run.
#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(not(loom))]
mod cli {
    use crate::http::Http;
    use crate::item::Job;
    use crate::output::{Printer, Summary};
    use crate::source;
    use anyhow::Context;
    use clap::Parser;
    use futures_util::StreamExt;
    use selvedge::cancel::Token;
    use selvedge::gather::gather_stream;
    use selvedge::timeout::{Graced, with_timeout};
    use std::io::{self, Write};
    use std::num::NonZeroUsize;
    use std::path::PathBuf;
    use std::pin::pin;
    use std::process::ExitCode;
    use std::sync::Arc;
    use std::time::Duration;

    /// Fetches URLs over HTTP and HTTPS, a limited number at a time.
    ///
    /// Prints one row for each URL in the order in which they were given:
    /// what became of it, HTTP status, bytes, seconds, the URL, and why it
    /// failed, separated by tabs. Redirects are followed, up to ten. A status
    /// that is not of success is a failure. A name and a password in a URL are
    /// sent to its server. Where descriptors run out it waits for some.
    ///
    /// At the first failure, at the deadline and at Ctrl-C nothing more is
    /// started and what is under way is cancelled; what was done is reported.
    /// At a second Ctrl-C it exits at once. Exits with 0 if all was fetched, 1
    /// if not, 130 after Ctrl-C.
    #[derive(Debug, Parser)]
    #[command(name = "fetch", version)]
    struct Args {
        /// What to fetch, in this order; `-` reads URLs from standard input,
        /// one a line, for as long as there are any. Empty lines are skipped.
        #[arg(value_name = "URL", required = true)]
        urls: Vec<String>,

        /// At most so many at a time.
        #[arg(long, value_name = "N", default_value = "8")]
        limit: NonZeroUsize,

        /// How long one URL may take, redirects and body included.
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
        timeout: Duration,

        /// How long all of it may take.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        deadline: Option<Duration>,

        /// Do not stop at the first failure.
        #[arg(long)]
        keep_going: bool,

        /// Save what is fetched in this directory, in files that begin with
        /// the number of the URL. Without it, it is counted only.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,

        /// Trust the certificates in this file (PEM) as well.
        #[arg(long, value_name = "FILE")]
        cacert: Option<PathBuf>,

        /// Print a JSON object for each row, and one with the `summary`.
        #[arg(long)]
        json: bool,
    }

    pub(super) fn main() -> ExitCode {
        let args = Args::parse();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let run = |runtime: &tokio::runtime::Runtime| runtime.block_on(run(args));
        let ended = runtime.context("cannot start a runtime").and_then(|runtime| {
            let ended = run(&runtime);
            // A name that is being looked up can neither be cancelled nor
            // waited for.
            runtime.shutdown_background();
            ended
        });
        ended.unwrap_or_else(|error| {
            // Not `eprintln!`, which panics if nobody listens.
            let _ = writeln!(io::stderr(), "fetch: {error:#}");
            ExitCode::FAILURE
        })
    }

    /// How long what is cancelled may take to clean up.
    const GRACE: Duration = Duration::from_secs(5);

    async fn run(args: Args) -> anyhow::Result<ExitCode> {
        if let Some(folder) = &args.output {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let total = (!args.urls.iter().any(|url| url == "-")).then_some(args.urls.len());
        let printer = Printer::new(args.json, total);
        let token = Token::new();
        let job = Arc::new(Job {
            http: Http::new(args.cacert.as_deref())?,
            token: token.clone(),
            timeout: args.timeout,
            keep_going: args.keep_going,
            output: args.output,
        });
        let urls = source::urls(args.urls);
        let mut summary = Summary::new(total);

        let all = async {
            let cancelled = token.clone().cancelled_owned();
            let items = urls.clone().into_stream().take_until(cancelled).enumerate();
            let mut rows = gather_stream(items.map(move |(index, url)| {
                let job = Arc::clone(&job);
                async move { job.fetch(index, url).await }
            }))
            .limit(args.limit)
            .window(args.limit.saturating_mul(selvedge::nz!(16)))
            .on_progress(printer.progress())
            .stream();
            while let Some(row) = rows.next().await {
                let (index, outcome) = row.context("the fetching was interrupted")?;
                let row = summary.add(index, outcome);
                if !printer.print(row).await? {
                    token.cancel_because("nobody reads the rows");
                }
            }
            anyhow::Ok(())
        };
        let all = with_timeout(all, args.deadline.unwrap_or(Duration::MAX)).named("deadline");
        let all = all.or_grace(token.clone(), GRACE);
        let (ended, interrupted) = until_interrupted(all, &token).await?;
        let Some(ended) = ended else { return Ok(ExitCode::from(130)) };
        match ended {
            Graced::InTime(ended) | Graced::Late(ended, _) => ended?,
            Graced::Dropped(elapsed) => anyhow::bail!("{elapsed}, and the cleanup did not end"),
        }
        let cause = token.cause();
        printer.finish(&summary, cause.as_ref().and_then(|cause| cause.cause())).await?;
        if cause.is_none()
            && let Err(selvedge::queue::TryRecvError::Closed(closed)) = urls.try_recv()
            && let Some(cause) = closed.cause()
        {
            anyhow::bail!("{cause}");
        }
        Ok(if interrupted {
            ExitCode::from(130)
        } else if printer.closed() || (summary.all_fetched() && cause.is_none()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// What `all` gives, and whether the first Ctrl-C cancelled `token`;
    /// nothing at the second.
    async fn until_interrupted<F: Future>(
        all: F,
        token: &Token,
    ) -> anyhow::Result<(Option<F::Output>, bool)> {
        let mut all = pin!(all);
        let mut interrupted = false;
        loop {
            tokio::select! {
                // Ctrl-C is ours from its first poll on: before anything starts.
                biased;
                signal = tokio::signal::ctrl_c() => {
                    signal.context("cannot listen for Ctrl-C")?;
                    if interrupted {
                        return Ok((None, true));
                    }
                    interrupted = true;
                    token.cancel_because("interrupted");
                }
                ended = &mut all => return Ok((Some(ended), interrupted)),
            }
        }
    }
}
