//! A pipeline of typed stages, each with a bound of its own.
//!
//! ```text
//! source ─▶ queue ─▶ parse ×a ─▶ queue ─▶ transform ×b ─▶ queue ─▶ aggregate
//!    ▲                                                                 │
//!    └── a permit of the window before each line, given back after it ─┘
//! ```
//!
//! # Algorithm
//!
//! The source numbers the lines. A stage is a row of *lanes* between two
//! bounded queues: each lane takes a line, works at it to its end, puts what
//! came of it into the next queue, and takes another. A lane is a task
//! ([`Flow::tasks`], for what waits); or the lanes are threads, and one thread
//! more takes what is waiting, has it done by the ordered map over threads,
//! and passes it on ([`Flow::threads`], for what computes). The aggregate puts
//! the lines back in order by their numbers and folds them, one after the
//! other, in the task that awaits it.
//!
//! What a stage refuses, and what panics in it, takes the place of the line
//! and passes the later stages by. So it is found in its turn. What panics when
//! the run drops it (a source, what a stage has, the fold) fails the run
//! after the last line that was folded.
//!
//! # States of a line
//!
//! | state | bounded by |
//! |---|---|
//! | in the source | it does not exist yet |
//! | in a queue | [`Bound::waiting`] of the stage behind it |
//! | in a lane | [`Bound::new`] of the stage |
//! | behind an earlier one that is not done | the [window](Flow::window), which all of these count against |
//! | folded | |
//!
//! # Invariants
//!
//! 1. *Window*: lines pulled from the source and not folded <= window. The
//!    permit is there before the source is asked.
//! 2. *In order*: lines are folded in the order of the source, whatever the
//!    lanes do; so what is folded is always a beginning of the input, and the
//!    first failure in the input is the one that is found.
//! 3. *The end is told*: after its last line the source sends an end, with a
//!    number. A run without one has failed, however quietly its queues closed.
//! 4. *Nothing is left behind*: when a run returns, no lane is alive and no
//!    future or closure of a stage is running.
//!
//! # Progress
//!
//! The aggregate takes every line that comes and never waits for room, so the
//! last queue empties, and therefore each one before it. The lanes run whether
//! the run is polled or not, until the window is full. That lines get through
//! supposes that none waits for a later one, which may find no lane, or no
//! room in the window, before it.
//!
//! # Cancellation
//!
//! A cancelled token or a passed deadline drops the futures of the lanes at
//! their next await, and waits until they are gone; closures on threads are
//! waited for. Then the run returns with what was folded so far. A fold that
//! never waits hears of it within 256 lines. Dropping the
//! run does the same in the background. What it does not wait for is the
//! thread that reads [`Input`]s, since a read may never return: it ends when
//! the read does.
//!
//! # Clock
//!
//! tokio's paused clock stands still while a thread of the run has something to
//! do: from the moment at which it is handed a line until what came of it is
//! in the next queue; and while [`Input`]s are read. It may move while the
//! threads wait for lines, or for room. So no closure of a stage of threads
//! must wait for that clock, and where a read does not return the clock stands
//! until the run is stopped or dropped.
//!
//! # Model bounds
//!
//! Three lines, one or two stages, two lanes; see
//! `loom-tests/models/pipeline.rs`.

mod fold;
mod running;
mod source;
mod stage;

use super::input::Input;
use super::meter::{self, Gauge, Meter};
use super::report::{Error, Report, Stopped};
use super::totals::{Adder, Gatherer, Overflow};
use super::{Reason, SAMPLES, bounded};
use crate::cancel::Token;
use crate::guard;
use crate::outcome::Outcome;
use crate::queue::Receiver;
use crate::rt;
use crate::scope::scope;
use crate::timeout::with_timeout;
use fold::Fold;
use futures_core::Stream;
use running::{Early, Panics, Parcel, Running, Threads};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// How much a stage may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    at_once: NonZeroUsize,
    waiting: NonZeroUsize,
}

