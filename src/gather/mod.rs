//! Many futures, at most a limit of them at the same time.
//!
//! [`gather`] takes futures that return a `Result` and gives every input exactly
//! one outcome: its value, its error, its panic or its timeout. The futures are
//! pulled from an iterator or a stream when they can start, so there may be a
//! million of them, or no end.
//!
//! ```
//! use selvedge::{gather::gather_with, nz};
//! use std::time::Duration;
//!
//! async fn size(url: &str) -> Result<usize, String> {
//!     if url.starts_with('/') { Ok(100 * url.len()) } else { Err(format!("bad URL {url}")) }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sizes = gather_with(["/", "/news", "news"], size)
//!     .limit(nz!(8))
//!     .each_within(Duration::from_secs(5));
//! let (found, failed) = sizes.partition().await?;
//! assert_eq!(found, [(0, 100), (1, 500)]);
//! assert_eq!(failed[0].to_string(), "item 2: error: bad URL news");
//! # Ok(())
//! # }
//! ```
//!
//! # Which form
//!
//! | wanted | spawned | in place |
//! |---|---|---|
//! | every outcome | [`collect`](Gather::collect) | [`collect_in_place`](Gather::collect_in_place) |
//! | all values, or the first failure | [`try_collect`](Gather::try_collect) | [`try_collect_in_place`](Gather::try_collect_in_place) |
//! | values and failures apart | [`partition`](Gather::partition) | [`Outcomes::halves`] of every outcome |
//! | one by one, in order or [as they end](Gather::unordered) | [`stream`](Gather::stream) | |
//!
//! *Spawned* futures are tasks of the tokio runtime: they are `Send + 'static`, run
//! in parallel, and go on while the caller does something else. *In place* they are
//! polled by the caller alone: they may borrow, need neither `Send` nor a runtime,
//! and move only while the gather is polled. (A future that holds a lock between
//! two polls, which the caller then waits for elsewhere, deadlocks in place.)
//!
//! # What is promised
//!
//! * **Limit.** No more than [`limit`](Gather::limit) futures exist at one time,
//!   and the source is not pulled for one that cannot start.
//! * **One outcome per input**, at its index, whatever stops the whole: the outcomes
//!   of the items that had ended are in [`Stopped`].
//! * **Joined.** When a result is returned, no future of the gather is alive.
//! * **Bounded.** A stream holds at most [`window`](Gather::window) items that are
//!   in flight or not taken.
//! * **A panic** of a future, or of its destructor, is the outcome of that item.
//!   Cancelling the whole is never the outcome of an item.
//!
//! # Cost
//!
//! A task per lane and not per item, and O(limit) memory beside the results. In
//! place nothing is spawned; a wake-up costs one bit, and a poll looks at the bits
//! that are set.
//!
//! # Deadlines
//!
//! [`each_within`](Gather::each_within) gives each item a deadline. A timeout around
//! the gather ends the gather; its items cannot read that deadline, unless each is
//! given it with [`inherit`](crate::timeout::inherit)`(current(), item)`.
//!
//! # Cancel safety
//!
//! Dropping a spawned gather aborts its tasks: their futures are dropped at their
//! next await, which the drop does not wait for (the [scope](crate::scope) in which
//! the gather began does). To have them joined, cancel through
//! [`Gather::token`].
//!
//! ---
//!
//! # Algorithm
//!
//! *Spawned* ([`Gather::collect`], [`Gather::try_collect`],
//! [`Gather::stream`]): a *lane* is a task that pulls an item, runs it to its
//! end, hands its outcome in, and pulls the next. There are as many lanes as
//! the limit at most, and a lane is its own permit, so the source is never
//! asked for an item that could not start. A lane that finds an item starts
//! the next lane.
//!
//! *In place* ([`Gather::collect_in_place`]): an array of slots, each with a
//! future and a waker that sets a bit; the caller polls the slots whose
//! bits are set.
//!
//! # States of an item
//!
//! | state | counted in |
//! |---|---|
//! | in the source | nothing: it does not exist yet |
//! | in flight, in a lane | `pulled`, not `done` |
//! | finished, in the buffer | `done`, not `taken` |
//! | taken by the consumer | `taken` |
//!
//! # Invariants
//!
//! 1. *Limit*: in flight <= lanes <= limit.
//! 2. *Window*: in flight + buffered = `pulled - taken` <= window, for a
//!    stream; a `collect` has no window, since it keeps everything.
//! 3. *One outcome for each*: an item's index is given under the lock that it
//!    is pulled under, and its outcome is handed in once, under that lock.
//! 4. *No lane is forgotten*: whenever a lane may pull (no other lane waits for
//!    the source, and the window has room) and lanes stand in line, one of
//!    them has been called. A called lane that is dropped calls the next.
//! 5. *Joined*: the result is there only when all lanes have ended, and with
//!    them the futures that they ran.
//! 6. *No outcome is thrown away*: whatever stops the gather, each item that
//!    has ended is handed out with its outcome, before the reason.
//! 7. *Destructors*: an item whose destructor panics has ended with
//!    `Panicked`, unless it had failed before. It stops nothing else.
//!
//! # Progress
//!
//! Spawned lanes run whether the consumer polls or not, up to the window. One
//! future that blocks its thread holds up its lane only (and its thread).
//! The source is pulled under a lock of the gather's own: a source that
//! blocks holds up the lanes that want the next item.
//!
//! # Model bounds
//!
//! Three items, limit two; see `loom-tests/models/gather.rs`, and
//! `cancel_points.rs` beside it for a stop at every poll.

