//! The cluster that the ledger is explored in.

mod check;

use super::super::*;
use super::fingerprint;
use std::collections::{BTreeMap, BTreeSet, HashSet};

const TERMS: Terms = Terms { lease: 3, margin: 1 };
const PATIENCE: Nanos = 4;
const CRASHED: u64 = 99_999;

/// How often each kind of fault may still happen.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Faults {
    pub(super) lost: u8,
    pub(super) doubled: u8,
    pub(super) killed: u8,
    /// A worker stops before it has read what was delivered.
    pub(super) stopped: u8,
    pub(super) restarts: u8,
    /// Restarts that forget the store.
    pub(super) wiped: u8,
    pub(super) full: u8,
    pub(super) reconnects: u8,
    pub(super) reborn: u8,
    pub(super) ticks: u8,
}

/// A batch as the broker and the workers see it.
#[derive(Debug, Clone, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    run: u64,
    batch: BatchId,
    items: Vec<Index>,
}

#[derive(Debug, Clone, Hash)]
struct Stored {
    place: u64,
    message: Message,
    delivered: u32,
    /// Who has it, and until when.
    held: Option<(usize, Nanos)>,
}

/// On its way to the caller.
#[derive(Debug, Clone, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Note {
    Stored(u64, BatchId, u64),
    Refused(u64, BatchId),
    Kept(u64, BatchId),
    Gone(u64, BatchId, u64),
    /// And which execution it was: each gives another value.
    Result(Message, u64),
    Poisoned(u64, BatchId),
}

#[derive(Debug, Clone, Hash)]
enum Worker {
    Idle,
    /// Delivered, and not read yet.
    InSocket {
        asked: Nanos,
        place: u64,
        message: Message,
        delivered: u32,
    },
    Running {
        lease: Lease,
        place: u64,
        message: Message,
        delivered: u32,
    },
    Reported {
        lease: Lease,
        place: u64,
    },
}

#[derive(Debug, Clone, Copy, Hash)]
pub(super) enum Move {
    Push,
    Pack,
    Emit,
    Publish(usize),
    LosePublish(usize),
    LoseAck(usize),
    Full(usize),
    Note(usize),
    LoseNote(usize),
    DoubleNote(usize),
    Take(usize, usize),
    Stop(usize),
    Read(usize),
    Report(usize),
    Ack(usize),
    Renew(usize),
    Kill(usize),
    Restart,
    Wipe,
    Reconnect,
    Reborn,
    Tick,
}

#[derive(Debug, Clone, Hash)]
pub(super) struct World {
    ledger: Ledger<u64, u64>,
    items: u64,
    batch: usize,
    bounds: Bounds,
    run: u64,
    pushed: u64,
    given: u64,
    now: Nanos,
    faults: Faults,
    /// The item that ends every worker that begins it.
    poison: Option<Index>,
    /// Deliveries of one message before it is poison.
    attempts: u32,
    publishes: BTreeSet<Message>,
    notes: Vec<Note>,
    store: Vec<Stored>,
    next_place: u64,
    known: BTreeSet<(u64, BatchId)>,
    executions: u64,
    /// What came first for each item of this run.
    first: BTreeMap<Index, u64>,
    workers: [Worker; 2],
    stopped: [bool; 2],
}

impl World {
    pub(super) fn new(items: u64, batch: usize, faults: Faults) -> Self {
        let bounds = Bounds { window: 2, under_way: 2, patience: PATIENCE };
        Self {
            ledger: Ledger::new(0, bounds),
            items,
            batch,
            bounds,
            run: 0,
            pushed: 0,
            given: 0,
            now: 0,
            faults,
            poison: None,
            attempts: u32::MAX,
            publishes: BTreeSet::new(),
            notes: Vec::new(),
            store: Vec::new(),
            next_place: 1,
            known: BTreeSet::new(),
            executions: 0,
            first: BTreeMap::new(),
            workers: [Worker::Idle, Worker::Idle],
            stopped: [false; 2],
        }
    }

    pub(super) fn with_poison(mut self, item: Index) -> Self {
        self.poison = Some(item);
        self.attempts = 5;
        self
    }

    /// By an execution that nobody else is.
    fn value(run: u64, index: Index, execution: u64) -> u64 {
        1_000 * execution + 100 * run + index
    }

