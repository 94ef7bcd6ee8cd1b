//! Lines in, totals per key out: parse, transform, aggregate.
//!
//! ```
//! use selvedge::pipeline::{Input, Pipeline, times};
//!
//! let lines: &[u8] = b"a:1\nb:2\nbad\na:3\n";
//! let report = Pipeline::key_value()
//!     .transform(times(2))
//!     .run([Input::reader("lines", lines)])?;
//!
//! assert_eq!(report.totals.sorted(), [("a", 8), ("b", 4)]);
//! assert_eq!(report.samples[0].to_string(), "lines:3: no colon: \"bad\"");
//! # Ok::<(), selvedge::pipeline::Error>(())
//! ```
//!
//! # Two forms
//!
//! | | [`Pipeline`] | [`Flow`] |
//! |---|---|---|
//! | stages | parse and transform, in one pass | any number, of any types |
//! | a stage is | a closure that computes | tasks that wait, or threads that compute |
//! | handed on | blocks of lines, not copied | lines |
//! | cost of a line | tens of nanoseconds | a microsecond or so |
//!
//! Both read the same [`Input`]s, treat lines the same way and give the same
//! [`Report`] or [`Error`]. What follows is about `Pipeline`; `Flow` has its
//! own page, [`flow`].
//!
//! # Algorithm
//!
//! The calling thread reads the inputs in blocks of whole lines (`lines`) and
//! gives them to the ordered thread map. A worker parses and transforms a
//! block and adds its records into a table of its own, which it pours into a
//! shared, sharded one when it is full (`table`, `totals`). The calling thread
//! takes the blocks' reports in input order and adds up what depends on order:
//! line numbers, and which malformed lines come first (`work`).
//!
//! # Invariants
//!
//! 1. *Every line counts once*: it is in a total or in
//!    [`Progress::malformed`]; none is dropped in silence. A line is what ends
//!    with a newline, or what follows the last newline if that is not nothing;
//!    a carriage return before the newline, or at the end of the input,
//!    belongs to the line ending. A line does not go on from one input into the next.
//! 2. *The result does not depend on the workers*: totals, counts, samples and
//!    the error of a run are the same for any number of workers, any block
//!    size and any schedule. Sums are exact and therefore commute; what does
//!    not commute is taken in input order.
//! 3. *Memory is bounded*: beyond the totals themselves, each block in flight
//!    holds at most [`max_line`](Pipeline::max_line) plus two
//!    [`block_size`](Pipeline::block_size)s and each worker about a megabyte,
//!    on endless input as well.
//! 4. *The first failure in input order is the one reported*: a panic in a
//!    stage, a malformed line too many, or an input that cannot be read.
//! 5. *Stopped, it has done a beginning of its input*: every line up to some
//!    one, and none after it.
//!
//! # Progress
//!
//! Workers wait for each other only at the locks of the shared table's shards,
//! for the time of adding 32 records, and run no foreign code there. A reader
//! that blocks (a pipe) blocks the calling thread; the workers idle.
//!
//! # Cancellation
//!
//! A run ends at the end of its input or at its first failure, whichever comes
//! first; work that is in flight at a failure is finished and thrown away. A
//! cancelled [`token`](Pipeline::token) or a passed deadline is looked for
//! before each block and before each read, and while a read would wait: nothing
//! more is read, what was read is finished, and the run returns what it has
//! done. A line that was not read to its end does not count. A read that blocks
//! all the same is not cut short; see [slow inputs](Input#slow-inputs).

pub mod flow;
mod input;
mod lines;
mod meter;
mod parse;
mod report;
mod shown;
mod table;
mod totals;
mod work;

pub use flow::{Bound, Flow};
pub use input::Input;
pub use meter::{Meter, StageCounts};
pub use parse::{Parsed, Reason, Record, key_value};
pub use report::{Error, Location, Malformed, Progress, Report, Stopped, Unreadable};
pub use totals::{Overflow, Totals};

use crate::cancel::Token;
use crate::guard::{self, Returned, Surfacing};
use crate::outcome::TimedOut;
use crate::swap::time;
use crate::threads::Threads;
use lines::{Blocks, Body, Spare};
use meter::Gauge;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;
use totals::Gatherer;
use work::{Sum, Worker};

/// A run to be: its stages and its limits. Consuming builder.
#[must_use]
pub struct Pipeline<P, T> {
    workers: NonZeroUsize,
    block_size: NonZeroUsize,
    max_line: NonZeroUsize,
    samples: usize,
    overflow: Overflow,
    limits: Limits,
    parse: P,
    transform: T,
}

/// What ends a run early.
#[derive(Debug, Default)]
struct Limits {
    malformed_at_most: Option<u64>,
    token: Option<Token>,
    within: Option<Duration>,
    keep_going: bool,
    meter: Option<Meter>,
}