mod consumer;
mod in_place;
mod item;
mod kept;
mod lanes;
#[doc(hidden)]
pub mod ready;

pub use consumer::GatherStream;

use crate::cancel::Token;
use crate::guard;
use crate::outcome::{Cancelled, Failure, IntoOutcome, Outcome, Outcomes, Panic};
use crate::rt::Turn;
use consumer::Consumer;
use futures_core::Stream;
use in_place::InPlace;
use item::{ErrorOf, OutcomeOf, ValueOf};
use kept::{InOrder, Kept};
use lanes::{Hook, KeptOf, Settings, Shared, Stop};
use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Gathers the outcomes of futures, each of which returns a `Result` (or an
/// [`Outcome`]). The iterator is pulled as futures
/// can start, so it may be endless, and `map` makes a future just in time.
///
/// ```
/// use selvedge::{gather::gather, nz};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let squares = gather((0..5_u32).map(|n| async move { Ok::<_, ()>(n * n) }));
/// assert_eq!(squares.limit(nz!(2)).try_collect().await.unwrap(), [0, 1, 4, 9, 16]);
/// # });
/// ```
pub fn gather<I: IntoIterator<Item: Future<Output: IntoOutcome>>>(
    futures: I,
) -> Gather<Iter<I::IntoIter>> {
    gather_stream(Iter(futures.into_iter()))
}

/// [`gather`] over items and a closure that makes a future of each.
pub fn gather_with<I, M, F>(items: I, make: M) -> Gather<Iter<std::iter::Map<I::IntoIter, M>>>
where
    I: IntoIterator,
    M: FnMut(I::Item) -> F,
    F: Future<Output: IntoOutcome>,
{
    gather(items.into_iter().map(make))
}

/// [`gather`] over a stream of futures.
pub fn gather_stream<S: Stream<Item: Future<Output: IntoOutcome>>>(source: S) -> Gather<S> {
    Gather {
        source,
        limit: crate::nz!(64),
        window: None,
        ordered: true,
        each: None,
        token: None,
        grace: Duration::ZERO,
        hook: None,
    }
}

/// An iterator as a stream that is always ready.
#[derive(Clone)]
pub struct Iter<I>(I);

impl<I> fmt::Debug for Iter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

// The iterator is not pinned.
impl<I> Unpin for Iter<I> {}

impl<I: Iterator> Stream for Iter<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// How far a gather is: see [`Gather::on_progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Items that were started.
    pub started: usize,
    /// Items that have ended.
    pub done: usize,
    /// Those of them that gave no value.
    pub failed: usize,
    /// Whether `started` is all there is.
    pub source_ended: bool,
}

/// A gather that was stopped: why, and what had ended by then.
///
/// Every input that ended has its outcome here, whatever stopped the whole.
/// What is not here was in flight and was dropped, or had not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped<T, E> {
    /// What stopped it.
    pub why: Interrupted,
    /// The outcomes of the items that had ended, with their indices, in the
    /// order of the items.
    pub ended: Vec<(usize, Outcome<T, E>)>,
}

type OutcomesOf<F> = Outcomes<ValueOf<F>, ErrorOf<F>>;
type StoppedOf<F> = Stopped<ValueOf<F>, ErrorOf<F>>;
type HalvesOf<F> = (Vec<(usize, ValueOf<F>)>, Vec<Failure<ErrorOf<F>>>);

/// Why a gather was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interrupted {
    /// The token was cancelled.
    Cancelled(Cancelled),
    /// The source panicked, when it was polled or dropped, or the progress
    /// hook. (A future that panics, when polled or dropped, is an outcome.)
    Panicked(Panic),
    /// The runtime on which the lanes ran was shut down.
    Shutdown,
}

