//! The ordered map over threads.
//!
//! A closure is applied to every item of a source by several threads, and the
//! results come back in the order of the items: all at once as a vector
//! ([`map`](Threads::map), [`map_slice`](Threads::map_slice)), or lazily
//! ([`stream`](Threads::stream)) with a hard bound on how far the work runs
//! ahead of whoever consumes it.
//!
//! ```
//! use selvedge::threads::{self, Threads};
//!
//! let words = ["loom", "shuttle", "weft"];
//! assert_eq!(threads::map(words, str::len), [4, 7, 4]);
//!
//! // Endless input, bounded memory, borrowed state.
//! let offset = 10;
//! let sum: u64 = Threads::new().stream(0.., |n| n + offset, |results| results.take(100).sum());
//! assert_eq!(sum, (10..110).sum());
//! ```
//!
//! # Who does what
//!
//! The thread that calls is one of the workers, and the only one that pulls
//! the source, so the source need not be `Send` and closure and items may
//! borrow from its stack. ([`stream`](Threads::stream) is the exception: a
//! helper pulls, others work, and the caller hands out what is finished even
//! while the source blocks.) The others are helpers from one pool for the
//! process, spawned when first needed, kept for ten seconds when idle, at
//! most 1,024. The number of helpers follows `max_workers` and not the number
//! of cores: closures that block can be many. A call never waits for a helper
//! to become free; with none it does everything itself. One worker
//! (`max_workers` of 1) is a plain loop on the calling thread. A helper stays
//! with its job until the source has ended or the job is stopped.
//!
//! Since the caller works too, it does not pull while it is at an item: items
//! must not wait for what only later items do.
//!
//! # Chunks
//!
//! Unless [`chunk`](Threads::chunk) says otherwise, a worker takes as many
//! items at a time as lately took about 40 us: items of 20 ms go one at a
//! time, items of 100 ns some hundreds at a time. Items quicker than about
//! 10 ns cost more to hand to another core than to do: while that lasts the
//! caller does them alone, up to 4,096 at a time. A chunk that was taken is not
//! divided any more: where quick items turn slow at once, one worker may be
//! busy with a chunk of slow ones. `chunk(nz!(1))` avoids it.
//!
//! # Progress
//!
//! A caller that has nothing to do waits only for items that a helper has
//! started (of a stream: also for its source). It never runs another job's items meanwhile, so maps nest without
//! deadlock and without unrelated work on the stack.
//!
//! # Cancellation
//!
//! A map ends early when its results are dropped, when the closure that
//! consumes them returns or panics, when an item panics, or at an error. Items
//! that were not started never are; items that were are waited for. Nothing is
//! left running when a call returns, even if the iterator of results was
//! forgotten with `mem::forget`.
//!
//! # Destructors
//!
//! What was not done and what was not handed out is dropped value by value, and
//! a panic in that takes the place of no error and of no other panic. The
//! source and the closure are the caller's: the panic of their destructors goes
//! on to the caller, unless the call has an error or a panic already.
//!
//! # Fork
//!
//! A forked child has helpers of its own, from the first call on. A call that is
//! under way at the fork does not end in the child: its helpers are not there.
//!
//! # Model bounds
//!
//! The models run two or three items, one or two helpers, fixed chunks of one:
//! adaptive sizes (a pure policy with tests of its own) and the spinning before
//! a wait are left out. See `loom-tests/models/threads.rs`.

mod crew;
mod error;
mod indexed;
mod live;
mod pace;
mod pool;
mod results;
mod steps;
mod stream;
mod workers;

pub use error::{MapError, MapErrorKind, OnError};
#[doc(hidden)]
pub use pool::Pool;
pub use results::Results;

use crate::guard::{Each, Returned, Surfacing};
use crate::outcome::Outcome;
use crate::swap::Mutex;
use indexed::Indexed;
use live::Live;
use pace::Pace;
use results::{Driver, Hook, Limits};
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use steps::{Caught, FirstSeen, InOrder, Plain};
use stream::{Job, LARGEST_CHUNK, Step};
use workers::Workers;

/// The eager forms keep all results anyway and pull at least so far ahead.
const EAGER_AHEAD: usize = 4096;

