//! The caller's side of the connection: tasks that publish, listen, and watch
//! the clock.

use crate::beat::Beat;
use crate::clock;
use crate::error::{Error, chain};
use crate::ledger::{Nanos, Terms};
use crate::place::Place;
use crate::run::Run;
use crate::setup::Plan;
use crate::wire::{Body, Results, Said, results};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{OnceCell, mpsc};

/// What the calls want done.
#[derive(Debug)]
pub(crate) enum Order {
    Publish {
        run: u64,
        batch: u64,
        message: Vec<u8>,
        object: Option<(String, Vec<u8>)>,
    },
    Ask {
        run: u64,
        batch: u64,
        place: u64,
    },
    /// A call is over: what is left of it on the server.
    Forget {
        run: u64,
        places: Vec<u64>,
        objects: Vec<u64>,
    },
    Goodbye(std::sync::mpsc::Sender<()>),
}

/// What all calls of a cluster share.
pub(crate) struct Inner {
    pub(crate) place: Place,
    pub(crate) plan: Plan,
    pub(crate) client: Client,
    pub(crate) js: Context,
    pub(crate) stream: Stream,
    pub(crate) identity: u64,
    pub(crate) caller: u64,
    pub(crate) terms: Terms,
    pub(crate) within: Duration,
    pub(crate) patience: Duration,
    pub(crate) batch: Option<usize>,
    pub(crate) largest: usize,
    /// Longest message that needs no object store.
    pub(crate) inline: usize,
    pub(crate) attempts: u32,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) runs: Mutex<HashMap<u64, Arc<Run>>>,
    pub(crate) next_run: AtomicU64,
    pub(crate) seen: Mutex<BTreeMap<u64, (Beat, Nanos)>>,
    pub(crate) seen_count: AtomicUsize,
    pub(crate) heard: AtomicU64,
    pub(crate) reconnected: Arc<AtomicBool>,
    pub(crate) store: OnceCell<ObjectStore>,
    pub(crate) executed: AtomicU64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn order(&self, order: Order) {
        // Nobody listens after the goodbye.
        let _ = self.orders.send(order);
    }

    pub(crate) fn runs(&self) -> MutexGuard<'_, HashMap<u64, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, id: u64) -> Option<Arc<Run>> {
        self.runs().get(&id).cloned()
    }

    /// Workers of this build that were heard of late.
    pub(crate) fn workers_seen(&self) -> usize {
        self.seen_count.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, BTreeMap<u64, (Beat, Nanos)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn objects(&self) -> Result<&ObjectStore, Arc<str>> {
        let made = self.store.get_or_try_init(|| self.plan.objects(&self.js, &self.place));
        made.await.map_err(|error| error.to_string().into())
    }

    /// Says that this caller is there.
    pub(crate) async fn beat(&self, asks: bool, left: bool) {
        let mut beat = Beat::new(self.caller);
        (beat.asks, beat.left) = (asks, left);
        let _ = self.client.publish(self.place.callers(), beat.to_string().into()).await;
    }

    fn worker_said(&self, beat: Beat) {
        let now = clock::now();
        let mut seen = self.seen();
        if beat.left {
            seen.remove(&beat.id);
        } else {
            if beat.identity == self.identity {
                self.heard.store(now, Ordering::Relaxed);
            }
            seen.insert(beat.id, (beat, now));
        }
        self.count(&mut seen, now);
    }

    /// A worker that is silent for two leases is gone.
    fn count(&self, seen: &mut BTreeMap<u64, (Beat, Nanos)>, now: Nanos) {
        seen.retain(|_, (_, heard)| now < *heard + 2 * self.terms.lease);
        let ours = seen.values().filter(|(beat, _)| beat.identity == self.identity).count();
        self.seen_count.store(ours, Ordering::Relaxed);
    }
}

/// Listens for workers.
pub(crate) async fn hear_workers(inner: Arc<Inner>, mut from: Subscriber) {
    while let Some(message) = from.next().await {
        if let Some(beat) = Beat::parse(&message.payload) {
            inner.worker_said(beat);
        }
    }
}