/// Why [`Gather::try_collect`] gave no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatherError<E> {
    /// The item that failed first, in time.
    Failed(Failure<E>),
    /// The gather itself was interrupted.
    Interrupted(Interrupted),
}

/// A gather that has not begun.
#[must_use = "a gather does nothing until it is collected or streamed"]
pub struct Gather<S> {
    source: S,
    limit: NonZeroUsize,
    window: Option<NonZeroUsize>,
    ordered: bool,
    each: Option<Duration>,
    token: Option<Token>,
    grace: Duration,
    hook: Option<Hook>,
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Gather<S> {
    /// Most items in flight. Defaults to 64. A large limit by itself costs
    /// nothing: room is made for the items that are in flight.
    pub fn limit(mut self, limit: NonZeroUsize) -> Self {
        self.limit = limit;
        self
    }

    /// For a stream: at most so many in flight or finished and not taken.
    /// Twice the limit unless told. A window below the limit is a limit.
    pub fn window(mut self, window: NonZeroUsize) -> Self {
        self.window = Some(window);
        self
    }

    /// For a stream: in the order in which they end.
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// Gives each item so long, counted from its first poll.
    pub fn each_within(mut self, allowance: Duration) -> Self {
        self.each = Some(allowance);
        self
    }

    /// Cancelling `token` stops the gather, and the gather cancels it when it
    /// stops early for another reason: give it a [`child`](Token::child) of
    /// its own. Items that hold a child of it hear of both.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// When the gather stops early, items get so long to end by themselves
    /// (having heard of it through the [`token`](Self::token)) before they are
    /// dropped. Zero unless told.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Calls `hook` after each item of the spawned forms, in the lane that ran
    /// it.
    pub fn on_progress(mut self, hook: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Every outcome, in the order of the items, polled in place: see the
    /// module's documentation for what that means. The futures may borrow.
    ///
    /// # Errors
    ///
    /// [`Stopped`], with the outcomes of the items that had ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the futures.
    ///
    /// ```
    /// use selvedge::gather::gather;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let words = vec![String::from("warp"), String::from("weft")];
    /// let lengths = gather(words.iter().map(async |word| Ok::<_, ()>(word.len())));
    /// assert_eq!(lengths.collect_in_place().await.unwrap().all().unwrap(), [4, 4]);
    /// # });
    /// ```
    pub async fn collect_in_place(self) -> Result<OutcomesOf<S::Item>, StoppedOf<S::Item>> {
        let mut outcomes = InOrder::of(&self.source);
        let ran = self.run_in_place(|index, outcome| {
            outcomes.put(index, outcome);
            true
        });
        match ran.await {
            Ok(()) => Ok(outcomes.into_vec().into_iter().collect()),
            Err(why) => Err(Stopped { why, ended: outcomes.into_some() }),
        }
    }

    /// All values in the order of the items, polled in place; at the first
    /// failure the others are dropped.
    ///
    /// # Errors
    ///
    /// [`GatherError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the futures.
    pub async fn try_collect_in_place(
        self,
    ) -> Result<Vec<ValueOf<S::Item>>, GatherError<ErrorOf<S::Item>>> {
        let (mut values, mut failed) = (InOrder::of(&self.source), None);
        let ran = self.run_in_place(|index, outcome| match outcome.into_result() {
            Ok(value) => {
                values.put(index, value);
                true
            }
            Err(outcome) => {
                let surplus = match failed {
                    None => failed.replace(Failure::new(index, outcome)),
                    Some(_) => Some(Failure::new(index, outcome)),
                };
                let _ = guard::dropped(surplus);
                false
            }
        });
        let ran = ran.await;
        match (ran, failed) {
            (Ok(()), Some(failure)) => Err(GatherError::Failed(failure)),
            (Ok(()), None) => Ok(values.into_vec()),
            (Err(why), surplus) => {
                let _ = guard::dropped(surplus);
                Err(GatherError::Interrupted(why))
            }
        }
    }

    /// Calls `finish` with each outcome, until it returns `false`.
    async fn run_in_place(
        self,
        mut finish: impl FnMut(usize, OutcomeOf<S::Item>) -> bool,
    ) -> Result<(), Interrupted> {
        // Dropped before this returns, and with it what it runs.
        let mut run = InPlace::new(self.source, self.limit.get(), self.each);
        let token = self.token.unwrap_or_default();
        let mut cancelled = pin!(token.cancelled());
        let mut turn = Turn::new();
        let ran = poll_fn(|context| {
            if let Poll::Ready(cause) = cancelled.poll_now(context) {
                return Poll::Ready(Err(Interrupted::Cancelled(cause)));
            }
            let polled = turn.poll(context, |context| run.poll(context, &mut finish));
            polled.map_err(Interrupted::Panicked)
        });
        let ran = ran.await;
        run.stop(&mut finish);
        ran
    }
}

impl<S> Gather<S>
where
    S: Stream<Item: Future<Output: IntoOutcome> + Send + 'static> + Send + 'static,
    ValueOf<S::Item>: Send + 'static,
    ErrorOf<S::Item>: Send + 'static,
{
    fn start(self, kept: KeptOf<S>) -> Consumer<S> {
        let limit = self.limit.get();
        let window = self.window.map_or_else(|| limit.saturating_mul(2), NonZeroUsize::get);
        let settings = Settings {
            limit,
            window: if kept.is_eager() { usize::MAX } else { window },
            each: self.each,
            hook: self.hook,
        };
        Consumer::new(Shared::start(self.source, kept, settings), self.token, self.grace)
    }

    /// Every outcome, in the order of the items.
    ///
    /// # Panics
    ///
    /// When it is polled outside of a runtime.
    ///
    /// # Errors
    ///
    /// [`Stopped`], with the outcomes of the items that had ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping it aborts the items, and does not wait for them; outcomes are
    /// lost with it. To keep them under a deadline, let the deadline cancel
    /// the [`token`](Self::token):
    /// [`Timeout::or_grace`](crate::timeout::Timeout::or_grace).
    pub async fn collect(self) -> Result<OutcomesOf<S::Item>, StoppedOf<S::Item>> {
        let kept = Kept::for_outcomes_of(&self.source);
        let mut consumer = self.start(kept);
        let stop = consumer.join().await;
        let outcomes = consumer.rest().outcomes();
        match stop {
            Some(Stop::Interrupted(why)) => Err(Stopped { why, ended: outcomes.into_some() }),
            _ => Ok(outcomes.into_vec().into_iter().collect()),
        }
    }

    /// All values in the order of the items. At the first failure no more
    /// items are started, those in flight are stopped (after the
    /// [`grace`](Self::grace)) and joined, and then it returns. All or
    /// nothing: with the error, the values are dropped. [`collect`](Self::collect)
    /// keeps them.
    ///
    /// # Panics
    ///
    /// When it is polled outside of a runtime.
    ///
    /// # Errors
    ///
    /// [`GatherError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it aborts the items, and does not wait for them.
    pub async fn try_collect(self) -> Result<Vec<ValueOf<S::Item>>, GatherError<ErrorOf<S::Item>>> {
        let kept = Kept::for_values_of(&self.source);
        let mut consumer = self.start(kept);
        match consumer.join().await {
            Some(Stop::Interrupted(why)) => Err(GatherError::Interrupted(why)),
            _ => consumer.rest().values().map_err(GatherError::Failed),
        }
    }

    /// The values and the failures, each with its index.
    ///
    /// # Panics
    ///
    /// When it is polled outside of a runtime.
    ///
    /// # Errors
    ///
    /// [`Stopped`], with the outcomes of the items that had ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping it aborts the items, and does not wait for them.
    pub async fn partition(self) -> Result<HalvesOf<S::Item>, StoppedOf<S::Item>> {
        self.collect().await.map(Outcomes::halves)
    }

    /// Outcomes one by one, with their indices, in the order of the items (or
    /// [`unordered`](Self::unordered)). The items start at once, and run on
    /// while the stream is not polled, until the window is full.
    ///
    /// A stream that is stopped gives what has ended first, without what was
    /// dropped in between, and then what stopped it.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn stream(self) -> GatherStream<S> {
        let kept = Kept::for_stream(self.ordered);
        GatherStream::new(self.start(kept))
    }
}

impl<S> fmt::Debug for Gather<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather")
            .field("limit", &self.limit)
            .field("window", &self.window)
            .field("ordered", &self.ordered)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled(cancelled) => cancelled.fmt(f),
            Self::Panicked(panic) => panic.fmt(f),
            Self::Shutdown => f.write_str("the runtime was shut down"),
        }
    }
}

impl std::error::Error for Interrupted {}

impl<T, E> fmt::Display for Stopped<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped after {} items had ended: {}", self.ended.len(), self.why)
    }
}

impl<T: fmt::Debug, E: fmt::Debug> std::error::Error for Stopped<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

impl<E: fmt::Display> fmt::Display for GatherError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Interrupted(interrupted) => interrupted.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for GatherError<E> {}