/// Results that room is made for because a source says that it has so many.
const MOST_RESERVED: usize = 1 << 20;

/// [`Threads::map`] with the defaults.
pub fn map<I, R, F>(xs: I, f: F) -> Vec<R>
where
    I: IntoIterator<Item: Send>,
    R: Send,
    F: Fn(I::Item) -> R + Sync,
{
    Threads::new().map(xs, f)
}

/// How to run an ordered map over threads: a builder that is `Copy` and can
/// be used again.
#[derive(Clone, Copy, Default)]
#[must_use]
pub struct Threads<'a> {
    max_workers: Option<NonZeroUsize>,
    window: Option<NonZeroUsize>,
    chunk: Option<NonZeroUsize>,
    on_error: OnError,
    hook: Option<Hook<'a>>,
    pool: Option<&'a Pool>,
}

impl<'a> Threads<'a> {
    /// One worker a core, everything else as it comes.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many closures run at once, the caller's thread included.
    /// Default: [`available_parallelism`](std::thread::available_parallelism),
    /// which the first helper of the process asks for; until then it is two.
    pub fn max_workers(mut self, max_workers: NonZeroUsize) -> Self {
        self.max_workers = Some(max_workers);
        self
    }

    /// Hard bound, in items, on what was pulled from the source and not yet
    /// handed to the consumer: waiting, in flight and buffered together.
    ///
    /// Default: sixteen chunks a worker, never more than 65,536 items (the
    /// eager forms: at least 4,096 items). Fewer than `max_workers` leaves
    /// workers idle. [`map_slice`](Self::map_slice) and
    /// [`map_range`](Self::map_range) have no use for it.
    pub fn window(mut self, window: NonZeroUsize) -> Self {
        self.window = Some(window);
        self
    }

    /// Items are pulled, and handed to workers, so many at a time (fewer at the
    /// end of the input or of the window). Default: adaptive; see the
    /// [module](self).
    pub fn chunk(mut self, chunk: NonZeroUsize) -> Self {
        self.chunk = Some(chunk);
        self
    }