    /// What may happen, in the order in which a kind world does it; what a kind
    /// world does not do comes behind.
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut moves = self.kind_moves();
        let faults = &self.faults;
        let publishes = 0..self.publishes.len();
        let notes = 0..self.notes.len();
        if faults.lost > 0 {
            moves.extend(publishes.clone().flat_map(|n| [Move::LosePublish(n), Move::LoseAck(n)]));
            moves.extend(notes.clone().map(Move::LoseNote));
        }
        if faults.doubled > 0 {
            moves.extend(notes.map(Move::DoubleNote));
        }
        if faults.full > 0 {
            moves.extend(publishes.map(Move::Full));
        }
        for (at, worker) in self.workers.iter().enumerate() {
            let idle = matches!(worker, Worker::Idle);
            if faults.killed > 0 && !idle {
                moves.push(Move::Kill(at));
            }
            if faults.stopped > 0 && !idle && !self.stopped[at] {
                moves.push(Move::Stop(at));
            }
        }
        let once = [
            (faults.restarts > 0, Move::Restart),
            (faults.wiped > 0, Move::Wipe),
            (faults.reconnects > 0, Move::Reconnect),
            (faults.reborn > 0, Move::Reborn),
            (faults.ticks > 0, Move::Tick),
        ];
        moves.extend(once.into_iter().filter(|(may, _)| *may).map(|(_, step)| step));
        moves
    }

    fn kind_moves(&self) -> Vec<Move> {
        let mut moves: Vec<Move> = (0..self.notes.len()).map(Move::Note).collect();
        if self.ledger.slots.front().is_some_and(|slot| matches!(slot, Slot::Done(_))) {
            moves.push(Move::Emit);
        }
        if self.pushed < self.items && self.ledger.has_room() {
            moves.push(Move::Push);
        }
        if self.ledger.waiting() > 0 {
            moves.push(Move::Pack);
        }
        moves.extend((0..self.publishes.len()).map(Move::Publish));
        for (at, worker) in self.workers.iter().enumerate() {
            match worker {
                Worker::Idle => {
                    let queued = self.store.iter().position(|stored| stored.held.is_none());
                    moves.extend(queued.map(|stored| Move::Take(at, stored)));
                }
                Worker::InSocket { .. } => moves.push(Move::Read(at)),
                Worker::Running { lease, .. } => {
                    if lease.is_held(self.now) && *lease != Lease::new(self.now, TERMS) {
                        moves.push(Move::Renew(at));
                    }
                    moves.push(Move::Report(at));
                }
                Worker::Reported { .. } => moves.push(Move::Ack(at)),
            }
        }
        moves
    }

    pub(super) fn make(&mut self, step: Move) {
        match step {
            Move::Push => {
                assert_eq!(self.ledger.push(self.pushed), self.pushed);
                self.pushed += 1;
            }
            Move::Pack => {
                let made = self.ledger.pack(self.now, self.batch, usize::MAX, |_| 1);
                self.publish(made.expect("something waits"));
            }
            Move::Emit => {
                let (index, value) = self.ledger.next().expect("it is done");
                assert_eq!(index, self.given, "out of order");
                if value == CRASHED {
                    assert_eq!(self.poison, Some(index), "the wrong item is blamed");
                } else {
                    assert_eq!(Some(&value), self.first.get(&index), "not what came first");
                }
                self.given += 1;
            }
            Move::Publish(n) => {
                let (message, place) = self.arrive(n);
                self.notes.push(Note::Stored(message.run, message.batch, place));
            }
            Move::LosePublish(n) => {
                self.faults.lost -= 1;
                let lost = self.publishes.iter().nth(n).cloned().expect("on its way");
                self.publishes.remove(&lost);
            }
            Move::LoseAck(n) => {
                self.faults.lost -= 1;
                self.arrive(n);
            }
            Move::Full(n) => {
                self.faults.full -= 1;
                let message = self.publishes.iter().nth(n).cloned().expect("on its way");
                self.publishes.remove(&message);
                self.notes.push(Note::Refused(message.run, message.batch));
            }
            Move::Note(n) => {
                let note = self.notes.remove(n);
                self.note(note);
            }
            Move::LoseNote(n) => {
                self.faults.lost -= 1;
                self.notes.remove(n);
            }
            Move::DoubleNote(n) => {
                self.faults.doubled -= 1;
                self.note(self.notes[n].clone());
            }
            Move::Take(worker, stored) => {
                let stored = &mut self.store[stored];
                stored.held = Some((worker, self.now + TERMS.lease));
                stored.delivered += 1;
                self.workers[worker] = Worker::InSocket {
                    asked: self.now,
                    place: stored.place,
                    message: stored.message.clone(),
                    delivered: stored.delivered,
                };
            }
            Move::Stop(worker) => {
                self.faults.stopped -= 1;
                self.stopped[worker] = true;
                // Long enough for the lease to end.
                for _ in 0..TERMS.lease {
                    self.tick();
                }
            }
            Move::Read(at) => self.read(at),
            Move::Report(at) => self.report(at),
            Move::Ack(at) => {
                self.stopped[at] = false;
                let worker = std::mem::replace(&mut self.workers[at], Worker::Idle);
                if let Worker::Reported { lease, place } = worker
                    && self.speaks(at, lease, place)
                {
                    self.store.retain(|stored| stored.place != place);
                }
            }
            Move::Renew(at) => {
                self.stopped[at] = false;
                let Worker::Running { mut lease, place, .. } = self.workers[at].clone() else {
                    unreachable!("it runs");
                };
                if self.speaks(at, lease, place) {
                    lease.renewed(self.now, TERMS);
                    for stored in self.store.iter_mut().filter(|stored| stored.place == place) {
                        stored.held = stored.held.map(|(who, _)| (who, self.now + TERMS.lease));
                    }
                    if let Worker::Running { lease: held, .. } = &mut self.workers[at] {
                        *held = lease;
                    }
                }
            }
            Move::Kill(at) => {
                self.faults.killed -= 1;
                self.workers[at] = Worker::Idle;
                self.stopped[at] = false;
            }
            Move::Restart => {
                self.faults.restarts -= 1;
                self.known.clear();
                self.notes.retain(|note| !matches!(note, Note::Result(..) | Note::Poisoned(..)));
            }
            Move::Wipe => {
                self.faults.wiped -= 1;
                self.known.clear();
                self.store.clear();
            }
            Move::Reconnect => {
                self.faults.reconnects -= 1;
                self.notes.clear();
                self.ledger.reconnected(self.now);
                self.ask();
            }
            Move::Reborn => {
                self.faults.reborn -= 1;
                self.run += 1;
                self.ledger = Ledger::new(self.run, self.bounds);
                (self.pushed, self.given) = (0, 0);
                self.first.clear();
            }
            Move::Tick => {
                self.faults.ticks -= 1;
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        for stored in &mut self.store {
            stored.held = stored.held.filter(|(_, until)| self.now < *until);
        }
        self.ask();
    }

    /// The caller looks at what is overdue.
    fn ask(&mut self) {
        for overdue in self.ledger.overdue(self.now) {
            match overdue {
                Overdue::Publish(batch) => self.publish(batch),
                Overdue::Ask(batch, place) => {
                    let kept = self.store.iter().any(|stored| stored.place == place);
                    self.notes.push(match kept {
                        true => Note::Kept(self.run, batch),
                        false => Note::Gone(self.run, batch, place),
                    });
                }
            }
        }
    }

    fn publish(&mut self, batch: BatchId) {
        let items: Vec<Index> = self.ledger.items(batch).map(|(index, _)| index).collect();
        assert!(!items.is_empty(), "a batch of nothing");
        self.publishes.insert(Message { run: self.run, batch, items });
    }

    /// A publish reaches the broker, which knows some that it had before.
    fn arrive(&mut self, n: usize) -> (Message, u64) {
        let message = self.publishes.iter().nth(n).cloned().expect("on its way");
        self.publishes.remove(&message);
        let same = |stored: &&Stored| {
            (stored.message.run, stored.message.batch) == (message.run, message.batch)
        };
        if !self.known.insert((message.run, message.batch)) {
            // A duplicate is confirmed with the place of the first, which may
            // be done by now.
            let place = self.store.iter().find(same).map_or(0, |stored| stored.place);
            return (message, place);
        }
        let place = self.next_place;
        self.next_place += 1;
        self.store.push(Stored { place, message: message.clone(), delivered: 0, held: None });
        (message, place)
    }

    /// What comes for another run goes to an inbox that nobody reads, but for
    /// results, which the ledger must tell apart.
    fn note(&mut self, note: Note) {
        match note {
            Note::Stored(run, batch, place) if run == self.run => {
                self.ledger.stored(batch, place, self.now);
            }
            Note::Refused(run, batch) if run == self.run => self.ledger.refused(batch),
            Note::Kept(run, batch) if run == self.run => self.ledger.kept(batch, self.now),
            Note::Gone(run, batch, place) if run == self.run => self.ledger.gone(batch, place),
            Note::Result(message, execution) => {
                for index in message.items {
                    let value = Self::value(message.run, index, execution);
                    if message.run == self.run {
                        self.first.entry(index).or_insert(value);
                    }
                    self.ledger.outcome(message.run, index, value);
                }
            }
            Note::Poisoned(run, batch) => self.ledger.poisoned(run, batch, || CRASHED),
            _ => {}
        }
    }

    fn read(&mut self, at: usize) {
        self.stopped[at] = false;
        let worker = std::mem::replace(&mut self.workers[at], Worker::Idle);
        let Worker::InSocket { asked, place, message, delivered } = worker else { return };
        let lease = Lease::new(asked, TERMS);
        if !lease.is_held(self.now) {
            return;
        }
        if delivered > self.attempts {
            self.notes.push(Note::Poisoned(message.run, message.batch));
            self.workers[at] = Worker::Reported { lease, place };
        } else {
            self.workers[at] = Worker::Running { lease, place, message, delivered };
        }
    }

    fn report(&mut self, at: usize) {
        self.stopped[at] = false;
        let worker = std::mem::replace(&mut self.workers[at], Worker::Idle);
        let Worker::Running { lease, place, message, .. } = worker else { return };
        if self.poison.is_some_and(|poison| message.items.contains(&poison)) {
            return;
        }
        self.executions += 1;
        self.notes.push(Note::Result(message, self.executions));
        self.workers[at] = Worker::Reported { lease, place };
    }

    /// Whether a worker speaks of a delivery; if it does, it must hold it.
    fn speaks(&self, at: usize, lease: Lease, place: u64) -> bool {
        let speaks = lease.is_held(self.now);
        let holder = self.store.iter().find(|stored| stored.place == place);
        if let (true, Some(stored)) = (speaks, holder) {
            let holder = stored.held.map(|(who, _)| who);
            assert_eq!(holder, Some(at), "a worker spoke of what it does not hold");
        }
        speaks
    }
}