impl Bound {
    /// At most so many lines are worked at at once.
    #[must_use]
    pub fn new(at_once: NonZeroUsize) -> Self {
        Self { at_once, waiting: at_once.max(WAITING) }
    }

    /// At most so many wait in front of the stage: as many as are worked at,
    /// and at least 64, unless told.
    #[must_use]
    pub fn waiting(mut self, waiting: NonZeroUsize) -> Self {
        self.waiting = waiting;
        self
    }
}

impl From<NonZeroUsize> for Bound {
    fn from(at_once: NonZeroUsize) -> Self {
        Self::new(at_once)
    }
}

const WAITING: NonZeroUsize = crate::nz!(64);

/// A run to be, whose last stage so far gives `T`. Consuming builder.
///
/// ```
/// use selvedge::nz;
/// use selvedge::pipeline::{Flow, Overflow, Reason, key_value};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let report = Flow::lines("lines", ["a:1", "b:2", "bad", "a:3"])
///     .threads("parse", nz!(2), |line| {
///         let record = key_value(&line)?;
///         Ok((record.key.to_owned(), record.value))
///     })
///     .tasks("double", nz!(64), |(key, value)| async move {
///         tokio::time::sleep(Duration::from_millis(1)).await;
///         Ok((key, value * 2))
///     })
///     .totals(Overflow::Error)
///     .await?;
///
/// assert_eq!(report.totals.sorted(), [("a", 8), ("b", 4)]);
/// assert_eq!(report.samples[0].to_string(), "lines:3: no colon: \"bad\"");
/// # Ok::<(), selvedge::pipeline::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "it does nothing until it is folded or totalled, and that is awaited"]
pub struct Flow<T> {
    start: Start<T>,
    settings: Settings,
}

/// Starts the stages, and returns what the last one gives.
type Start<T> = Box<dyn FnOnce(&Running) -> Receiver<Parcel<T>> + Send>;

struct Settings {
    gauges: Vec<Arc<Gauge>>,
    /// What the stages may hold, all together.
    held: usize,
    window: Option<NonZeroUsize>,
    samples: usize,
    malformed_at_most: Option<u64>,
    token: Option<Token>,
    within: Option<Duration>,
    keep_going: bool,
    meter: Option<Meter>,
    /// A number that it was given and that cannot be.
    refused: Option<Error>,
}

impl Flow<Arc<str>> {
    /// Lines from an iterator, which is asked in a task: it should not block.
    /// `name` stands for the input in locations; offsets are those that the
    /// lines would have with a newline after each.
    pub fn lines<I>(name: &str, lines: I) -> Self
    where
        I: IntoIterator<Item: AsRef<str>, IntoIter: Send + 'static>,
    {
        Self::stream(name, source::Always(lines.into_iter()))
    }

    /// Lines from a stream, else as [`lines`](Self::lines).
    pub fn stream<S>(name: &str, lines: S) -> Self
    where
        S: Stream<Item: AsRef<str>> + Send + 'static,
    {
        let name = name.into();
        Self::from(|gauge| Box::new(move |running| source::stream(running, gauge, name, lines)))
    }

    /// Lines from a queue, else as [`lines`](Self::lines). Unlike a stream, a
    /// queue says how it ended: if it was not well ([`Closed::cause`]), the run
    /// fails with [`Error::Source`] after the lines that came. A producer that
    /// is cancelled half way is such an end if it sends through a
    /// [`Producer`](crate::queue::Producer).
    ///
    /// [`Closed::cause`]: crate::queue::Closed::cause
    ///
    /// ```
    /// use selvedge::pipeline::{Error, Flow};
    /// use selvedge::queue;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let (tx, rx) = queue::unbounded();
    /// let producer = tx.into_producer();
    /// producer.send("a:1")?;
    /// drop(producer); // without `finish`: there would have been more
    /// let ended = Flow::receiver("feed", rx).fold((), |(), _| Ok(())).await;
    /// assert!(matches!(ended, Err(Error::Source { at, .. }) if at.line == 2));
    /// # Ok::<(), queue::SendError<&str>>(())
    /// # }).unwrap();
    /// ```
    pub fn receiver<L>(name: &str, lines: Receiver<L>) -> Self
    where
        L: AsRef<str> + Send + 'static,
    {
        let name = name.into();
        Self::from(|gauge| Box::new(move |running| source::receiver(running, gauge, name, lines)))
    }