    /// Which error ends [`try_map`](Self::try_map). Default: the first in
    /// order.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Calls `hook(done, total)` on the calling thread whenever it takes stock:
    /// after each chunk of results received in order, or (slices, ranges) after
    /// each range that the caller did itself, and at the end. `done` never
    /// decreases and never exceeds `total`, which is `None` if the source does
    /// not know its length.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use selvedge::threads::Threads;
    ///
    /// let seen = AtomicUsize::new(0);
    /// let report = |done, total| {
    ///     assert_eq!(total, Some(50));
    ///     seen.store(done, Ordering::Relaxed);
    /// };
    /// Threads::new().progress(&report).map(0..50, |n| n * n);
    /// assert_eq!(seen.into_inner(), 50);
    /// ```
    pub fn progress(mut self, hook: &'a (dyn Fn(usize, Option<usize>) + Sync)) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Takes helpers from this pool: for models, which must not share one.
    #[doc(hidden)]
    pub fn on(mut self, pool: &'a Pool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The results of `f` for every item, in input order.
    ///
    /// # Panics
    ///
    /// With the payload of the panic of the lowest index, after everything has
    /// stopped; or with that of the source, if all items before were done.
    ///
    /// ```
    /// use selvedge::{nz, threads::Threads};
    ///
    /// let squares = Threads::new().max_workers(nz!(4)).map([1, 2, 3], |n| n * n);
    /// assert_eq!(squares, [1, 4, 9]);
    /// ```
    pub fn map<I, R, F>(&self, xs: I, f: F) -> Vec<R>
    where
        I: IntoIterator<Item: Send>,
        R: Send,
        F: Fn(I::Item) -> R + Sync,
    {
        let xs = xs.into_iter();
        // Dropped one by one if an item panics.
        let mut all = Each::new(Vec::new());
        // An endless source gives a lower bound too. A hint is a hint: if
        // there is no room for what it promises, that is found out later.
        if let (least, Some(most)) = xs.size_hint()
            && least == most
        {
            let _ = all.try_reserve_exact(least.min(MOST_RESERVED));
        }
        let ran = self.run(xs, Plain(f), EAGER_AHEAD, |results| {
            all.extend(results);
            all
        });
        ran.or_panic().into_vec()
    }

    /// The results of `f` for every element of a slice, in order. The fastest
    /// form: workers write straight into the output.
    ///
    /// # Panics
    ///
    /// As [`map`](Self::map); the ranges that workers have begun are finished
    /// first.
    ///
    /// ```
    /// use selvedge::threads::Threads;
    ///
    /// let text = vec!["a".to_string(), "bc".to_string()];
    /// let lengths = Threads::new().map_slice(&text, |word| word.len());
    /// assert_eq!(lengths, [1, 2]);
    /// ```
    pub fn map_slice<'x, T, R, F>(&self, xs: &'x [T], f: F) -> Vec<R>
    where
        T: Sync,
        R: Send,
        F: Fn(&'x T) -> R + Sync,
    {
        let f = Surfacing::new(f);
        let block = |range: Range<usize>| xs[range].iter().map(&*f);
        let all = self.indexed(xs.len(), block);
        all.after(f.end()).or_panic().into_vec()
    }

    /// The results of `f` for every index in `range`, in order, without a
    /// source to pull.
    ///
    /// # Panics
    ///
    /// As [`map`](Self::map); and if there is no memory for so many results.
    ///
    /// ```
    /// use selvedge::threads::Threads;
    ///
    /// assert_eq!(Threads::new().map_range(3..6, |i| i * 10), [30, 40, 50]);
    /// ```
    pub fn map_range<R, F>(&self, range: Range<usize>, f: F) -> Vec<R>
    where
        R: Send,
        F: Fn(usize) -> R + Sync,
    {
        let start = range.start;
        let f = Surfacing::new(f);
        let block = |part: Range<usize>| (start + part.start..start + part.end).map(&*f);
        let all = self.indexed(range.len(), block);
        all.after(f.end()).or_panic().into_vec()
    }

    /// The values of `f` for every item, in input order, or the error at which
    /// the map stopped ([`on_error`](Self::on_error) says which).
    ///
    /// # Errors
    ///
    /// The index of an item and what its closure returned or panicked with.
    /// Items after it are not started, and the source is not pulled, once the
    /// error is noticed; results after it are dropped.
    ///
    /// # Panics
    ///
    /// If the source does, and no error comes before that.
    ///
    /// ```
    /// use selvedge::threads::Threads;
    ///
    /// let error = Threads::new().try_map(["1", "two", "3", "iv"], str::parse::<u8>).unwrap_err();
    /// assert_eq!(error.index, 1);
    /// assert_eq!(error.to_string(), "item 1: invalid digit found in string");
    /// ```
    pub fn try_map<I, R, E, F>(&self, xs: I, f: F) -> Result<Vec<R>, MapError<E>>
    where
        I: IntoIterator<Item: Send>,
        R: Send,
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Sync,
    {
        let xs = xs.into_iter();
        match self.on_error {
            OnError::FirstInOrder => {
                let ran = self.run(xs, InOrder(f), EAGER_AHEAD, |mut results| {
                    // Dropped one by one if there is an error.
                    let mut all = Each::new(Vec::new());
                    while let Some(entry) = results.entry() {
                        let index = all.len();
                        match entry {
                            Ok(Ok(value)) => all.push(value),
                            Ok(Err(error)) => {
                                return Err(MapError { index, kind: MapErrorKind::Error(error) });
                            }
                            Err(payload) => {
                                return Err(MapError::panicked(index, payload));
                            }
                        }
                    }
                    Ok(all)
                });
                ran.error_or_panic().map(Each::into_vec)
            }
            OnError::FirstSeen => {
                let first = Surfacing::new(Mutex::new(None));
                let step = FirstSeen { f, first: &*first };
                let ran = self.run(xs, step, EAGER_AHEAD, all);
                match first.into_inner().into_inner() {
                    None => Ok(ran.or_panic().into_vec()),
                    Some(error) => Err(error),
                }
            }
        }
    }

    /// How every item ended, in input order: its value, its error or its
    /// panic. Nothing stops the map.
    ///
    /// # Panics
    ///
    /// If the source does.
    ///
    /// ```
    /// use selvedge::{outcome::Outcome, threads::Threads};
    ///
    /// let ends = Threads::new().map_outcomes([4, 0], |n| match n {
    ///     0 => Err("zero"),
    ///     n => Ok(12 / n),
    /// });
    /// assert_eq!(ends, [Outcome::Ok(3), Outcome::Err("zero")]);
    /// ```
    pub fn map_outcomes<I, R, E, F>(&self, xs: I, f: F) -> Vec<Outcome<R, E>>
    where
        I: IntoIterator<Item: Send>,
        R: Send,
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Sync,
    {
        self.run(xs.into_iter(), Caught(f), EAGER_AHEAD, all).or_panic().into_vec()
    }

    /// Gives `body` the results of `f`, lazily and in input order, each as soon
    /// as it and those before it are finished.
    ///
    /// Nothing is pulled before the first result is asked for. From then on a
    /// helper pulls the source, as far ahead as [`window`](Self::window)
    /// allows, so endless sources are fine, and so are sources that block: what
    /// is finished meanwhile is handed out, and what `body` does with a result
    /// may be what the source waits for. A source that is not `Send` goes to
    /// [`stream_here`](Self::stream_here).
    ///
    /// Helpers do the items, at most [`max_workers`](Self::max_workers) at once;
    /// the calling thread pulls and works only when it owes no result. With one
    /// worker it does everything, one item after the other.
    ///
    /// A closure that returns `Result` makes a stream of results: collect it
    /// into a `Result<Vec<_>, _>` to stop at the first error in order.
    ///
    /// # Cancel safety
    ///
    /// When `body` returns or panics, or drops the results, the work stops:
    /// nothing is pulled or started any more. This call returns when the last
    /// item under way is finished and the source has returned from the pull it
    /// is in. Nothing interrupts a source that blocks: `body` must close the
    /// queue, socket or channel that the source reads before it returns early.
    ///
    /// # Panics
    ///
    /// If `body` does; if an item or the source panicked, and its turn comes
    /// (see [`Results`]).
    ///
    /// ```
    /// use selvedge::{nz, queue, threads::Threads};
    ///
    /// let lines = "5\n7\nx\n9".lines();
    /// let sum = Threads::new().window(nz!(64)).stream(lines, str::parse::<u32>, |results| {
    ///     results.map_while(Result::ok).sum::<u32>()
    /// });
    /// assert_eq!(sum, 12);
    ///
    /// // Results that feed the source.
    /// let (tx, rx) = queue::unbounded();
    /// tx.send(27_u32)?;
    /// let next = |n| if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
    /// let steps = Threads::new().stream(rx.iter(), next, |results| {
    ///     let mut steps = 0;
    ///     for n in results {
    ///         steps += 1;
    ///         if n == 1 {
    ///             tx.close();
    ///         } else {
    ///             tx.send(n).expect("open");
    ///         }
    ///     }
    ///     steps
    /// });
    /// assert_eq!(steps, 111);
    /// # Ok::<(), queue::SendError<u32>>(())
    /// ```
    pub fn stream<I, R, F, B, O>(&self, xs: I, f: F, body: B) -> O
    where
        I: IntoIterator<Item: Send, IntoIter: Send>,
        R: Send,
        F: Fn(I::Item) -> R + Sync,
        B: FnOnce(Results<'_, R>) -> O,
    {
        self.run_live(xs.into_iter(), Plain(f), body).or_panic()
    }

    /// [`stream`](Self::stream) for a source that is not `Send`: the calling
    /// thread pulls it, inside `next`, as far ahead as
    /// [`window`](Self::window) allows, and works too.
    ///
    /// While the source blocks no result is handed out, even one that has been
    /// finished: a source that waits for what `body` does with a result waits
    /// for ever, unless the window is one item. While this thread is at an item,
    /// nothing is pulled.
    ///
    /// # Cancel safety
    ///
    /// When `body` returns or panics, or drops the results, the work stops;
    /// this call returns when the last item under way is finished.
    ///
    /// # Panics
    ///
    /// As [`stream`](Self::stream).
    ///
    /// ```
    /// use selvedge::threads::Threads;
    /// use std::cell::Cell;
    ///
    /// let pulled = Cell::new(0);
    /// let source = (1..=4).inspect(|_| pulled.set(pulled.get() + 1));
    /// let sum: i32 = Threads::new().stream_here(source, |n| n * n, |squares| squares.sum());
    /// assert_eq!((sum, pulled.get()), (30, 4));
    /// ```
    pub fn stream_here<I, R, F, B, O>(&self, xs: I, f: F, body: B) -> O
    where
        I: IntoIterator<Item: Send>,
        R: Send,
        F: Fn(I::Item) -> R + Sync,
        B: FnOnce(Results<'_, R>) -> O,
    {
        self.run(xs.into_iter(), Plain(f), 0, body).or_panic()
    }

    /// [`stream`](Self::stream) of how every item ended: errors and panics are
    /// elements and stop nothing.
    ///
    /// # Panics
    ///
    /// If `body` or the source does.
    pub fn stream_outcomes<I, R, E, F, B, O>(&self, xs: I, f: F, body: B) -> O
    where
        I: IntoIterator<Item: Send, IntoIter: Send>,
        R: Send,
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Sync,
        B: FnOnce(Results<'_, Outcome<R, E>>) -> O,
    {
        self.run_live(xs.into_iter(), Caught(f), body).or_panic()
    }

    fn limits(&self, ahead: usize) -> Limits<'a> {
        Limits {
            workers: Workers(self.max_workers),
            window: self.window,
            chunk: self.chunk,
            ahead,
            hook: self.hook,
        }
    }

    fn pool(&self) -> &'a Pool {
        self.pool.unwrap_or_else(|| Pool::of_process())
    }

    fn run<I, S, O>(
        &self,
        source: I,
        step: S,
        ahead: usize,
        body: impl FnOnce(Results<'_, S::Out>) -> O,
    ) -> Returned<O>
    where
        I: Iterator<Item: Send>,
        S: Step<I::Item>,
    {
        let limits = self.limits(ahead);
        let pace = Pace::new(self.chunk, LARGEST_CHUNK);
        let widest = self.window.map_or(usize::MAX, NonZeroUsize::get);
        let job = Job::<_, _, ()>::new(step, limits.workers, pace, widest, None);
        let help = |crew: &_| job.help(crew);
        let ran = self.pool().crew(limits.workers, usize::MAX, 0, &help, |crew| {
            let mut driver = Driver::new(&job, crew, limits, source);
            let ran = Returned::new(body(Results::new(&mut driver)));
            ran.after(driver.close())
        });
        ran.after(job.end())
    }

    fn run_live<I, S, O>(
        &self,
        source: I,
        step: S,
        body: impl FnOnce(Results<'_, S::Out>) -> O,
    ) -> Returned<O>
    where
        I: Iterator<Item: Send> + Send,
        S: Step<I::Item>,
    {
        let limits = self.limits(0);
        let pace = Pace::new(self.chunk, LARGEST_CHUNK);
        let widest = self.window.map_or(usize::MAX, NonZeroUsize::get);
        let total = live::total(&source);
        let job = Job::new(step, limits.workers, pace, widest, Some(source));
        // One pulls, and one works where the caller does not.
        let help = |crew: &_| job.pull_or_help(crew, limits);
        let ran = self.pool().crew(limits.workers, usize::MAX, 2, &help, |crew| {
            let mut driver = Live::new(&job, crew, limits, total);
            Returned::new(body(Results::new(&mut driver)))
        });
        ran.after(job.end())
    }

    fn indexed<R, B>(
        &self,
        len: usize,
        block: impl Fn(Range<usize>) -> B + Sync,
    ) -> Returned<Each<R>>
    where
        R: Send,
        B: Iterator<Item = R>,
    {
        match Indexed::run(self.pool(), self.limits(0), len, block) {
            Ok(all) => Returned::new(Each::new(all)),
            Err((_, payload)) => payload.resume(),
        }
    }
}

/// All results. If one panics, the others are dropped one by one.
fn all<R>(results: Results<'_, R>) -> Each<R> {
    let mut all = Each::new(Vec::new());
    all.extend(results);
    all
}

impl fmt::Debug for Threads<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("max_workers", &self.max_workers)
            .field("window", &self.window)
            .field("chunk", &self.chunk)
            .field("on_error", &self.on_error)
            .field("progress", &self.hook.is_some())
            .finish()
    }
}
