//! The cluster as its callers see it.

use crate::builder::Builder;
use crate::clock;
use crate::error::{Error, chain};
use crate::ledger::{Bounds, Terms};
use crate::link::{self, Inner, Order};
use crate::place::Place;
use crate::reports::{Handle, Reports, Stream};
use crate::run::Run;
use crate::{hook, setup};
use async_nats::Event;
use selvedge::process::portable::{self, Function};
use selvedge::process::{Failed, Fault, Portable, Report};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, mpsc};

/// Deliveries of one message before it counts as what ends its workers.
pub(crate) const ATTEMPTS: u32 = 10;

/// Workers on other machines that run functions of this program. See the
/// [crate].
///
/// Dropping it takes back what has not begun, and says goodbye: workers then
/// kill what they run of it.
pub struct Cluster {
    pub(crate) inner: Arc<Inner>,
    window: usize,
    runtime: Option<Runtime>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

/// A worker that was heard of late.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Worker {
    /// The name of its machine.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Processes in its pool.
    pub slots: u32,
    /// Messages that it has in hand.
    pub busy: u32,
    /// Tasks that it executed, for all callers.
    pub executed: u64,
    /// It runs the same executable as this process.
    pub same_build: bool,
}

impl Cluster {
    /// Options for a cluster at
    /// `nats://USER:PASSWORD@HOST:PORT/JOB?creds=FILE&ca=FILE&cert=FILE&key=FILE`,
    /// of which only the host is needed; `tls://` asks for TLS.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// A cluster with the default options.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn connect(url: &str) -> Result<Self, Error> {
        Builder::new(url).connect()
    }

    pub(crate) fn open(place: Place, builder: Builder) -> Result<Self, Error> {
        if hook::is_worker() || portable::is_worker() {
            return Err(Error::InsideWorker);
        }
        hook::keep();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("selvedge-cluster")
            .enable_all()
            .build()?;
        let (window, within) = (builder.window, builder.within);
        // The caller may itself run on a runtime, which lets nobody block on
        // another.
        let (told, opened) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let _ = told.send(open(place, builder).await);
        });
        let opened = opened.recv_timeout(within + Duration::from_secs(5));
        let cluster = match opened {
            Ok(Ok(inner)) => Ok(inner),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Unreachable(format!("nothing for {within:?}").into())),
        };
        match cluster {
            Ok(inner) => Ok(Self { inner, window, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// The values of `f` for every item, in input order.
    ///
    /// # Errors
    ///
    /// The failure of the lowest index. What has not begun then never will.
    pub fn map<I, R, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        self.reports(f, xs.into_iter(), None)?.map(Report::into_result).collect()
    }

    /// The values of a function that may fail, in input order.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map), and [`Fault::Task`] with the function's own
    /// error.
    pub fn try_map<I, R, E, F>(&self, f: F, xs: I) -> Result<Vec<R>, Failed<E>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        E: Portable,
        F: Fn(I::Item) -> Result<R, E> + Copy + Send + 'static,
    {
        let reports = self.reports(f, xs.into_iter(), None);
        let reports = reports.map_err(|failed| narrow::<R, E>(failed.widen()))?;
        reports.map(|report| report.flatten().into_result()).collect()
    }

    /// How every item ended, in input order. Nothing stops the map.
    pub fn map_outcomes<I, R, F>(&self, f: F, xs: I) -> Vec<Report<R>>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        match self.reports(f, xs.into_iter(), None) {
            Ok(reports) => reports.collect(),
            Err(failed) => vec![failed.widen()],
        }
    }

    /// The reports of `f`, lazily and in input order: an iterator, and a
    /// [`Stream`](futures_util::Stream). `window` is a hard bound on items
    /// that were pulled from the source and not yet given out. Dropping it
    /// takes back what has not begun.
    pub fn stream<I, R, F>(&self, f: F, xs: I, window: NonZeroUsize) -> Stream<I::IntoIter, R>
    where
        I: IntoIterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        Stream::new(self.reports(f, xs.into_iter(), Some(window.get())))
    }

    /// Starts `f(item)` on some worker: wait for the handle, or await it.
    pub fn submit<A, R, F>(&self, f: F, item: A) -> Handle<R>
    where
        A: Portable,
        R: Portable,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        Handle::new(self.reports(f, std::iter::once(item), Some(1)))
    }

    fn reports<I, R, F>(&self, f: F, xs: I, window: Option<usize>) -> Result<Reports<I, R>, Failed>
    where
        I: Iterator<Item: Portable>,
        R: Portable,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
    {
        let function = Function::new(f).map_err(|why| Failed {
            index: 0,
            attempt: 0,
            outcome: selvedge::outcome::Outcome::Err(Fault::NotShippable(why)),
        })?;
        let inner = &self.inner;
        let bounds = Bounds {
            window: window.unwrap_or(usize::MAX),
            under_way: self.window.min(window.unwrap_or(usize::MAX)),
            patience: inner.terms.lease + inner.terms.lease / 2,
        };
        let id = inner.next_run.fetch_add(1, Ordering::Relaxed);
        let run = Arc::new(Run::new(id, function.token(), bounds));
        inner.runs().insert(id, Arc::clone(&run));
        Ok(Reports::new(Arc::clone(inner), run, xs))
    }

    /// The workers that were heard of late, those of other builds too.
    #[must_use]
    pub fn workers(&self) -> Vec<Worker> {
        let seen = self.inner.seen();
        seen.values().map(|(beat, _)| Worker::of(beat, self.inner.identity)).collect()
    }

    /// Tasks that workers said they executed, for this cluster's calls. More
    /// than there were items, if some were executed more than once.
    #[must_use]
    pub fn executed(&self) -> u64 {
        self.inner.executed.load(Ordering::Relaxed)
    }
}