/// Reads this many bytes at a time unless told.
const BLOCK_SIZE: NonZeroUsize = crate::nz!(256 << 10);
/// A line is at most this long unless told.
const MAX_LINE: NonZeroUsize = crate::nz!(1 << 20);
/// A line is at most this long whatever is told.
const LONGEST_LINE: NonZeroUsize = crate::nz!(1 << 30);
/// Blocks in flight, for each worker: one being parsed and one waiting.
const BLOCKS_PER_WORKER: NonZeroUsize = crate::nz!(2);
/// So many malformed lines are kept unless told.
const SAMPLES: usize = 10;

impl Pipeline<(), ()> {
    /// A pipeline that parses lines with [`key_value`] and changes nothing.
    pub fn key_value() -> Pipeline<
        impl for<'a> Fn(&'a str) -> Parsed<'a> + Sync,
        impl for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync,
    > {
        Self::parsing(key_value)
    }

    /// A pipeline that parses lines with `parse` and changes nothing.
    ///
    /// `parse` gets a line without its line ending. It runs on the workers.
    pub fn parsing<P>(parse: P) -> Pipeline<P, impl for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync>
    where
        P: for<'a> Fn(&'a str) -> Parsed<'a> + Sync,
    {
        Pipeline {
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            block_size: BLOCK_SIZE,
            max_line: MAX_LINE,
            samples: SAMPLES,
            overflow: Overflow::default(),
            limits: Limits::default(),
            parse,
            transform: unchanged,
        }
    }
}

/// A limit on the length of lines, if it is one that can be held.
fn bounded(what: &'static str, bytes: NonZeroUsize) -> Result<usize, Error> {
    if bytes > LONGEST_LINE {
        return Err(Error::OutOfRange { what, given: bytes.get(), most: LONGEST_LINE.get() });
    }
    Ok(bytes.get())
}

