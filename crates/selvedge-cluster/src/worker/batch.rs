//! One batch after the other.

use super::{Shared, lock};
use crate::clock;
use crate::cluster::ATTEMPTS;
use crate::error::chain;
use crate::ledger::{Lease, Nanos};
use crate::link::read_object;
use crate::wire::{self, Address, Body, Ended, Results, Said, Tasks};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use selvedge::outcome::Outcome;
use selvedge::process::portable::Function;
use selvedge::process::{Fault, Pool, Report};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Largest object that a worker reads: what the caller may at most send.
const LARGEST: usize = u32::MAX as usize;

/// Messages to ask for at a time, at most.
const PULL: usize = 64;

/// How long the messages of a pull are meant to take.
const PULL_TIME: Nanos = 2_000_000;

/// Takes and runs batches until the worker drains.
pub(super) async fn lane(shared: Arc<Shared>) {
    let mut consumer: Option<PullConsumer> = None;
    let mut ask_for = 1;
    while !shared.draining.load(Ordering::Relaxed) {
        let Some(found) = &consumer else {
            consumer = shared.consumer().await;
            if consumer.is_none() {
                tokio::time::sleep(Duration::from_nanos(shared.terms.beat())).await;
            }
            continue;
        };
        match pull(&shared, found, ask_for).await {
            Ok((0, _)) => {}
            Ok((messages, took)) => {
                let each = took / messages as Nanos;
                ask_for = ((PULL_TIME / each.max(1)) as usize).clamp(1, PULL).min(2 * ask_for);
            }
            Err(Gone) => {
                consumer = None;
                tokio::time::sleep(Duration::from_nanos(shared.terms.beat() / 4)).await;
            }
        }
    }
}

/// The consumer is not there, or says nothing.
struct Gone;

/// Runs what one request brings. Returns how many messages came, and how long
/// they took.
async fn pull(
    shared: &Arc<Shared>,
    consumer: &PullConsumer,
    most: usize,
) -> Result<(usize, Nanos), Gone> {
    // A delivery may have lain in our socket as long as this.
    let asked = clock::now();
    let expires = Duration::from_nanos(shared.terms.beat());
    let request = consumer.batch().max_messages(most).expires(expires);
    let mut messages = request.messages().await.map_err(|_| Gone)?;
    let (mut count, mut took) = (0, 0);
    let patience = expires + expires / 2 + Duration::from_millis(100);
    loop {
        // The client itself waits for seconds more, where the server is gone.
        let left = patience.saturating_sub(Duration::from_nanos(clock::now() - asked));
        let next = match tokio::time::timeout(left, messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_))) => return Err(Gone),
            Ok(None) => return Ok((count, took)),
            Err(_) if count == 0 => return Err(Gone),
            Err(_) => return Ok((count, took)),
        };
        let begun = clock::now();
        handle(shared, next, asked).await;
        took += clock::now() - begun;
        count += 1;
    }
}

/// How a delivery ends.
enum End {
    /// It is done, or nobody wants it: never again.
    Ack,
    /// Somebody else is to have it, now or a while later.
    Nak(Option<Duration>),
    /// It is none of ours: never again.
    Term,
}

async fn handle(shared: &Arc<Shared>, message: Message, asked: Nanos) {
    let delivered = message.info().map_or(1, |info| info.delivered);
    let (message, acker) = message.split();
    let acker = Arc::new(acker);
    let lease = Lease::new(asked, shared.terms);
    if !lease.is_held(clock::now()) {
        return;
    }
    let delivery = lock(&shared.held).add(lease, Arc::clone(&acker));
    let end = run(shared, message.payload, delivered).await;
    finish(shared, &acker, delivery, end).await;
}

/// Invariant 2 of the worker.
async fn finish(shared: &Shared, acker: &Acker, delivery: u64, end: End) {
    let held = lock(&shared.held).is_held(delivery, clock::now());
    if held {
        let said = match end {
            End::Ack => acker.ack().await,
            End::Nak(after) => acker.ack_with(AckKind::Nak(after)).await,
            End::Term => acker.ack_with(AckKind::Term).await,
        };
        // Not said is as if it were lost.
        let _ = said;
    }
    lock(&shared.held).remove(delivery);
}

async fn run(shared: &Arc<Shared>, payload: Bytes, delivered: i64) -> End {
    let tasks = match Tasks::read(payload, shared.identity) {
        Ok(tasks) => tasks,
        Err(garbled) => {
            eprintln!("selvedge worker: a message is left out: {}", garbled.0);
            return End::Term;
        }
    };
    let address = tasks.address;
    if shared.draining.load(Ordering::Relaxed) {
        return End::Nak(None);
    }
    if !shared.wait_for_caller(address.caller).await {
        // The caller is gone; were it there after all, it would send again.
        return if shared.draining.load(Ordering::Relaxed) { End::Nak(None) } else { End::Ack };
    }
    if delivered > i64::from(ATTEMPTS) {
        say(shared, address, (0, 0), Said::Poisoned).await;
        return End::Ack;
    }
    let body = match tasks.body {
        Body::Here(body) => Ok(body),
        Body::Object(name) => fetch(shared, &name).await,
    };
    let items = match body.map(wire::items) {
        Ok(Ok(items)) => items,
        Ok(Err(garbled)) => {
            eprintln!("selvedge worker: a message is left out: {}", garbled.0);
            return End::Term;
        }
        Err(_) => return End::Nak(Some(Duration::from_nanos(shared.terms.beat()))),
    };
    execute(shared, address, tasks.function, items, delivered).await
}

