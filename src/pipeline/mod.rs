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
//! # Three forms
//!
//! | | [`Pipeline::key_value`], [`parsing`](Pipeline::parsing) | [`Pipeline::fold`] | [`Flow`] |
//! |---|---|---|---|
//! | gives | a whole number per key | whatever you fold | a number per key, or what you fold |
//! | stages | parse and transform, in one pass | one closure | any number, of any types |
//! | a stage is | a closure that computes | a closure that computes | tasks that wait, or threads that compute |
//! | handed on | blocks of lines, not copied | the same | lines |
//! | cost of a line | tens of nanoseconds | that of the closure, and ten | a microsecond or so |
//!
//! All read the same [`Input`]s, treat lines the same way and give a
//! [`Report`]. What follows is about `Pipeline`; `Flow` has its own page,
//! [`flow`].
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
mod fold;
mod groups;
mod input;
mod lines;
mod meter;
mod parse;
mod report;
mod shown;
mod table;
mod totalling;
mod totals;
mod work;

pub use flow::{Bound, Flow};
pub use fold::{FoldError, FoldErrorKind, Folding, Line, LineError};
pub use groups::Groups;
pub use input::Input;
pub use meter::{Meter, StageCounts};
pub use parse::{Parsed, Reason, Record, key_value};
pub use report::{Error, Location, Malformed, Progress, Report, Stopped, Unreadable};
pub use totalling::{Totalling, times};
pub use totals::{Overflow, Totals};

use crate::cancel::Token;
use crate::outcome::TimedOut;
use crate::swap::time;
use crate::threads::Threads;
use lines::{Blocks, Body, Spare};
use meter::Gauge;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;
use work::{Broken, Stuck, Sum, Work, Worker};

/// A configured run: what is done with the lines, and its limits. Consuming
/// builder.
///
/// `W` is [`Totalling`] or [`Folding`].
#[must_use]
pub struct Pipeline<W> {
    settings: Settings,
    work: W,
}

#[derive(Debug)]
struct Settings {
    workers: NonZeroUsize,
    block_size: NonZeroUsize,
    max_line: NonZeroUsize,
    samples: usize,
    limits: Limits,
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

impl<W> Pipeline<W> {
    fn new(work: W) -> Self {
        let settings = Settings {
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            block_size: BLOCK_SIZE,
            max_line: MAX_LINE,
            samples: SAMPLES,
            limits: Limits::default(),
        };
        Self { settings, work }
    }

    /// How many threads parse. As many as there are cores unless told.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.settings.workers = workers;
        self
    }

    /// How many bytes are read and handed to a worker at a time, if there are so
    /// many: 256 KiB unless told. Changes the speed and no result.
    pub fn block_size(mut self, bytes: NonZeroUsize) -> Self {
        self.settings.block_size = bytes;
        self
    }

    /// The longest line, in bytes and without its line ending, that is held
    /// and parsed: 1 MiB by default. The bytes of a longer one are skipped and
    /// the line is malformed. More than 1 GiB is [`Error::OutOfRange`] when the
    /// pipeline is run.
    pub fn max_line(mut self, bytes: NonZeroUsize) -> Self {
        self.settings.max_line = bytes;
        self
    }

    /// How many malformed lines are kept as [`Report::samples`]: 10 unless
    /// told. All are counted.
    pub fn samples(mut self, at_most: usize) -> Self {
        self.settings.samples = at_most;
        self
    }

    /// Fails the run if more lines than so many are malformed.
    pub fn malformed_at_most(mut self, limit: u64) -> Self {
        self.settings.limits.malformed_at_most = Some(limit);
        self
    }

    /// Cancelling `token` stops the run: see [`Report::stopped`].
    pub fn token(mut self, token: Token) -> Self {
        self.settings.limits.token = Some(token);
        self
    }

    /// Stops the run after so long: see [`Report::stopped`].
    pub fn within(mut self, allowance: Duration) -> Self {
        self.settings.limits.within = Some(allowance);
        self
    }

    /// Goes on with the next input after one that cannot be opened, or not be
    /// read to its end, and lists it in [`Report::unreadable`]. By default
    /// that is [`Error::Input`], and the end of the run.
    pub fn keep_going(mut self) -> Self {
        self.settings.limits.keep_going = true;
        self
    }

    /// Lets `meter` show this run: a stage that reads, and one that does the
    /// rest.
    pub fn meter(mut self, meter: &Meter) -> Self {
        self.settings.limits.meter = Some(meter.clone());
        self
    }
}

/// A limit on the length of lines, if it is one that can be held.
fn bounded(what: &'static str, bytes: NonZeroUsize) -> Result<usize, Error> {
    if bytes > LONGEST_LINE {
        return Err(Error::OutOfRange { what, given: bytes.get(), most: LONGEST_LINE.get() });
    }
    Ok(bytes.get())
}

type Driven<E> = Result<(), Box<Stuck<E>>>;

impl Settings {
    /// Does `work` with all lines of `inputs`, and hands what comes of each
    /// block to `take`, in input order. `numbered`: the work asks for the
    /// numbers of lines.
    fn drive<W: Work>(
        &self,
        work: &W,
        numbered: bool,
        inputs: impl Iterator<Item = Input>,
        mut progress: impl FnMut(Progress),
        mut take: impl FnMut(W::Part),
    ) -> (Report<()>, Driven<W::Failure>) {
        let gauges = [Gauge::new("read"), Gauge::new("parse and total")];
        if let Some(meter) = &self.limits.meter {
            meter.show(&gauges);
        }
        let keep_going = self.limits.keep_going;
        let mut sum = Sum::new(self.samples, self.limits.malformed_at_most, keep_going);
        let max_line = match bounded("max_line", self.max_line) {
            Ok(max_line) => max_line,
            Err(error) => {
                let stuck = Stuck { broken: Broken::Run(error), next: None };
                return (sum.into_report(), Err(Box::new(stuck)));
            }
        };
        let spare = Spare::default();
        let worker =
            Worker { work, spare: &spare, gauge: &gauges[1], max_line, samples: self.samples };
        let mut stopped = None;
        let mut stop = self.limits.stop();
        let mut blocks = Blocks::new(inputs, &spare, self.block_size.get(), max_line, || {
            stopped = stop();
            stopped.is_some()
        })
        .keep_going(keep_going)
        .numbered(numbered);
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
                |mut reports| {
                    reports.try_for_each(|report| sum.add(report, &mut take).map(&mut progress))
                },
            );
        (Report { stopped, stages: meter::counts(&gauges), ..sum.into_report() }, ended)
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

impl<W> fmt::Debug for Pipeline<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { workers, block_size, max_line, samples, limits } = &self.settings;
        f.debug_struct("Pipeline")
            .field("workers", workers)
            .field("block_size", block_size)
            .field("max_line", max_line)
            .field("samples", samples)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}
