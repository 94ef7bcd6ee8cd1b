//! A worker: takes batches, has a process pool run them, and says how they
//! ended.
//!
//! # Invariants
//!
//! 1. Results are said before their batch is acknowledged.
//! 2. Of a delivery whose lease may have run out, nothing is said to the
//!    broker. Its results are still said: the caller takes the first.
//! 3. Leases are renewed by a task of their own; what the workers' tasks do
//!    happens in other processes.
//! 4. A batch is looked at only if it is of this build, and begun only if its
//!    caller was heard within a lease. A caller that is silent for longer, or
//!    says goodbye, has its processes killed.

mod batch;
mod held;

use crate::beat::Beat;
use crate::clock;
use crate::cluster::random;
use crate::error::{Error, chain};
use crate::hook;
use crate::ledger::{Callers, Nanos, Terms};
use crate::place::Place;
use crate::setup;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::{Client, Event, Subscriber};
use futures_util::StreamExt;
use held::Held;
use selvedge::process::Pool;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::OnceCell;

/// Batches that a worker has in hand: one to run, one to follow.
const LANES: usize = 2;

/// What all parts of a worker share.
struct Shared {
    place: Place,
    client: Client,
    js: Context,
    identity: u64,
    id: u64,
    inline: usize,
    slots: NonZeroUsize,
    terms: Terms,
    /// When the connection was made, the last time.
    since: AtomicU64,
    callers: Mutex<Callers>,
    pools: Mutex<HashMap<u64, Pool>>,
    held: Mutex<Held>,
    executed: AtomicU64,
    draining: AtomicBool,
    store: OnceCell<ObjectStore>,
}

/// Locks what only this crate's own code runs under.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process a worker of the job at `url`, until SIGTERM or SIGINT.
///
/// This is what the variable `SELVEDGE_CLUSTER` does, for programs that want
/// to say it in another way. It goes on when the server is away.
///
/// # Errors
///
/// If the URL makes no sense, or the server refuses the credentials.
pub fn work(url: &str) -> Result<(), Error> {
    let place = Place::parse(url).map_err(|why| Error::Settings(why.into()))?;
    hook::become_worker();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(place))
}

async fn run(place: Place) -> Result<(), Error> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let work = async {
        let connected = Arc::new(AtomicU64::new(clock::now()));
        let client = connect(&place, &connected).await?;
        serve(place, client, connected).await
    };
    let mut work = std::pin::pin!(work);
    let shared = tokio::select! {
        shared = &mut work => shared?,
        _ = term.recv() => return Ok(()),
        _ = int.recv() => return Ok(()),
    };
    let lanes: Vec<_> =
        (0..LANES).map(|_| tokio::spawn(batch::lane(Arc::clone(&shared)))).collect();
    let others = [
        tokio::spawn(beats(Arc::clone(&shared))),
        tokio::spawn(renew(Arc::clone(&shared))),
        tokio::spawn(bury(Arc::clone(&shared))),
    ];
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    // What is begun is finished; what waits is given back by its lane. A pull
    // that the broker may still answer is waited for: it lasts a moment.
    shared.draining.store(true, Ordering::Relaxed);
    for lane in lanes {
        let _ = lane.await;
    }
    shared.beat(true).await;
    // An acknowledgement is only queued until then.
    let _ = tokio::time::timeout(Duration::from_secs(5), shared.client.flush()).await;
    others.iter().for_each(tokio::task::JoinHandle::abort);
    let pools: Vec<Pool> = lock(&shared.pools).drain().map(|(_, pool)| pool).collect();
    drop(pools);
    Ok(())
}