    /// The lines of all inputs in turn, read by a thread of their own. A line
    /// longer than `max_line` bytes is skipped and is malformed, and so is one
    /// that is not UTF-8, as in a [`Pipeline`](super::Pipeline). A `max_line` of
    /// more than 1 GiB is [`Error::OutOfRange`] when the flow is run.
    pub fn inputs<I>(inputs: I, max_line: NonZeroUsize) -> Self
    where
        I: IntoIterator<Item = Input, IntoIter: Send + 'static>,
    {
        let inputs = inputs.into_iter();
        let limit = bounded("max_line", max_line);
        let max_line = *limit.as_ref().unwrap_or(&0);
        let mut flow = Self::from(|gauge| {
            Box::new(move |running| source::read(running, gauge, inputs, max_line))
        });
        flow.settings.refused = limit.err();
        flow
    }

    fn from(start: impl FnOnce(Arc<Gauge>) -> Start<Arc<str>>) -> Self {
        let gauge = Gauge::new("source");
        let settings = Settings {
            gauges: vec![Arc::clone(&gauge)],
            held: source::WAITING.get(),
            window: None,
            samples: SAMPLES,
            malformed_at_most: None,
            token: None,
            within: None,
            keep_going: false,
            meter: None,
            refused: None,
        };
        Self { start: start(gauge), settings }
    }
}

