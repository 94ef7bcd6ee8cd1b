//! The pool itself.

use super::builder::Builder;
use super::codec::Portable;
use super::error::{Failed, Fault, NotShippable, Report};
use super::ordered::Ordered;
use super::shell::Shared;
use super::ship::{self, Job};
use super::stream::Stream;
use super::supervisor::Event;
use crate::guard::{self, Each, Returned};
use crate::outcome::Outcome;
use crate::rt::Turn;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Worker processes that run functions of this program. See the
/// [module](super).
///
/// `C` is the type of the context that tasks share, if there is one.
///
/// Dropping a pool kills its workers: [`shutdown`](Self::shutdown) first if
/// submitted tasks are to be finished. In a process that was forked from the
/// one that built it, a pool is broken, and dropping it does nothing.
pub struct Pool<C = ()> {
    pub(super) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    context: PhantomData<fn(C)>,
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.shared.workers).finish_non_exhaustive()
    }
}

impl Pool {
    /// Options for a new pool.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<C: Send + Sync + 'static> Pool<C> {
    pub(super) fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        Self { shared, thread: Some(thread), context: PhantomData }
    }

    /// The values of `f` for every item, in input order.
    ///
    /// Items travel in batches whose size follows what the tasks take.
    ///
    /// # Errors
    ///
    /// The failure of the lowest index. Items after it that have not started
    /// never will be; one that is running is let finish, and dropped.
    ///
    /// ```
    /// use selvedge::{nz, process::Pool};
    ///
    /// let pool = Pool::builder().workers(nz!(2)).build()?;
    /// assert_eq!(pool.map(|n: u64| n * n, 0..5)?, [0, 1, 4, 9, 16]);
    ///
    /// let failed = pool.map(|n: u32| 12 / n, [4, 0, 3]).unwrap_err();
    /// assert_eq!(failed.index, 1);
    /// assert!(failed.to_string().starts_with("item 1: panicked: attempt to divide by zero"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A closure that captures something is refused when it is compiled:
    ///
    /// ```compile_fail,E0080
    /// # let pool = selvedge::process::Pool::builder().build().unwrap();
    /// let factor = 3;
    /// let _ = pool.map(move |n: u64| n * factor, 0..5);
    /// ```
    pub fn map<I, R, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        self.all(ship::plain(f), xs)
    }

    /// [`map`](Self::map) with the pool's context.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// ```
    /// use selvedge::process::Pool;
    ///
    /// let words = vec!["warp".to_owned(), "weft".to_owned()];
    /// let pool = Pool::builder().context(words).build()?;
    /// let lengths = pool.map_with(|words: &Vec<String>, at: usize| words[at].len(), [1, 0, 1])?;
    /// assert_eq!(lengths, [4, 4, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_with<I, R, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(&C, I::Item) -> R + Copy + Send + 'static,
    {
        self.all(ship::with_context(f), xs)
    }

    fn all<I, R>(&self, job: Result<Job<I::Item, R>, NotShippable>, xs: I) -> Result<Vec<R>, Failed>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
    {
        let mut reports = self.ordered(job, xs.into_iter(), None)?;
        let mut all = Each::new(Vec::with_capacity(reports.size_hint().0.min(1 << 20)));
        let failed = loop {
            match reports.next().map(Report::into_result) {
                Some(Ok(value)) => all.push(value),
                Some(Err(failed)) => break Err(failed),
                None => break Ok(()),
            }
            reports.values(|value| all.push(value));
        };
        returned(failed.map(|()| all), reports)
    }

    pub(super) fn ordered<I, R>(
        &self,
        job: Result<Job<I::Item, R>, NotShippable>,
        xs: I,
        window: Option<NonZeroUsize>,
    ) -> Result<Ordered<I, R>, Failed>
    where
        I: Iterator<Item: Portable>,
        R: Portable,
    {
        let job = job.map_err(Fault::NotShippable);
        let job = job.and_then(|job| self.shared.in_its_process().map(|()| job));
        let job = match job {
            Ok(job) => job,
            Err(fault) => {
                let _ = guard::dropped(xs);
                return Err(refused(fault));
            }
        };
        Ok(Ordered::new(Arc::clone(&self.shared), xs, job, window.map(NonZeroUsize::get)))
    }

    /// The values of a function that may fail, in input order.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map), and [`Fault::Task`] with the function's own
    /// error.
    ///
    /// ```
    /// use selvedge::{outcome::Outcome, process::{Fault, Pool}};
    ///
    /// let pool = Pool::builder().build()?;
    /// let texts = ["1", "2", "x"].map(str::to_owned);
    /// let parse = |text: String| text.parse::<u8>().map_err(|error| error.to_string());
    /// let failed = pool.try_map(parse, texts).unwrap_err();
    /// assert_eq!(failed.index, 2);
    /// assert_eq!(failed.outcome, Outcome::Err(Fault::Task("invalid digit found in string".into())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_map<I, R, E, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed<E>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        E: Portable,
        F: Fn(I::Item) -> Result<R, E> + Copy + Send + 'static,
    {
        self.try_all(ship::plain(f), xs)
    }

    /// [`try_map`](Self::try_map) with the pool's context.
    ///
    /// # Errors
    ///
    /// As [`try_map`](Self::try_map).
    pub fn try_map_with<I, R, E, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed<E>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        E: Portable,
        F: Fn(&C, I::Item) -> Result<R, E> + Copy + Send + 'static,
    {
        self.try_all(ship::with_context(f), xs)
    }

    fn try_all<I, R, E>(
        &self,
        job: Result<Job<I::Item, Result<R, E>>, NotShippable>,
        xs: I,
    ) -> Result<Vec<R>, Failed<E>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        E: Portable,
    {
        let mut reports = self.ordered(job, xs.into_iter(), None).map_err(Failed::widen)?;
        let mut all = Each::new(Vec::new());
        let failed = loop {
            match reports.next().map(|report| report.flatten().into_result()) {
                Some(Ok(value)) => all.push(value),
                Some(Err(failed)) => break Err(failed),
                None => break Ok(()),
            }
        };
        returned(failed.map(|()| all), reports)
    }

    /// How every item ended, in input order. Nothing stops the map.
    ///
    /// ```
    /// use selvedge::{outcome::{Crash, Outcome}, process::Pool};
    ///
    /// let pool = Pool::builder().build()?;
    /// let ends = pool.map_outcomes(
    ///     |n: i32| if n == 1 { std::process::exit(3) } else { n },
    ///     [0, 1, 2],
    /// );
    /// let ends: Vec<_> = ends.into_iter().map(|report| report.outcome).collect();
    /// assert_eq!(ends, [Outcome::Ok(0), Outcome::Crashed(Crash::Exit(3)), Outcome::Ok(2)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_outcomes<I, R, F>(&self, f: F, xs: I) -> Vec<Report<R>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        self.outcomes(ship::plain(f), xs)
    }

    /// [`map_outcomes`](Self::map_outcomes) with the pool's context.
    pub fn map_outcomes_with<I, R, F>(&self, f: F, xs: I) -> Vec<Report<R>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(&C, I::Item) -> R + Copy + Send + 'static,
    {
        self.outcomes(ship::with_context(f), xs)
    }

    fn outcomes<I, R>(&self, job: Result<Job<I::Item, R>, NotShippable>, xs: I) -> Vec<Report<R>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
    {
        match self.ordered(job, xs.into_iter(), None) {
            Ok(mut reports) => {
                let mut all = Each::new(Vec::new());
                while let Some(report) = reports.next() {
                    all.push(report);
                }
                let all = Returned::new(all).after(guard::caught(|| drop(reports)));
                all.or_panic().into_vec()
            }
            Err(failed) => vec![failed.widen()],
        }
    }

    /// The reports of `f`, lazily and in input order: an iterator, and a
    /// [`Stream`](futures_core::Stream).
    ///
    /// `window` is a hard bound on items that were pulled from the source and
    /// not yet given out; the source is pulled inside `next` (or the poll), so
    /// it may be endless. Dropping the stream gives up what has not started.
    ///
    /// ```
    /// use selvedge::{nz, process::Pool};
    ///
    /// let pool = Pool::builder().build()?;
    /// let cubes = pool.stream(|n: u64| n * n * n, 1.., nz!(32));
    /// let cubes: Vec<u64> = cubes.take(3).filter_map(|report| report.outcome.ok()).collect();
    /// assert_eq!(cubes, [1, 8, 27]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stream<I, R, F>(&self, f: F, xs: I, window: NonZeroUsize) -> Stream<I::IntoIter, R>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        Stream::new(self.ordered(ship::plain(f), xs.into_iter(), Some(window)))
    }

    /// [`stream`](Self::stream) with the pool's context.
    pub fn stream_with<I, R, F>(&self, f: F, xs: I, window: NonZeroUsize) -> Stream<I::IntoIter, R>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(&C, I::Item) -> R + Copy + Send + 'static,
    {
        Stream::new(self.ordered(ship::with_context(f), xs.into_iter(), Some(window)))
    }

    /// [`map`](Self::map) without blocking the thread.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up what has not started.
    pub async fn map_async<I, R, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        self.all_async(ship::plain(f), xs).await
    }

    /// [`map_async`](Self::map_async) with the pool's context.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Cancel safety
    ///
    /// As [`map_async`](Self::map_async).
    pub async fn map_async_with<I, R, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(&C, I::Item) -> R + Copy + Send + 'static,
    {
        self.all_async(ship::with_context(f), xs).await
    }

    async fn all_async<I, R>(
        &self,
        job: Result<Job<I::Item, R>, NotShippable>,
        xs: I,
    ) -> Result<Vec<R>, Failed>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
    {
        let mut reports = self.ordered(job, xs.into_iter(), None)?;
        let (mut all, mut turn) = (Each::new(Vec::new()), Turn::new());
        let failed = loop {
            let report = std::future::poll_fn(|context| {
                turn.poll(context, |context| reports.poll_next(context))
            });
            let report = report.await;
            match report.map(Report::into_result) {
                Some(Ok(value)) => all.push(value),
                Some(Err(failed)) => break Err(failed),
                None => break Ok(()),
            }
        };
        returned(failed.map(|()| all), reports)
    }
}