/// Listens for results.
pub(crate) async fn hear_results(inner: Arc<Inner>, mut from: Subscriber) {
    while let Some(message) = from.next().await {
        let Ok(said) = Results::read(message.payload, inner.identity) else { continue };
        let address = said.address;
        let Some(run) = inner.run(address.run).filter(|_| address.caller == inner.caller) else {
            continue;
        };
        inner.executed.fetch_add(said.executed.into(), Ordering::Relaxed);
        let took = (said.elapsed, said.executed);
        match said.said {
            Said::Poisoned => run.poisoned(&inner, address.batch),
            Said::Some(Body::Here(body)) => {
                if let Ok(all) = results(body) {
                    settle(&inner, &run, address.batch, all, took);
                }
            }
            Said::Some(Body::Object(name)) => {
                let inner = Arc::clone(&inner);
                tokio::spawn(async move {
                    // One that cannot be had is asked for again, as any that
                    // is lost.
                    let Ok(body) = fetch(&inner, &name).await else { return };
                    if let Ok(all) = results(body) {
                        settle(&inner, &run, address.batch, all, took);
                    }
                    if let Ok(store) = inner.objects().await {
                        let _ = store.delete(&name).await;
                    }
                });
            }
        }
    }
}

fn settle(
    inner: &Arc<Inner>,
    run: &Run,
    batch: u64,
    all: Vec<(u64, crate::wire::Ended)>,
    took: (u64, u32),
) {
    if run.results(batch, all, took) {
        inner.order(Order::Forget { run: run.id, places: Vec::new(), objects: vec![batch] });
    }
}

async fn fetch(inner: &Inner, name: &str) -> Result<Bytes, Arc<str>> {
    let store = inner.objects().await?;
    let mut object = store.get(name).await.map_err(|error| chain(&error))?;
    read_object(&mut object, inner.largest).await
}

/// All of an object, if it is not too large.
pub(crate) async fn read_object(
    object: &mut async_nats::jetstream::object_store::Object,
    largest: usize,
) -> Result<Bytes, Arc<str>> {
    let size = object.info().size;
    // A batch of one item, and its head.
    if size > largest + 1_024 + (64 << 10) {
        return Err(format!("{size} bytes are too many").into());
    }
    let mut all = Vec::with_capacity(size);
    object.read_to_end(&mut all).await.map_err(|error| chain(&error))?;
    if all.len() != size {
        return Err("the object is cut off".into());
    }
    Ok(all.into())
}

/// Watches the clock.
pub(crate) async fn watch(inner: Arc<Inner>) {
    let beat = Duration::from_nanos(inner.terms.beat());
    let every = (beat / 4).clamp(Duration::from_millis(5), Duration::from_millis(200));
    let mut last = clock::now();
    loop {
        tokio::time::sleep(every).await;
        let now = clock::now();
        let reconnected = inner.reconnected.swap(false, Ordering::Relaxed);
        if reconnected || now >= last + inner.terms.beat() {
            last = now;
            inner.beat(reconnected, false).await;
            let mut seen = inner.seen();
            inner.count(&mut seen, now);
        }
        let silent = now.saturating_sub(inner.heard.load(Ordering::Relaxed));
        let silence = (silent > clock::nanos(inner.patience)).then(|| {
            let why = format!("no worker was heard for {:?}", Duration::from_nanos(silent));
            Arc::<str>::from(why)
        });
        let runs: Vec<Arc<Run>> = inner.runs().values().cloned().collect();
        for run in runs {
            if reconnected {
                run.reconnected();
            }
            run.tick(&inner, silence.clone());
        }
    }
}

type Acked = (u64, u64, Result<u64, PublishError>);

/// Carries out orders, in order, but for the answers, which come when they do.
pub(crate) async fn carry_out(inner: Arc<Inner>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut acks = FuturesUnordered::new();
    loop {
        let order = tokio::select! {
            Some(acked) = acks.next() => {
                answered(&inner, acked);
                continue;
            }
            order = orders.recv() => order,
        };
        match order {
            None => return,
            Some(Order::Publish { run, batch, message, object: None }) => {
                let sent = send(&inner, run, batch, message).await;
                match sent {
                    Ok(ack) => acks.push(async move {
                        let acked = ack.await.map(|ack| ack.sequence);
                        (run, batch, acked)
                    }),
                    Err(error) => answered(&inner, (run, batch, Err(error))),
                }
            }
            Some(Order::Publish { run, batch, message, object: Some((name, body)) }) => {
                tokio::spawn(publish_large(Arc::clone(&inner), (run, batch), message, name, body));
            }
            Some(Order::Ask { run, batch, place }) => {
                tokio::spawn(ask(Arc::clone(&inner), run, batch, place));
            }
            Some(Order::Forget { run, places, objects }) => {
                tokio::spawn(forget(Arc::clone(&inner), run, places, objects));
            }
            Some(Order::Goodbye(done)) => {
                goodbye(&inner).await;
                let _ = done.send(());
                return;
            }
        }
    }
}