impl Worker {
    pub(crate) fn of(beat: &crate::beat::Beat, identity: u64) -> Self {
        Self {
            host: beat.host.clone(),
            pid: beat.pid,
            slots: beat.slots,
            busy: beat.busy,
            executed: beat.executed,
            same_build: beat.identity == identity,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let (done, wait) = std::sync::mpsc::channel();
        self.inner.order(Order::Goodbye(done));
        let _ = wait.recv_timeout(Duration::from_secs(3));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A failure of a call, for a function that may itself fail.
fn narrow<T, E>(report: Report<T, E>) -> Failed<E> {
    match report.into_result() {
        Err(failed) => failed,
        Ok(_) => unreachable!("it was made of a failure"),
    }
}

/// A number that no other process has.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one((std::process::id(), clock::now()))
}

async fn open(place: Place, builder: Builder) -> Result<Arc<Inner>, Error> {
    let within = builder.within;
    let late = || Error::Unreachable(format!("{place}: nothing for {within:?}").into());
    let started = tokio::time::Instant::now();
    let reconnected = Arc::new(AtomicBool::new(false));
    let again = Arc::clone(&reconnected);
    let options = place.options(within).event_callback(move |event| {
        if matches!(event, Event::Connected) {
            again.store(true, Ordering::Relaxed);
        }
        std::future::ready(())
    });
    let client = tokio::time::timeout(within, setup::connect(&place, options));
    let client = client.await.map_err(|_| late())??;
    let identity = portable::identity();
    let mut js = async_nats::jetstream::new(client.clone());
    js.set_timeout(Duration::from_secs(5).min(within));
    let plan = builder.plan.clone();
    let made = tokio::time::timeout_at(started + within, plan.ensure(&js, &place));
    let (stream, made) = made.await.map_err(|_| late())??;
    let rest = async {
        let consumer = plan.consumer_of(&stream, &place, identity);
        let consumer = tokio::time::timeout_at(started + within, consumer);
        let (_, made) = consumer.await.map_err(|_| late())??;
        let (orders, carried) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            terms: Terms::new(clock::nanos(plan.lease)),
            inline: client.max_payload().saturating_sub(1_024).max(1_024),
            plan: plan.clone(),
            place: place.clone(),
            client: client.clone(),
            js: js.clone(),
            stream: stream.clone(),
            identity,
            caller: random(),
            within,
            patience: builder.patience,
            batch: builder.batch.map(NonZeroUsize::get),
            largest: builder.largest,
            attempts: ATTEMPTS,
            orders,
            runs: std::sync::Mutex::default(),
            next_run: AtomicU64::new(1),
            seen: std::sync::Mutex::default(),
            seen_count: AtomicUsize::new(0),
            heard: AtomicU64::new(clock::now()),
            reconnected,
            store: OnceCell::new(),
            executed: AtomicU64::new(0),
        });
        let server = |error: async_nats::SubscribeError| Error::Server(chain(&error));
        let workers = client.subscribe(place.workers_say()).await.map_err(server)?;
        let results = client.subscribe(place.results(inner.caller)).await.map_err(server)?;
        let hears = tokio::spawn(link::hear_workers(Arc::clone(&inner), workers));
        if let Err(error) = wait_for_workers(&inner, builder.workers, started + within).await {
            hears.abort();
            if made {
                let _ = stream.delete_consumer(&place.consumer(identity)).await;
            }
            return Err(error);
        }
        tokio::spawn(link::hear_results(Arc::clone(&inner), results));
        tokio::spawn(link::carry_out(Arc::clone(&inner), carried));
        tokio::spawn(link::watch(Arc::clone(&inner)));
        Ok(inner)
    };
    match rest.await {
        Ok(inner) => Ok(inner),
        Err(error) => {
            if made {
                let _ = js.delete_stream(place.stream()).await;
            }
            Err(error)
        }
    }
}

async fn wait_for_workers(
    inner: &Inner,
    wanted: usize,
    until: tokio::time::Instant,
) -> Result<(), Error> {
    let every = Duration::from_nanos(inner.terms.beat());
    loop {
        inner.beat(true, false).await;
        let again = tokio::time::Instant::now() + every;
        while tokio::time::Instant::now() < again.min(until) {
            if inner.workers_seen() >= wanted {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if tokio::time::Instant::now() >= until {
            let (seen, all) = (inner.workers_seen(), inner.seen().len());
            inner.beat(false, true).await;
            return Err(Error::Workers { wanted, seen, others: all - seen });
        }
    }
}
