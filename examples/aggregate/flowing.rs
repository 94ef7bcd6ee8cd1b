//! The form of tasks: `--async` and `--per-second`.

use crate::watch::Watch;
use anyhow::Context;
use clap::Args;
use selvedge::cancel::Token;
use selvedge::nz;
use selvedge::pipeline::{
    Bound, Flow, Input, Meter, Overflow, Reason, Record, Report, key_value, times,
};
use selvedge::rate::Limiter;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// A flow's own options.
#[derive(Debug, Args)]
pub(crate) struct Flowing {
    /// Parse and transform each line in tasks of its own, as one does where a
    /// stage waits for something. Same output.
    #[arg(long)]
    r#async: bool,

    /// With --async: how long the transform of a line waits.
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = humantime::parse_duration)]
    latency: Duration,

    /// With --async: so many lines at once in each stage.
    #[arg(long, value_name = "N", default_value = "64")]
    at_once: NonZeroUsize,

    /// Take in at most so many lines a second (implies --async).
    #[arg(long, value_name = "R")]
    per_second: Option<NonZeroUsize>,
}

/// What both forms are told.
pub(crate) struct Common {
    pub(crate) inputs: Vec<Input>,
    pub(crate) max_line: NonZeroUsize,
    pub(crate) factor: i64,
    pub(crate) overflow: Overflow,
    pub(crate) malformed_at_most: Option<u64>,
    pub(crate) within: Option<Duration>,
    pub(crate) token: Token,
}

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

impl Flowing {
    pub(crate) fn is_wanted(&self) -> bool {
        self.r#async || self.per_second.is_some()
    }

    pub(crate) fn run(
        &self,
        workers: Option<NonZeroUsize>,
        common: Common,
        watch: &mut Watch,
    ) -> anyhow::Result<Report> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if let Some(workers) = workers {
            runtime.worker_threads(workers.get());
        }
        let runtime = runtime.enable_all().build().context("cannot start the threads")?;
        let meter = Meter::new();
        let overflow = common.overflow;
        let flow = self.flow(common).meter(&meter);
        let report = runtime.block_on(async {
            let mut run = std::pin::pin!(flow.totals(overflow));
            let mut tick = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    report = &mut run => break report,
                    _ = tick.tick() => watch.see_stages(&meter.stages()),
                }
            }
        });
        // A thread may be reading a pipe that nobody writes to.
        runtime.shutdown_background();
        Ok(report?)
    }

    fn flow(&self, common: Common) -> Flow<(String, i64)> {
        let Common { inputs, max_line, factor, malformed_at_most, within, token, .. } = common;
        let (latency, bound) = (self.latency, Bound::new(self.at_once));
        let mut flow = Flow::inputs(inputs, max_line).keep_going().token(token);
        if let Some(rate) = self.per_second {
            let limiter = Arc::new(Limiter::per_second(rate));
            // One lane: the lines stand in line in their own order.
            flow = flow.tasks("intake", Bound::new(nz!(1)).waiting(nz!(1)), move |line| {
                let permit = Limiter::acquire_owned(&limiter, 1);
                async move {
                    // None before the deadline, which is about to end the run.
                    if permit.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    Ok(line)
                }
            });
        }
        let mut flow = flow
            .tasks("parse", bound, |line| async move {
                let Record { key, value } = key_value(&line)?;
                Ok((key.to_owned(), value))
            })
            .tasks("transform", bound, move |(key, value): (String, i64)| async move {
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                let value = multiplied(&key, value, factor)?;
                Ok((key, value))
            });
        if let Some(limit) = malformed_at_most {
            flow = flow.malformed_at_most(limit);
        }
        match within {
            Some(within) => flow.within(within),
            None => flow,
        }
    }
}

fn multiplied(key: &str, value: i64, factor: i64) -> Result<i64, Reason> {
    times(factor)(Record { key, value }).map(|record| record.value)
}