impl<C> Pool<C> {
    /// Whether the pool gave up: workers could not be started, or died too
    /// often. Its tasks then end with [`Fault::Broken`].
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.shared.is_broken()
    }

    /// The process ids of the workers that are alive now.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.pids()
    }

    /// Finishes every submitted task, then ends the workers and waits for
    /// them. Handles stay good.
    pub fn shutdown(mut self) {
        self.finish(Event::Shutdown);
    }

    /// Kills the workers now and waits for them. Returns the numbers of the
    /// tasks that were not done ([`Handle::id`](super::Handle::id)); their handles say
    /// `Cancelled`.
    pub fn terminate(mut self) -> Vec<u64> {
        self.finish(Event::Terminate)
    }

    fn finish(&mut self, event: Event) -> Vec<u64> {
        let Some(thread) = self.thread.take() else { return Vec::new() };
        if self.shared.in_its_process().is_err() {
            // There is no such thread here.
            std::mem::forget(thread);
            return Vec::new();
        }
        self.shared.end(event);
        let undone = self.shared.wait_until_stopped();
        // It holds no lock any more; if it panicked, that was said already.
        let _ = thread.join();
        undone
    }
}

impl<C> Drop for Pool<C> {
    fn drop(&mut self) {
        self.finish(Event::Terminate);
    }
}

/// What a map returns once the source is dropped, whose panic goes on to the
/// caller unless there is a failure.
fn returned<R, E>(
    ended: Result<Each<R>, Failed<E>>,
    reports: impl Sized,
) -> Result<Vec<R>, Failed<E>> {
    let ended = Returned::new(ended).after(guard::caught(|| drop(reports)));
    ended.error_or_panic().map(Each::into_vec)
}

fn refused(why: Fault) -> Failed {
    Report { index: 0, attempt: 0, outcome: Outcome::Err(why) }
}
