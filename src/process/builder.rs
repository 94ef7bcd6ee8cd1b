//! Options of a pool.

use super::codec::{self, Portable, Unencoded};
use super::error::BuildError;
use super::pool::Pool;
use super::region::SLOTS;
use super::settings::Settings;
use super::sheet::Sheet;
use super::shell::Shared;
use super::supervisor::{Batch, Config, Nanos, Restarts, Supervisor};
use super::{hook, ship};
use crate::guard::{Returned, Surfacing};
use std::ffi::OsString;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

/// How long a batch is meant to take.
const BATCH: Nanos = 1_000_000;

/// How long a worker may sit on tasks while another has none.
const STEAL_AFTER: Nanos = 2 * BATCH;

/// Submitted tasks that may be under way, unless told otherwise.
const SUBMITTED: usize = 65_536;

/// Workers that may be starting at a time: whoever asks for more of them than
/// there is work for gets them as long as the work lasts.
const STARTING: usize = 64;

/// How much longer than a deadline a worker may show no progress.
const GRACE: Nanos = 1_000_000_000;

/// Starts that must have failed one after the other before the pool gives up.
const SETBACKS: u32 = 4;

/// How long starts may fail, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest result, unless told otherwise.
const LARGEST: u64 = 1 << 30;

/// Options of a [`Pool`].
#[must_use]
pub struct Builder<C = ()> {
    workers: Option<NonZeroUsize>,
    deadline: Option<Duration>,
    max_tasks: Option<NonZeroU64>,
    memory: Option<u64>,
    attempts: NonZeroU32,
    intensity: Option<(u32, Duration)>,
    patience: Duration,
    batch: Option<NonZeroU32>,
    largest: u64,
    submitted: usize,
    env: Vec<(OsString, Option<OsString>)>,
    initializer: Option<Result<u64, super::NotShippable>>,
    context: Option<C>,
}

impl<C> fmt::Debug for Builder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("deadline", &self.deadline)
            .field("max_tasks", &self.max_tasks)
            .field("memory", &self.memory)
            .field("attempts", &self.attempts)
            .field("intensity", &self.intensity)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            workers: None,
            deadline: None,
            max_tasks: None,
            memory: None,
            attempts: NonZeroU32::MIN,
            intensity: None,
            patience: PATIENCE,
            batch: None,
            largest: LARGEST,
            submitted: SUBMITTED,
            env: Vec::new(),
            initializer: None,
            context: None,
        }
    }

    /// A value that every worker gets once, for
    /// [`map_with`](Pool::map_with) and its like.
    pub fn context<C: Portable + Send + Sync>(self, context: C) -> Builder<C> {
        Builder {
            workers: self.workers,
            deadline: self.deadline,
            max_tasks: self.max_tasks,
            memory: self.memory,
            attempts: self.attempts,
            intensity: self.intensity,
            patience: self.patience,
            batch: self.batch,
            largest: self.largest,
            submitted: self.submitted,
            env: self.env,
            initializer: self.initializer,
            context: Some(context),
        }
    }
}

impl<C: Portable + Send + Sync> Builder<C> {
    /// Most workers. They are started for tasks, as many as there are tasks
    /// that have not ended, and then kept. If the system has no room for so
    /// many, the pool goes on with those that it has, and tries again now and
    /// then. Defaults to one per core.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Longest that one task may run, from its own start and whatever batch it
    /// travelled in. Its worker is then killed and replaced, and the task ends
    /// as `TimedOut`.
    ///
    /// A worker that runs nothing of what it was given, and says nothing, is
    /// killed a second after that; the task that it should have run ends as
    /// `TimedOut`.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// A worker is replaced after so many tasks.
    pub fn max_tasks_per_worker(mut self, tasks: NonZeroU64) -> Self {
        self.max_tasks = Some(tasks);
        self
    }

    /// Limit, in bytes, on a worker's private writable memory (`RLIMIT_DATA`:
    /// heap and anonymous mappings, but neither the program's code nor shared
    /// memory). A task whose allocation fails for it ends as
    /// [`Crash::OutOfMemory`](crate::outcome::Crash::OutOfMemory).
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Says that tasks may be started again after they crashed their worker,
    /// up to so many times in all. Default: 1, at most once. Panics, errors
    /// and deadlines are never retried.
    pub fn idempotent(mut self, attempts: NonZeroU32) -> Self {
        self.attempts = attempts;
        self
    }

    /// More than `crashes` crashes of workers within `period` break the pool:
    /// what is left to do ends with [`Fault::Broken`](super::Fault::Broken).
    /// By default crashes are not counted.
    pub fn restart_intensity(mut self, crashes: u32, period: Duration) -> Self {
        self.intensity = Some((crashes, period));
        self
    }