impl<T: Send + 'static> Flow<T> {
    /// A stage of tasks, for work that waits: `bound` futures at once (a
    /// number, or a [`Bound`]).
    ///
    /// An error makes the line malformed. A panic fails the run, at the line's
    /// position, once all lines before it have been folded.
    pub fn tasks<U, F, W>(self, name: &'static str, bound: impl Into<Bound>, work: F) -> Flow<U>
    where
        U: Send + 'static,
        F: Fn(T) -> W + Send + Sync + 'static,
        W: Future<Output = Result<U, Reason>> + Send + 'static,
    {
        let bound = bound.into();
        self.then(name, bound, move |running, gauge, from| {
            stage::tasks(running, gauge, bound, from, work)
        })
    }

    /// A stage of threads, for work that computes: `bound` closures at once.
    /// Else as [`tasks`](Self::tasks).
    ///
    /// The threads are the run's own and do not run on after it. While they
    /// work they hold tokio's paused clock; see the [module](self#clock).
    pub fn threads<U, F>(self, name: &'static str, bound: impl Into<Bound>, work: F) -> Flow<U>
    where
        U: Send + 'static,
        F: Fn(T) -> Result<U, Reason> + Send + Sync + 'static,
    {
        let bound = bound.into();
        self.then(name, bound, move |running, gauge, from| {
            stage::threads(running, gauge, bound, from, work)
        })
    }

    fn then<U, S>(self, name: &'static str, bound: Bound, stage: S) -> Flow<U>
    where
        U: Send + 'static,
        S: FnOnce(&Running, Arc<Gauge>, Receiver<Parcel<T>>) -> Receiver<Parcel<U>>
            + Send
            + 'static,
    {
        let Self { start, mut settings } = self;
        let gauge = Gauge::new(name);
        settings.gauges.push(Arc::clone(&gauge));
        settings.held =
            settings.held.saturating_add(bound.at_once.get()).saturating_add(bound.waiting.get());
        let start = Box::new(move |running: &Running| {
            let from = start(running);
            stage(running, gauge, from)
        });
        Flow { start, settings }
    }

    /// At most so many lines are pulled from the source and not folded: twice
    /// what the stages may hold unless told. Fewer than a stage's bound leave
    /// lanes idle.
    pub fn window(mut self, window: NonZeroUsize) -> Self {
        self.settings.window = Some(window);
        self
    }

    /// How many malformed lines are kept as [`Report::samples`]: 10 unless
    /// told. All are counted.
    pub fn samples(mut self, at_most: usize) -> Self {
        self.settings.samples = at_most;
        self
    }

    /// Fails the run at the first malformed line beyond so many.
    pub fn malformed_at_most(mut self, limit: u64) -> Self {
        self.settings.malformed_at_most = Some(limit);
        self
    }

    /// Cancelling `token` stops the run: see [`Report::stopped`].
    pub fn token(mut self, token: Token) -> Self {
        self.settings.token = Some(token);
        self
    }

    /// Stops the run after so long: see [`Report::stopped`]. (A timeout around
    /// the run would drop it, and what it had done with it.)
    pub fn within(mut self, allowance: Duration) -> Self {
        self.settings.within = Some(allowance);
        self
    }

    /// Goes on with the next of the [inputs](Self::inputs) after one that
    /// cannot be opened, or not be read to its end, and lists it in
    /// [`Report::unreadable`]. By default that is [`Error::Input`], and the
    /// end of the run.
    pub fn keep_going(mut self) -> Self {
        self.settings.keep_going = true;
        self
    }

    /// Lets `meter` show this run.
    pub fn meter(mut self, meter: &Meter) -> Self {
        self.settings.meter = Some(meter.clone());
        self
    }

    /// Runs the stages and folds what they give, in the order of the source.
    /// An error of `fold` makes the line malformed.
    ///
    /// # Panics
    ///
    /// When polled outside of a runtime (with a clock, if stages or the run
    /// need one).
    ///
    /// # Errors
    ///
    /// [`Error`]: the first failure in the order of the source. Malformed
    /// lines are none, up to [`malformed_at_most`](Self::malformed_at_most).
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the stages in the background, and what was folded is
    /// dropped with it.
    ///
    /// ```
    /// use selvedge::{nz, pipeline::{Flow, Reason}};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let lengths = Flow::lines("words", ["warp", "weft", "selvedge"])
    ///     .tasks("measure", nz!(2), |word| async move { Ok(word.len()) })
    ///     .fold(Vec::new(), |lengths, length| {
    ///         lengths.push(length);
    ///         Ok(())
    ///     });
    /// assert_eq!(lengths.await.unwrap().totals, [4, 4, 8]);
    /// # });
    /// ```
    pub async fn fold<A, F>(self, initial: A, fold: F) -> Result<Report<A>, Error>
    where
        F: FnMut(&mut A, T) -> Result<(), Reason>,
    {
        self.run(initial, fold).await.map_err(|failed| {
            let Failed { error, so_far } = *failed;
            let _ = guard::dropped(so_far.totals);
            error
        })
    }

    /// [`fold`](Self::fold), with what was folded before a failure.
    async fn run<A, F>(self, initial: A, fold: F) -> Result<Report<A>, Box<Failed<A>>>
    where
        F: FnMut(&mut A, T) -> Result<(), Reason>,
    {
        let Self { start, mut settings } = self;
        let gauge = Gauge::new("aggregate");
        settings.gauges.push(Arc::clone(&gauge));
        if let Some(meter) = &settings.meter {
            meter.show(&settings.gauges);
        }
        let window = settings.window.map_or(settings.held.saturating_mul(2), NonZeroUsize::get);
        let stop = settings.token.map_or_else(Token::new, |token| token.child());
        let mut fold = Fold::new(initial, fold, gauge, settings.samples);
        fold.malformed_at_most = settings.malformed_at_most;
        fold.keep_going = settings.keep_going;
        if let Some(error) = settings.refused {
            return Err(Box::new(Failed { error, so_far: fold.into_report().0 }));
        }
        let (threads, panics) = (Threads::default(), Panics::default());
        let exit = {
            let (fold, threads, panics) = (&mut fold, threads.clone(), panics.clone());
            let (within, keep_going) = (settings.within, settings.keep_going);
            let body = |scope| async move {
                let folding = async {
                    let running = Running::new(scope, window, keep_going, threads, panics);
                    let from = start(&running);
                    fold.drive(from, &running.window).await.map_err(|()| Early::Unfinished)
                };
                match within {
                    None => folding.await,
                    Some(allowance) => {
                        let folded = with_timeout(folding, allowance).named("run").await;
                        folded.unwrap_or_else(|elapsed| Err(Early::Elapsed(elapsed)))
                    }
                }
            };
            scope().token(&stop).run(body).await
        };
        rt::holding_the_clock(threads.join()).await;
        let somewhere = fold.panicked_somewhere();
        let ended = if let Some(failed) = fold.failed.take() {
            Err(failed)
        } else if let Some(panic) = panics.first() {
            Err(somewhere(panic))
        } else {
            match exit.outcome {
                Outcome::Panicked(panic) => Err(somewhere(panic)),
                _ if fold.complete => Ok(None),
                Outcome::Cancelled(cancelled) => Ok(Some(Stopped::Cancelled(cancelled))),
                Outcome::Err(Early::Elapsed(elapsed)) => {
                    Ok(Some(Stopped::TimedOut(elapsed.into())))
                }
                // A thread may hear of the cancel first, and go.
                _ => match stop.check() {
                    Err(cancelled) => Ok(Some(Stopped::Cancelled(cancelled))),
                    Ok(()) => Err(Error::Shutdown),
                },
            }
        };
        let somewhere = fold.panicked_somewhere();
        let (folded, dropped) = fold.into_report();
        let report = Report { stages: meter::counts(&settings.gauges), ..folded };
        match ended.and_then(|stopped| dropped.map(|()| stopped).map_err(somewhere)) {
            Ok(stopped) => Ok(Report { stopped, ..report }),
            Err(error) => Err(Box::new(Failed { error, so_far: report })),
        }
    }
}

/// A failure, and what was folded before it.
struct Failed<A> {
    error: Error,
    so_far: Report<A>,
}

impl<K: AsRef<str> + Send + 'static> Flow<(K, i64)> {
    /// Runs the stages and totals the numbers per key, exactly.
    ///
    /// # Panics
    ///
    /// As [`fold`](Self::fold).
    ///
    /// # Errors
    ///
    /// As [`fold`](Self::fold); and a total that does not fit, under
    /// [`Overflow::Error`].
    ///
    /// # Cancel safety
    ///
    /// As [`fold`](Self::fold).
    pub async fn totals(self, overflow: Overflow) -> Result<Report, Error> {
        let gatherer = Gatherer::new();
        let mut adder = gatherer.adder();
        let add = |(): &mut (), (key, value): (K, i64)| {
            adder.add_now(key.as_ref(), value);
            Ok(())
        };
        let ended = self.run((), add).await;
        adder.done(Adder::batch());
        match ended {
            Ok(report) => report.with_totals(gatherer, overflow),
            Err(failed) => Err(match *failed {
                Failed { error: Error::Input { at, source, .. }, so_far } => {
                    let so_far = so_far.with_totals_so_far(gatherer, overflow);
                    Error::Input { at, source, so_far: Some(Box::new(so_far)) }
                }
                Failed { error, .. } => error,
            }),
        }
    }
}

impl<T> fmt::Debug for Flow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<_> = self.settings.gauges.iter().map(|gauge| gauge.name()).collect();
        f.debug_struct("Flow")
            .field("stages", &stages)
            .field("window", &self.settings.window)
            .finish_non_exhaustive()
    }
}
