//! One call: its ledger, and who waits for it.

use crate::clock;
use crate::ledger::{Bounds, Index, Ledger, Nanos};
use crate::link::{Inner, Order};
use crate::wire::{self, Address, Body, Ended, Tasks};
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::Fault;
use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Bytes that close a batch.
const BATCH_BYTES: usize = 64 << 10;

/// Most tasks of a batch whose size follows what tasks take.
const BATCH_ITEMS: usize = 1_024;

/// How long a batch is meant to take.
const BATCH_TIME: f64 = 4e6;

/// Bytes of items that may be under way.
const UNDER_WAY: usize = 32 << 20;

/// How long to wait where the broker has no room.
const HOLD: Nanos = 50_000_000;

/// A call that is under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: u64,
    function: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ledger: Ledger<Vec<u8>, Ended>,
    /// Bytes of the items that are owed.
    bytes: usize,
    /// Nanoseconds that a task takes, about.
    takes: Option<f64>,
    /// The broker refuses since then, and is not asked before.
    refused: Option<(Nanos, Arc<str>)>,
    hold: Nanos,
    /// Batches that lie in the object store.
    objects: HashSet<u64>,
    wakers: Vec<Waker>,
    /// Every source item was pushed.
    dry: bool,
}

impl Run {
    pub(crate) fn new(id: u64, function: u64, bounds: Bounds) -> Self {
        Self {
            id,
            function,
            state: Mutex::new(State {
                ledger: Ledger::new(id, bounds),
                bytes: 0,
                takes: None,
                refused: None,
                hold: 0,
                objects: HashSet::new(),
                wakers: Vec::new(),
                dry: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Its own code alone runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next outcome in order, if it is there.
    pub(crate) fn next(&self) -> Option<(Index, Ended)> {
        self.lock().ledger.next()
    }

    /// Whether one more item may be pushed now, and whether too few are under
    /// way to keep the workers busy.
    pub(crate) fn room(&self) -> (bool, bool) {
        let state = self.lock();
        let room = state.ledger.has_room() && state.bytes < UNDER_WAY;
        (room, state.ledger.is_hungry())
    }

    pub(crate) fn push(&self, inner: &Inner, item: Vec<u8>) {
        let mut state = self.lock();
        state.bytes += item.len();
        state.ledger.push(item);
        let full = state.ledger.waiting() >= state.batch(inner);
        drop(state);
        if full {
            self.pump(inner, false);
        }
    }

    pub(crate) fn push_done(&self, ended: Ended) {
        self.lock().ledger.push_done(ended);
    }

    pub(crate) fn source_ended(&self) {
        self.lock().dry = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().ledger.is_empty()
    }

    /// Sends what waits, in whole batches or, to `flush`, all of it.
    pub(crate) fn pump(&self, inner: &Inner, flush: bool) {
        let now = clock::now();
        let mut state = self.lock();
        if now < state.hold {
            return;
        }
        let most = state.batch(inner);
        while state.ledger.waiting() > 0 && (flush || state.ledger.waiting() >= most) {
            let size = |item: &Vec<u8>| item.len() + wire::ITEM;
            let Some(batch) = state.ledger.pack(now, most, BATCH_BYTES, size) else { break };
            self.order(inner, &mut state, batch);
        }
    }

    fn order(&self, inner: &Inner, state: &mut State, batch: u64) {
        let address = Address { caller: inner.caller, run: self.id, batch };
        let empty = Body::Here(bytes::Bytes::new());
        let mut message =
            Tasks { address, function: self.function, body: empty }.write(inner.identity);
        let head = message.len();
        for (index, item) in state.ledger.items(batch) {
            wire::put_item(&mut message, index, item);
        }
        let object = (message.len() > inner.inline).then(|| {
            state.objects.insert(batch);
            let name = format!("t-{:016x}-{}-{batch}", inner.caller, self.id);
            let body = message.split_off(head);
            let body_at = Body::Object(name.clone());
            message =
                Tasks { address, function: self.function, body: body_at }.write(inner.identity);
            (name, body)
        });
        inner.order(Order::Publish { run: self.id, batch, message, object });
    }

    /// The broker's answer to a publish.
    pub(crate) fn stored(&self, batch: u64, place: u64) {
        let mut state = self.lock();
        state.refused = None;
        state.ledger.stored(batch, place, clock::now());
    }

    /// The broker has no room.
    pub(crate) fn refused(&self, batch: u64, why: Arc<str>) {
        let now = clock::now();
        let mut state = self.lock();
        state.ledger.refused(batch);
        state.hold = now + HOLD;
        let since = state.refused.as_ref().map_or(now, |(since, _)| *since);
        state.refused = Some((since, why));
    }

    pub(crate) fn kept(&self, batch: u64) {
        self.lock().ledger.kept(batch, clock::now());
    }

    pub(crate) fn gone(&self, inner: &Inner, batch: u64, place: u64) {
        self.lock().ledger.gone(batch, place);
        self.pump(inner, true);
    }

    pub(crate) fn poisoned(&self, inner: &Inner, batch: u64) {
        let why = "its workers ended under it, time after time";
        self.lock().ledger.poisoned(self.id, batch, || Ended {
            attempt: inner.attempts,
            outcome: Err(Outcome::Crashed(Crash::NotStarted(why.into()))),
        });
        self.notify();
        self.pump(inner, true);
    }

    /// Results of a batch. Returns whether the batch is over, and lies in the
    /// object store.
    pub(crate) fn results(
        &self,
        batch: u64,
        results: Vec<(Index, Ended)>,
        (elapsed, executed): (u64, u32),
    ) -> bool {
        let mut state = self.lock();
        for (index, ended) in results {
            if let Some(item) = state.ledger.outcome(self.id, index, ended) {
                state.bytes -= item.len();
            }
        }
        if executed > 0 {
            let takes = elapsed as f64 / f64::from(executed);
            state.takes = Some(state.takes.map_or(takes, |before| (3.0 * before + takes) / 4.0));
        }
        let over = !state.ledger.has_batch(batch) && state.objects.remove(&batch);
        drop(state);
        self.notify();
        over
    }

    fn notify(&self) {
        let wakers = std::mem::take(&mut self.lock().wakers);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What time brings: questions about what is overdue, and the end of
    /// patience.
    pub(crate) fn tick(&self, inner: &Inner, silence: Option<Arc<str>>) {
        use crate::ledger::Overdue;
        let now = clock::now();
        let mut state = self.lock();
        let refused = state.refused.as_ref().filter(|(since, _)| {
            state.ledger.batches() == 0 && now > since + clock::nanos(inner.within)
        });
        let why = refused.map(|(_, why)| format!("the server refuses tasks: {why}").into());
        if let Some(why) = why.or(silence).filter(|_| state.ledger.owed() > 0) {
            state.ledger.give_up(|| Ended {
                attempt: 0,
                outcome: Err(Outcome::Err(Fault::Broken(Arc::clone(&why)))),
            });
            state.bytes = 0;
            drop(state);
            self.notify();
            return;
        }
        let mut overdue = Vec::new();
        if now >= state.hold {
            overdue = state.ledger.overdue(now);
        }
        for late in overdue {
            match late {
                Overdue::Publish(batch) => self.order(inner, &mut state, batch),
                Overdue::Ask(batch, place) => {
                    inner.order(Order::Ask { run: self.id, batch, place });
                }
            }
        }
        drop(state);
        self.pump(inner, true);
    }

    pub(crate) fn reconnected(&self) {
        self.lock().ledger.reconnected(clock::now());
    }

    /// Waits until there may be an outcome to take, or room to push.
    pub(crate) fn wait(&self, dry: bool, until: Option<Instant>) {
        let mut state = self.lock();
        loop {
            let room = !dry && state.ledger.has_room() && state.bytes < UNDER_WAY;
            if state.ledger.is_ready() || room {
                return;
            }
            let longest = Duration::from_secs(1);
            let left = match until {
                Some(until) => match until.checked_duration_since(Instant::now()) {
                    Some(left) => left.min(longest),
                    None => return,
                },
                None => longest,
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same, by a wake-up. `false`: there is something now.
    pub(crate) fn wake_later(&self, dry: bool, waker: &Waker) -> bool {
        let mut state = self.lock();
        let room = !dry && state.ledger.has_room() && state.bytes < UNDER_WAY;
        if state.ledger.is_ready() || room {
            return false;
        }
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        true
    }

    /// The call is over. Returns where tasks of it are still stored, and the
    /// batches that lie in the object store.
    pub(crate) fn end(&self) -> (Vec<u64>, Vec<u64>) {
        let mut state = self.lock();
        (state.ledger.places().collect(), state.objects.drain().collect())
    }
}

impl State {
    /// How many tasks the next batch is to have.
    fn batch(&self, inner: &Inner) -> usize {
        if let Some(batch) = inner.batch {
            return batch;
        }
        let workers = inner.workers_seen().max(1);
        let by_time = match self.takes {
            Some(takes) => (BATCH_TIME / takes.max(1.0)) as usize,
            // Nobody knows yet: a few, to find out.
            None => 1 + self.ledger.owed() / (8 * workers),
        };
        // Each worker has two batches in hand and two on their way.
        let by_window = self.ledger.most_under_way() / (4 * workers);
        let by_rest = match self.dry {
            true => self.ledger.owed().div_ceil(2 * workers),
            false => usize::MAX,
        };
        by_time.min(by_window).min(by_rest).clamp(1, BATCH_ITEMS)
    }
}