async fn send(
    inner: &Inner,
    run: u64,
    batch: u64,
    message: Vec<u8>,
) -> Result<impl Future<Output = Result<jetstream::publish::PublishAck, PublishError>>, PublishError>
{
    let subject = inner.place.tasks_of(inner.identity, inner.caller, run);
    let id = format!("{:016x}-{run}-{batch}", inner.caller);
    let message = PublishMessage::build().payload(message.into()).message_id(id);
    Ok(inner.js.send_publish(subject, message).await?.into_future())
}

fn answered(inner: &Arc<Inner>, (run, batch, acked): Acked) {
    let Some(found) = inner.run(run) else {
        // It ended meanwhile.
        if let Ok(place) = acked {
            inner.order(Order::Forget { run, places: vec![place], objects: Vec::new() });
        }
        return;
    };
    match acked {
        Ok(place) => found.stored(batch, place),
        Err(error) => match error.kind() {
            // It may be there or not: it is published again when it is overdue.
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {}
            PublishErrorKind::StreamNotFound => {
                found.refused(batch, "the stream is gone".into());
                let inner = Arc::clone(inner);
                tokio::spawn(async move {
                    if let Err(error) = set_up_again(&inner).await {
                        found.refused(batch, error.to_string().into());
                    }
                });
            }
            _ => found.refused(batch, chain(&error)),
        },
    }
}

/// The server forgot the job: it was restarted without its store.
async fn set_up_again(inner: &Inner) -> Result<(), Error> {
    let (stream, _) = inner.plan.ensure(&inner.js, &inner.place).await?;
    inner.plan.consumer_of(&stream, &inner.place, inner.identity).await?;
    inner.beat(true, false).await;
    Ok(())
}

async fn publish_large(
    inner: Arc<Inner>,
    (run, batch): (u64, u64),
    message: Vec<u8>,
    name: String,
    body: Vec<u8>,
) {
    let stored = async {
        let store = inner.objects().await?;
        store.put(name.as_str(), &mut &body[..]).await.map_err(|error| chain(&error))
    };
    if let Err(why) = stored.await {
        if let Some(run) = inner.run(run) {
            run.refused(batch, why);
        }
        return;
    }
    let acked = match send(&inner, run, batch, message).await {
        Ok(ack) => ack.await.map(|ack| ack.sequence),
        Err(error) => Err(error),
    };
    answered(&inner, (run, batch, acked));
}

/// Whether the server still has a message: then it is not done.
async fn ask(inner: Arc<Inner>, run: u64, batch: u64, place: u64) {
    let kept = inner.stream.get_raw_message(place).await;
    let Some(run) = inner.run(run) else { return };
    match kept {
        Ok(_) if passed_over(&inner, place).await => {
            let _ = inner.stream.delete_message(place).await;
            run.gone(&inner, batch, place);
        }
        Ok(_) => run.kept(batch),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => run.gone(&inner, batch, place),
            LastRawMessageErrorKind::JetStream(why)
                if why.error_code() == ErrorCode::NO_MESSAGE_FOUND =>
            {
                run.gone(&inner, batch, place);
            }
            LastRawMessageErrorKind::JetStream(why)
                if why.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                let _ = set_up_again(&inner).await;
                run.gone(&inner, batch, place);
            }
            // No answer: it is asked again.
            _ => {}
        },
    }
}

/// Whether the consumer takes a message for done that is still stored: it will
/// not deliver it again. (A purge by somebody else does that.)
async fn passed_over(inner: &Inner, place: u64) -> bool {
    let name = inner.place.consumer(inner.identity);
    let info = inner.stream.consumer_info(name).await;
    info.is_ok_and(|info| info.ack_floor.stream_sequence >= place)
}

/// What is left of a call is deleted, message by message: a purge of one
/// subject makes consumers pass over what was stored of others before it.
async fn forget(inner: Arc<Inner>, run: u64, places: Vec<u64>, objects: Vec<u64>) {
    let delete = |place| {
        let inner = &inner;
        async move {
            let _ = inner.stream.delete_message(place).await;
        }
    };
    futures_util::stream::iter(places).for_each_concurrent(16, delete).await;
    if !objects.is_empty()
        && let Ok(store) = inner.objects().await
    {
        for batch in objects {
            let _ = store.delete(format!("t-{:016x}-{run}-{batch}", inner.caller)).await;
        }
    }
}

async fn goodbye(inner: &Inner) {
    let all = async {
        inner.beat(false, true).await;
        let _ = inner.client.flush().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
}