async fn fetch(shared: &Shared, name: &str) -> Result<Bytes, Arc<str>> {
    let store = shared.objects().await?;
    let mut object = store.get(name).await.map_err(|error| chain(&error))?;
    read_object(&mut object, LARGEST).await
}

async fn execute(
    shared: &Arc<Shared>,
    address: Address,
    function: u64,
    items: Vec<(u64, Vec<u8>)>,
    delivered: i64,
) -> End {
    let Some(function) = Function::from_token(function) else {
        eprintln!("selvedge worker: a message is left out: it names no function");
        return End::Term;
    };
    let Some(window) = NonZeroUsize::new(items.len()) else { return End::Ack };
    let (indexes, items): (Vec<u64>, Vec<Vec<u8>>) = items.into_iter().unzip();
    let begun = clock::now();
    let stream = {
        let mut pools = lock(&shared.pools);
        let pool = match pools.entry(address.caller) {
            std::collections::hash_map::Entry::Occupied(pool) => pool.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                match Pool::builder().workers(shared.slots).build() {
                    Ok(pool) => place.insert(pool),
                    Err(error) => {
                        eprintln!("selvedge worker: {error}");
                        return later(shared);
                    }
                }
            }
        };
        pool.stream_encoded(function, items, window)
    };
    let mut reports = Vec::with_capacity(indexes.len());
    let mut stream = std::pin::pin!(stream);
    while let Some(report) = stream.next().await {
        match &report.outcome {
            // The caller is gone, and its pool with it.
            Outcome::Cancelled(_) => return End::Ack,
            Outcome::Err(Fault::Broken(why)) => {
                eprintln!("selvedge worker: {why}");
                shared.kill(address.caller);
                return later(shared);
            }
            _ => reports.push(report),
        }
    }
    let took = (clock::now() - begun, reports.len() as u32);
    shared.executed.fetch_add(reports.len() as u64, Ordering::Relaxed);
    let before = u32::try_from(delivered - 1).unwrap_or(0);
    let ended = reports.into_iter().map(|report| ended(report, before));
    say_all(shared, address, took, indexes.into_iter().zip(ended)).await;
    End::Ack
}

/// This machine cannot run it now.
fn later(shared: &Shared) -> End {
    End::Nak(Some(Duration::from_nanos(shared.terms.lease)))
}

fn ended(report: Report<Vec<u8>>, before: u32) -> Ended {
    let attempt = before + report.attempt.max(1);
    match report.into_result() {
        Ok(value) => Ended { attempt, outcome: Ok(value.into()) },
        Err(failed) => Ended { attempt, outcome: Err(failed.outcome) },
    }
}

/// Says results, in messages as large as the server takes, and what is larger
/// through its object store.
async fn say_all(
    shared: &Shared,
    address: Address,
    mut took: (u64, u32),
    results: impl Iterator<Item = (u64, Ended)>,
) {
    let most = shared.inline - wire::HEAD;
    let mut body = Vec::new();
    for (index, ended) in results {
        let start = body.len();
        wire::put_result(&mut body, index, &ended);
        if body.len() <= most {
            continue;
        }
        let last = body.split_off(start);
        if !body.is_empty() {
            let full = std::mem::take(&mut body);
            say(shared, address, std::mem::take(&mut took), Said::Some(Body::Here(full.into())))
                .await;
        }
        body = last;
        if body.len() > most {
            let large = std::mem::take(&mut body);
            say_large(shared, address, std::mem::take(&mut took), index, large).await;
        }
    }
    if !body.is_empty() {
        say(shared, address, took, Said::Some(Body::Here(body.into()))).await;
    }
}

async fn say_large(shared: &Shared, address: Address, took: (u64, u32), index: u64, body: Vec<u8>) {
    let Address { caller, run, batch } = address;
    let name = format!("r-{caller:016x}-{run}-{batch}-{index}-{:016x}", shared.id);
    let stored = async {
        let store = shared.objects().await?;
        store.put(name.as_str(), &mut &body[..]).await.map_err(|error| chain(&error))
    };
    let said = match stored.await {
        Ok(_) => Body::Object(name),
        Err(why) => {
            let outcome = Err(Outcome::Err(Fault::Undelivered(why)));
            let mut body = Vec::new();
            wire::put_result(&mut body, index, &Ended { attempt: 1, outcome });
            Body::Here(body.into())
        }
    };
    say(shared, address, took, Said::Some(said)).await;
}

async fn say(shared: &Shared, address: Address, (elapsed, executed): (u64, u32), said: Said) {
    let results = Results { address, worker: shared.id, elapsed, executed, said };
    let to = shared.place.results(address.caller);
    let _ = shared.client.publish(to, results.write(shared.identity).into()).await;
}