fn unchanged(record: Record<'_>) -> Parsed<'_> {
    Ok(record)
}

/// A transform that multiplies every value; a product that does not fit a
/// signed 64-bit integer makes its line malformed.
pub fn times(factor: i64) -> impl for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync {
    move |Record { key, value }| match value.checked_mul(factor) {
        Some(value) => Ok(Record { key, value }),
        None => Err(Reason::rejected(&format!(
            "value times {factor} does not fit a signed 64-bit integer"
        ))),
    }
}

impl<P, T> Pipeline<P, T>
where
    P: for<'a> Fn(&'a str) -> Parsed<'a> + Sync,
    T: for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync,
{
    /// Puts `transform` between the parser and the totals, in place of the
    /// one before. It may change the value, shorten or replace the key, or
    /// refuse the record, whose line then is malformed. It runs on the
    /// workers.
    pub fn transform<U>(self, transform: U) -> Pipeline<P, U>
    where
        U: for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync,
    {
        let Self { workers, block_size, max_line, samples, overflow, limits, parse, .. } = self;
        Pipeline { workers, block_size, max_line, samples, overflow, limits, parse, transform }
    }

    /// How many threads parse. As many as there are cores unless told.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers;
        self
    }

    /// How many bytes are read and handed to a worker at a time, if there are so
    /// many: 256 KiB unless told. Changes the speed and no result.
    pub fn block_size(mut self, bytes: NonZeroUsize) -> Self {
        self.block_size = bytes;
        self
    }

    /// The longest line, in bytes and without its line ending, that is held
    /// and parsed: 1 MiB by default. The bytes of a longer one are skipped and
    /// the line is malformed. More than 1 GiB is [`Error::OutOfRange`] when the
    /// pipeline is run.
    pub fn max_line(mut self, bytes: NonZeroUsize) -> Self {
        self.max_line = bytes;
        self
    }

    /// How many malformed lines are kept as [`Report::samples`]: 10 unless
    /// told. All are counted.
    pub fn samples(mut self, at_most: usize) -> Self {
        self.samples = at_most;
        self
    }

    /// What to do about a total that does not fit a signed 64-bit integer:
    /// [`Overflow::Error`] unless told.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.overflow = policy;
        self
    }

    /// Fails the run if more lines than so many are malformed.
    pub fn malformed_at_most(mut self, limit: u64) -> Self {
        self.limits.malformed_at_most = Some(limit);
        self
    }

    /// Cancelling `token` stops the run: see [`Report::stopped`].
    pub fn token(mut self, token: Token) -> Self {
        self.limits.token = Some(token);
        self
    }

    /// Stops the run after so long: see [`Report::stopped`].
    pub fn within(mut self, allowance: Duration) -> Self {
        self.limits.within = Some(allowance);
        self
    }

    /// Goes on with the next input after one that cannot be opened, or not be
    /// read to its end, and lists it in [`Report::unreadable`]. By default
    /// that is [`Error::Input`], and the end of the run.
    pub fn keep_going(mut self) -> Self {
        self.limits.keep_going = true;
        self
    }

    /// Lets `meter` show this run: a stage that reads, and one that does the
    /// rest.
    pub fn meter(mut self, meter: &Meter) -> Self {
        self.limits.meter = Some(meter.clone());
        self
    }

    /// Reads all inputs in turn to their ends and totals their records.
    ///
    /// Takes O(bytes) time, and memory as in the [module's](self) invariant 3.
    ///
    /// # Errors
    ///
    /// An input that cannot be opened or read (unless it is to
    /// [keep going](Self::keep_going)), a stage that panics, or a total that
    /// does not fit under [`Overflow::Error`]. Malformed lines are no
    /// error (see [`Report::samples`]), up to
    /// [`malformed_at_most`](Self::malformed_at_most).
    ///
    /// # Panics
    ///
    /// If a reader or the iterator of inputs does.
    pub fn run(self, inputs: impl IntoIterator<Item = Input>) -> Result<Report, Error> {
        self.run_with(inputs, |_| {})
    }

    /// [`run`](Self::run), telling `progress` how far it has come: after each
    /// block, and now and then while an input is [waited for](Input#slow-inputs).
    /// `progress` is called on the calling thread.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// If a reader, the iterator of inputs or `progress` does.
    pub fn run_with(
        self,
        inputs: impl IntoIterator<Item = Input>,
        progress: impl FnMut(Progress),
    ) -> Result<Report, Error> {
        let mut inputs = Surfacing::new(inputs.into_iter());
        let mut progress = Surfacing::new(progress);
        let ended = self.run_on(&mut *inputs, &mut *progress);
        // All that was given to the run is dropped before this returns, and an
        // error that it has by then stays.
        let Self { parse, transform, .. } = self;
        let ended = Returned::new(ended).after(inputs.end()).after(progress.end());
        let ended = ended.after(guard::caught(|| drop(parse)));
        ended.after(guard::caught(|| drop(transform))).error_or_panic()
    }

    fn run_on(
        &self,
        inputs: impl Iterator<Item = Input>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Report, Error> {
        let max_line = bounded("max_line", self.max_line)?;
        let gauges = [Gauge::new("read"), Gauge::new("parse and total")];
        if let Some(meter) = &self.limits.meter {
            meter.show(&gauges);
        }
        let gatherer = Gatherer::new();
        let spare = Spare::default();
        let worker = Worker {
            parse: &self.parse,
            transform: &self.transform,
            gatherer: &gatherer,
            spare: &spare,
            gauge: &gauges[1],
            max_line,
            samples: self.samples,
        };
        let mut stopped = None;
        let mut stop = self.limits.stop();
        let keep_going = self.limits.keep_going;
        let mut sum = Sum::new(self.samples, self.limits.malformed_at_most, keep_going);
        let mut blocks = Blocks::new(inputs, &spare, self.block_size.get(), max_line, || {
            stopped = stop();
            stopped.is_some()
        })
        .keep_going(keep_going);
        let blocks = std::iter::from_fn(|| {
            let busy = gauges[0].begin();
            let block = blocks.next()?;
            if !matches!(block.body, Body::Idle) {
                busy.done();
            }
            Some(block)
        });
        let ended = Threads::new()
            .max_workers(self.workers)
            .window(self.workers.saturating_mul(BLOCKS_PER_WORKER))
            .chunk(NonZeroUsize::MIN)
            .stream_here(
                blocks,
                |block| worker.work(block),
                |mut reports| reports.try_for_each(|report| sum.add(report).map(&mut progress)),
            );
        let report = Report { stopped, stages: meter::counts(&gauges), ..sum.into_report() };
        match ended {
            Ok(()) => report.with_totals(gatherer, self.overflow),
            Err(Error::Input { at, source, .. }) => {
                let so_far = report.with_totals_so_far(gatherer, self.overflow);
                Err(Error::Input { at, source, so_far: Some(Box::new(so_far)) })
            }
            Err(error) => Err(error),
        }
    }
}

impl Limits {
    /// Says whether to stop, from now on.
    fn stop(&self) -> impl FnMut() -> Option<Stopped> {
        // A deadline that no clock can hold is none.
        let deadline = self.within.and_then(|within| {
            let at = time::now().checked_add(within)?;
            Some((at, within))
        });
        let token = self.token.clone();
        move || {
            if let Some(token) = &token
                && let Err(cancelled) = token.check()
            {
                return Some(Stopped::Cancelled(cancelled));
            }
            match deadline {
                Some((at, within)) if at <= time::now() => {
                    Some(Stopped::TimedOut(TimedOut::new("run", within)))
                }
                _ => None,
            }
        }
    }
}

impl<P, T> fmt::Debug for Pipeline<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("workers", &self.workers)
            .field("block_size", &self.block_size)
            .field("max_line", &self.max_line)
            .field("samples", &self.samples)
            .field("overflow", &self.overflow)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