    /// How long workers may fail to start, while none is at work, before the
    /// pool is broken and what is left to do ends with
    /// [`Fault::Broken`](super::Fault::Broken). The pool tries again all the
    /// while, after 1 ms at first and then twice as long each time up to half
    /// a second, and at least four times. Defaults to 5 seconds; with
    /// [`Duration::MAX`] the pool never gives up.
    ///
    /// A worker that dies after its start, before it has run any task, counts
    /// as one that could not be started.
    pub fn start_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// At most so many tasks travel together. Default: as many as take about a
    /// millisecond, by what the last ones took.
    pub fn batch(mut self, tasks: NonZeroU32) -> Self {
        self.batch = Some(tasks);
        self
    }

    /// Largest result, in bytes, that a task may have. A larger one is the
    /// task's error, [`Fault::Encode`](super::Fault::Encode), and costs
    /// nothing else. Default: 1 GiB.
    pub fn largest_result(mut self, bytes: u64) -> Self {
        self.largest = bytes;
        self
    }

    /// At most so many tasks that were submitted one by one and have not
    /// ended: [`submit`](Pool::submit) waits for its turn,
    /// [`try_submit`](Pool::try_submit) gives the item back. Default: 65,536.
    pub fn submit_limit(mut self, tasks: NonZeroUsize) -> Self {
        self.submitted = tasks.get();
        self
    }

    /// Sets a variable in the workers' environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the workers' environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Called once in each worker before its first task. If it panics the
    /// worker counts as one that could not be started.
    pub fn initializer<F>(mut self, initializer: F) -> Self
    where
        F: Fn() + Copy + Send + 'static,
    {
        self.initializer = Some(ship::initializer(initializer));
        self
    }

    /// Makes the pool. Its workers are started when there are tasks for them.
    ///
    /// # Errors
    ///
    /// In a worker process; if the context cannot be encoded; if the
    /// initializer or this crate is not part of the main program; if the
    /// system refuses memory, descriptors or a thread. Workers that cannot be
    /// started are not an error here: the tasks then end with
    /// [`Fault::Broken`](super::Fault::Broken).
    pub fn build(mut self) -> Result<Pool<C>, BuildError> {
        if hook::is_worker() {
            return Err(BuildError::InsideWorker);
        }
        hook::keep();
        ship::check_program()?;
        let context = match self.context.take() {
            Some(context) => {
                let context = Surfacing::new(context);
                let encoded = encode_context(&*context);
                Some(Returned::new(encoded).after(context.end()).error_or_panic()?)
            }
            None => None,
        };
        let workers = match self.workers {
            Some(workers) => workers.get(),
            None => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        };
        let config = Config {
            workers,
            depth: SLOTS,
            batch: match self.batch {
                Some(tasks) => Batch::Fixed(tasks.get()),
                None => Batch::Lasting(BATCH),
            },
            deadline: self.deadline.map(nanos),
            grace: GRACE,
            max_tasks: self.max_tasks.map(NonZeroU64::get),
            attempts: self.attempts.get(),
            intensity: self.intensity.map(|(crashes, period)| (crashes, nanos(period))),
            restarts: restarts(self.patience),
            steal_after: STEAL_AFTER,
        };
        let settings = Settings {
            deadline: self.deadline,
            memory: self.memory,
            initializer: self.initializer.transpose()?,
            context,
            env: self.env,
            largest: self.largest,
        };
        let supervisor = Supervisor::new(config);
        let shared = Arc::new(Shared::new(supervisor, settings, workers, self.submitted)?);
        let shell = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("selvedge-pool".into()).spawn(move || shell.run())?;
        Ok(Pool::new(shared, thread))
    }
}

/// How workers are started.
pub(super) fn restarts(patience: Duration) -> Restarts {
    Restarts {
        at_once: STARTING,
        first: 1_000_000,
        longest: 500_000_000,
        setbacks: SETBACKS,
        patience: nanos(patience),
    }
}

/// The context in a file, its length, and what reads it.
fn encode_context<C: Portable + Send + Sync>(context: &C) -> Result<(Sheet, u64, u64), BuildError> {
    let unencoded = |error: Unencoded| BuildError::Context(error.into_text());
    let len = codec::encoded_len(context).map_err(unencoded)?;
    let mut sheet = Sheet::new(len)?;
    sheet.encode(context, len).map_err(unencoded)?;
    let entry = ship::context_reader::<C>()?;
    Ok((sheet, len as u64, entry))
}

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