/// Connects, however long the server is away.
async fn connect(place: &Place, since: &Arc<AtomicU64>) -> Result<Client, Error> {
    let mut said = false;
    loop {
        let since = Arc::clone(since);
        let options = place.options(Duration::from_secs(5)).event_callback(move |event| {
            if matches!(event, Event::Connected) {
                since.store(clock::now(), Ordering::Relaxed);
            }
            std::future::ready(())
        });
        match setup::connect(place, options).await {
            Ok(client) => return Ok(client),
            Err(error @ (Error::Refused(_) | Error::Settings(_))) => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    eprintln!("selvedge worker: {error}; trying again");
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Says that this worker is there and waits for a job of its build.
async fn serve(place: Place, client: Client, since: Arc<AtomicU64>) -> Result<Arc<Shared>, Error> {
    let mut js = async_nats::jetstream::new(client.clone());
    js.set_timeout(Duration::from_secs(2));
    let server = |error: async_nats::SubscribeError| Error::Server(chain(&error));
    let callers = client.subscribe(place.callers()).await.map_err(server)?;
    let slots = place.workers.or_else(|| std::thread::available_parallelism().ok());
    let mut shared = Shared {
        inline: client.max_payload().saturating_sub(1_024).max(1_024),
        identity: selvedge::process::portable::identity(),
        id: random(),
        slots: slots.unwrap_or(NonZeroUsize::MIN),
        // Until the job says it.
        terms: Terms::new(clock::nanos(Duration::from_secs(5))),
        since: AtomicU64::new(since.load(Ordering::Relaxed)),
        callers: Mutex::default(),
        pools: Mutex::default(),
        held: Mutex::default(),
        executed: AtomicU64::new(0),
        draining: AtomicBool::new(false),
        store: OnceCell::new(),
        place,
        client,
        js,
    };
    shared.beat(false).await;
    let mut callers = callers;
    let mut refused = None;
    let consumer = loop {
        if let Some(consumer) = shared.consumer().await {
            break consumer;
        }
        // A caller that speaks may have made the job by now.
        let next = tokio::time::timeout(Duration::from_millis(500), callers.next()).await;
        if let Ok(Some(message)) = next
            && let Some(beat) = Beat::parse(&message.payload)
        {
            shared.hear(&beat, &mut refused).await;
        }
    };
    shared.terms = Terms::new(clock::nanos(consumer.cached_info().config.ack_wait));
    let shared = Arc::new(shared);
    tokio::spawn(hear_callers(Arc::clone(&shared), callers, refused));
    tokio::spawn(follow(Arc::clone(&shared), since));
    Ok(shared)
}

/// When the connection was made.
async fn follow(shared: Arc<Shared>, since: Arc<AtomicU64>) {
    loop {
        shared.since.store(since.load(Ordering::Relaxed), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_nanos(shared.terms.beat() / 4)).await;
    }
}

async fn hear_callers(shared: Arc<Shared>, mut callers: Subscriber, mut refused: Option<u64>) {
    while let Some(message) = callers.next().await {
        if let Some(beat) = Beat::parse(&message.payload) {
            shared.hear(&beat, &mut refused).await;
        }
    }
}

/// Says every few moments that this worker is there.
async fn beats(shared: Arc<Shared>) {
    loop {
        shared.beat(false).await;
        tokio::time::sleep(Duration::from_nanos(shared.terms.beat())).await;
    }
}

/// Invariant 3.
async fn renew(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_nanos(shared.terms.beat())).await;
        let due = lock(&shared.held).renew(clock::now(), shared.terms);
        for delivery in due {
            // Sent or not: the lease is counted on only while it is held.
            let _ = delivery.ack_with(async_nats::jetstream::AckKind::Progress).await;
        }
    }
}

/// Invariant 4.
async fn bury(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_nanos(shared.terms.beat() / 2)).await;
        let gone = lock(&shared.callers).bury(clock::now(), shared.terms);
        gone.into_iter().for_each(|caller| shared.kill(caller));
    }
}

impl Shared {
    async fn beat(&self, left: bool) {
        let mut beat = Beat::new(self.id);
        beat.left = left;
        beat.slots = self.slots.get() as u32;
        beat.busy = lock(&self.held).len() as u32;
        beat.executed = self.executed.load(Ordering::Relaxed);
        let _ = self.client.publish(self.place.workers_say(), beat.to_string().into()).await;
    }

    /// What a caller says of itself.
    async fn hear(&self, beat: &Beat, refused: &mut Option<u64>) {
        if beat.asks {
            self.beat(false).await;
        }
        if beat.identity != self.identity {
            if refused.replace(beat.id) != Some(beat.id) {
                eprintln!(
                    "selvedge worker: nothing is taken from process {} on {}: it runs another \
                     build ({:016x}, and this is {:016x})",
                    beat.pid, beat.host, beat.identity, self.identity
                );
            }
        } else if beat.left {
            lock(&self.callers).left(beat.id);
            self.kill(beat.id);
        } else {
            lock(&self.callers).heard(beat.id, clock::now());
        }
    }

    /// Ends what runs for a caller.
    fn kill(&self, caller: u64) {
        let pool = lock(&self.pools).remove(&caller);
        if let Some(pool) = pool {
            // It waits for its processes.
            tokio::task::spawn_blocking(move || drop(pool));
        }
    }

    /// Where tasks of this build are, if there are any.
    async fn consumer(&self) -> Option<PullConsumer> {
        let stream = self.js.get_stream(self.place.stream()).await.ok()?;
        let name = self.place.consumer(self.identity);
        setup::find_consumer(&stream, &name).await.ok().flatten()
    }

    fn is_alive(&self, caller: u64, now: Nanos) -> bool {
        lock(&self.callers).is_alive(caller, now, self.terms)
    }

    /// Whether a caller is there: one that was not heard since the connection
    /// was made is given a lease to say something.
    async fn wait_for_caller(&self, caller: u64) -> bool {
        loop {
            let now = clock::now();
            if self.is_alive(caller, now) {
                return true;
            }
            let since = self.since.load(Ordering::Relaxed);
            if now >= since + self.terms.lease || self.draining.load(Ordering::Relaxed) {
                return false;
            }
            tokio::time::sleep(Duration::from_nanos(self.terms.beat() / 8)).await;
        }
    }

    async fn objects(&self) -> Result<&ObjectStore, Arc<str>> {
        let get = || self.js.get_object_store(self.place.bucket());
        self.store.get_or_try_init(get).await.map_err(|error| chain(&error))
    }
}
