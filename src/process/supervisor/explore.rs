//! Every order of events, to a stated depth, against a simulated world.
//!
//! The world plays the shell, the sockets and the workers: it answers the
//! supervisor's questions as the progress word would, and at each step may let
//! a worker start, finish, report, die, or block; let time pass; cancel, shut
//! down, terminate; or bring stale news. Equal states are visited once. In
//! every state reached the invariants of `mod.rs` hold, and from every state a
//! world that is kind from then on ends with one outcome for each task.
//!
//! Does not cover: more than two workers or four tasks; batches of more than
//! two; the answers to questions arriving later (the shell answers under the
//! same lock).

use super::*;
use std::collections::{BTreeMap, HashSet};

/// A worker process as the world sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sim {
    ready: bool,
    told: Told,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Told {
    Nothing,
    Retire,
    Die,
}

/// A batch and its progress word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    seq: u64,
    tasks: Vec<TaskId>,
    limit: u32,
    started: u32,
    since: Nanos,
    delivered: u32,
}

impl Slot {
    fn all_finished(&self) -> bool {
        self.started > self.limit
    }
    fn held(&self) -> bool {
        !self.all_finished() || self.delivered < self.limit
    }
    fn finished(&self) -> u32 {
        self.started.saturating_sub(1).min(self.limit)
    }
}

/// What may still go wrong or be asked, so that the search ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Budget {
    submits: u32,
    deaths: u32,
    blocks: u32,
    ticks: u32,
    cancels: u32,
    stale: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    supervisor: Supervisor,
    sims: BTreeMap<WorkerId, Sim>,
    now: Nanos,
    next_task: TaskId,
    block_next: bool,
    starts: BTreeMap<TaskId, u32>,
    outcomes: BTreeMap<TaskId, Ended>,
    blamed: BTreeMap<WorkerId, u32>,
    gone: Vec<(WorkerId, u64)>,
    spawns: u32,
    exits: u32,
    stopped: bool,
    broke: bool,
    budget: Budget,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Ended {
    Delivered,
    Finished(Verdict),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    Submit(u32),
    Ready(WorkerId),
    SpawnFails(WorkerId),
    Advance(WorkerId),
    ReportDone(WorkerId),
    Die(WorkerId),
    Garble(WorkerId),
    Exit(WorkerId),
    SocketFull,
    Writable(WorkerId),
    Tick,
    Cancel(TaskId, bool),
    Stale(WorkerId, u64),
    Shutdown,
    Terminate,
}

fn config() -> Config {
    Config {
        workers: 2,
        depth: 2,
        batch: Batch::Fixed(2),
        deadline: Some(2),
        max_tasks: Some(3),
        attempts: 1,
        intensity: None,
        idle_deaths: 4,
        steal_after: 1,
    }
}

impl World {
    fn new(config: Config, budget: Budget) -> Self {
        let mut out = Vec::new();
        let supervisor = Supervisor::new(config, &mut out);
        let mut world = Self {
            supervisor,
            sims: BTreeMap::new(),
            now: 1,
            next_task: 0,
            block_next: false,
            starts: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            blamed: BTreeMap::new(),
            gone: Vec::new(),
            spawns: 0,
            exits: 0,
            stopped: false,
            broke: false,
            budget,
        };
        world.perform(out);
        world
    }

    fn feed(&mut self, event: Event) {
        let mut out = Vec::new();
        self.supervisor.step(self.now, event, &mut out);
        self.perform(out);
    }

    /// Carries actions out in their order; an answer is given at once, what
    /// follows from it comes last.
    fn perform(&mut self, mut actions: Vec<Action>) {
        let mut at = 0;
        while let Some(action) = actions.get(at).cloned() {
            at += 1;
            let answer = match action {
                Action::Spawn(id) => {
                    assert!(!self.broke && !self.stopped, "a worker started after the end");
                    self.spawns += 1;
                    let fresh = Sim { ready: false, told: Told::Nothing, slots: Vec::new() };
                    assert!(self.sims.insert(id, fresh).is_none(), "a worker number used twice");
                    assert!(self.sims.len() <= 2, "more workers than seats");
                    None
                }
                Action::Send { worker, seq, runs } => Some(self.send(worker, seq, &runs)),
                Action::Look(worker) => self.sims.get(&worker).and_then(|sim| {
                    let slot = sim.slots.first()?;
                    let (seq, started, since) = (slot.seq, slot.started, slot.since);
                    Some(Event::Seen { worker, seq, started, since })
                }),
                Action::Revoke(worker) => self.sims.get_mut(&worker).map(|sim| {
                    sim.slots.iter_mut().for_each(|slot| slot.limit = slot.limit.min(slot.started));
                    Event::Revoked { worker, started: words(sim) }
                }),
                Action::Condemn { worker, seq, index } => {
                    let sim = self.sims.get_mut(&worker).expect("a condemned worker is there");
                    let hit = sim.slots.iter().any(|slot| {
                        slot.seq == seq && slot.started == index + 1 && slot.started <= slot.limit
                    });
                    Some(if hit { Event::Condemned { worker } } else { Event::Missed { worker } })
                }
                Action::Kill(worker) => {
                    self.sims.get_mut(&worker).expect("whom to kill").told = Told::Die;
                    None
                }
                Action::Retire(worker) => {
                    let sim = self.sims.get_mut(&worker).expect("whom to retire");
                    assert!(!sim.slots.iter().any(Slot::held), "retired with tasks in hand");
                    sim.told = Told::Retire;
                    None
                }
                Action::Deliver { worker, seq, runs } => {
                    self.delivered(worker, seq, &runs);
                    None
                }
                Action::Finish { run, verdict } => {
                    self.finished(&run, verdict);
                    None
                }
                Action::Broke => {
                    self.broke = true;
                    None
                }
                Action::Stopped => {
                    assert!(self.sims.is_empty() && !self.stopped, "stopped with workers left");
                    self.stopped = true;
                    None
                }
            };
            if let Some(answer) = answer {
                self.supervisor.step(self.now, answer, &mut actions);
            }
        }
    }

    fn send(&mut self, worker: WorkerId, seq: u64, runs: &[Run]) -> Event {
        let tasks: Vec<TaskId> =
            runs.iter().flat_map(|run| run.first..run.first + u64::from(run.len)).collect();
        let sim = self.sims.get_mut(&worker).expect("tasks for a worker that is there");
        assert!(sim.ready && sim.told == Told::Nothing, "tasks for a worker that takes none");
        let count = tasks.len() as u32;
        if std::mem::take(&mut self.block_next) {
            return Event::Took { worker, seq, tasks: 0, blocked: true };
        }
        assert!(sim.slots.iter().filter(|slot| slot.held()).count() < 2, "a third batch");
        let slot = Slot { seq, tasks, limit: count, started: 0, since: 0, delivered: 0 };
        sim.slots.push(slot);
        Event::Took { worker, seq, tasks: count, blocked: false }
    }

    fn delivered(&mut self, worker: WorkerId, seq: u64, runs: &[Run]) {
        let tasks = runs.iter().flat_map(|run| run.first..run.first + u64::from(run.len));
        for task in tasks {
            let sim = self.sims.get_mut(&worker).expect("a result from a worker that is there");
            let slot = sim.slots.iter_mut().find(|slot| slot.seq == seq).expect("its batch");
            assert_eq!(slot.tasks[slot.delivered as usize], task, "results out of order");
            slot.delivered += 1;
            assert!(slot.delivered <= slot.finished(), "delivered {task} which is not finished");
            self.end(task, Ended::Delivered);
        }
    }

    fn finished(&mut self, run: &Run, verdict: Verdict) {
        if let Verdict::Crashed(worker) = verdict {
            assert_eq!(run.len, 1, "one is blamed");
            let blamed = self.blamed.entry(worker).or_default();
            *blamed += 1;
            assert_eq!(*blamed, 1, "two blamed for one crash");
            let sim = &self.sims[&worker];
            assert!(
                sim.slots.iter().any(|slot| slot.started <= slot.limit
                    && slot.started > 0
                    && slot.tasks[slot.started as usize - 1] == run.first),
                "blamed {} which was not running",
                run.first
            );
        }
        for task in run.first..run.first + u64::from(run.len) {
            let started = self.starts.contains_key(&task);
            if verdict == (Verdict::Cancelled { started: false }) {
                assert!(!started, "{task} had started");
            }
            if matches!(verdict, Verdict::TimedOut | Verdict::Cancelled { started: true }) {
                assert!(started, "{task} had not started");
            }
            self.end(task, Ended::Finished(verdict));
        }
    }

    fn end(&mut self, task: TaskId, ended: Ended) {
        assert!(task < self.next_task);
        let before = self.outcomes.insert(task, ended);
        assert!(before.is_none(), "{task} ended twice");
    }

    fn exit(&mut self, id: WorkerId) {
        let started = words(&self.sims[&id]);
        self.gone.extend(started.iter().map(|(seq, _)| (id, *seq)));
        self.exits += 1;
        let mut out = Vec::new();
        self.supervisor.step(self.now, Event::Exited { worker: id, started }, &mut out);
        // What it left is read before it is forgotten, as in the shell.
        let (left, rest): (Vec<_>, Vec<_>) = out.into_iter().partition(|action| {
            matches!(action, Action::Deliver { worker, .. } if *worker == id)
                || matches!(action, Action::Finish { verdict: Verdict::Crashed(worker), .. } if *worker == id)
        });
        self.perform(left);
        self.sims.remove(&id);
        self.perform(rest);
    }

    /// What may happen now. `kind`: without what goes wrong or is asked.
    fn moves(&self, kind: bool) -> Vec<Move> {
        let mut moves = Vec::new();
        for (&id, sim) in &self.sims {
            if sim.told != Told::Nothing {
                moves.push(Move::Exit(id));
                continue;
            }
            if sim.ready {
                if sim.slots.first().is_some_and(Slot::all_finished) {
                    moves.push(Move::ReportDone(id));
                }
                if sim.slots.iter().any(|slot| !slot.all_finished()) {
                    moves.push(Move::Advance(id));
                }
            } else {
                moves.push(Move::Ready(id));
            }
            if self.supervisor.workers.iter().any(|worker| worker.id == id && worker.blocked) {
                moves.push(Move::Writable(id));
            }
            if !kind && self.budget.deaths > 0 {
                moves.push(Move::Die(id));
                moves.push(if sim.ready { Move::Garble(id) } else { Move::SpawnFails(id) });
            }
        }
        if kind {
            return moves;
        }
        if self.budget.submits > 0 {
            moves.extend([Move::Submit(1), Move::Submit(2)]);
        }
        if self.budget.blocks > 0 && !self.block_next {
            moves.push(Move::SocketFull);
        }
        if self.budget.ticks > 0 {
            moves.push(Move::Tick);
        }
        if self.budget.cancels > 0 {
            let open = (0..self.next_task).filter(|task| !self.outcomes.contains_key(task));
            moves.extend(
                open.flat_map(|task| [Move::Cancel(task, false), Move::Cancel(task, true)]),
            );
        }
        if self.budget.stale > 0 {
            moves.extend(self.gone.iter().map(|(id, seq)| Move::Stale(*id, *seq)));
        }
        if self.supervisor.state == State::Open {
            moves.extend([Move::Shutdown, Move::Terminate]);
        } else if self.supervisor.state == State::Draining {
            moves.push(Move::Terminate);
        }
        moves
    }

    fn make(&mut self, step: &Move) {
        match *step {
            Move::Submit(len) => {
                self.budget.submits -= 1;
                let first = self.next_task;
                self.next_task += u64::from(len);
                self.feed(Event::Submit { first, len });
            }
            Move::Ready(id) => {
                self.sims.get_mut(&id).unwrap().ready = true;
                self.feed(Event::Ready(id));
            }
            Move::SpawnFails(id) => {
                self.budget.deaths -= 1;
                self.sims.remove(&id);
                self.exits += 1;
                self.feed(Event::SpawnFailed(id));
            }
            Move::Advance(id) => self.advance(id),
            Move::ReportDone(id) => {
                let slot = self.sims[&id].slots[0].clone();
                self.feed(Event::Done { worker: id, seq: slot.seq, elapsed: 1 });
                let slots = &mut self.sims.get_mut(&id).unwrap().slots;
                // Sent into the freed place at once: keep what came after.
                slots.retain(|other| other.seq != slot.seq);
            }
            Move::Die(id) => {
                self.budget.deaths -= 1;
                self.exit(id);
            }
            Move::Garble(id) => {
                self.budget.deaths -= 1;
                self.feed(Event::Garbled(id));
            }
            Move::Exit(id) => self.exit(id),
            Move::SocketFull => {
                self.budget.blocks -= 1;
                self.block_next = true;
            }
            Move::Writable(id) => self.feed(Event::Writable(id)),
            Move::Tick => {
                self.budget.ticks -= 1;
                self.now += 1;
                self.feed(Event::Tick);
            }
            Move::Cancel(first, kill) => {
                self.budget.cancels -= 1;
                self.feed(Event::Cancel { first, len: 1, kill });
            }
            Move::Stale(id, seq) => {
                self.budget.stale -= 1;
                let before = self.supervisor.clone();
                self.feed(Event::Done { worker: id, seq, elapsed: 1 });
                self.feed(Event::Ready(id));
                self.feed(Event::Exited { worker: id, started: vec![(seq, 1)] });
                assert_eq!(before, self.supervisor, "stale news changed something");
            }
            Move::Shutdown => self.feed(Event::Shutdown),
            Move::Terminate => self.feed(Event::Terminate),
        }
    }

    fn advance(&mut self, id: WorkerId) {
        let slots = &mut self.sims.get_mut(&id).unwrap().slots;
        let slot = slots.iter_mut().find(|slot| !slot.all_finished()).unwrap();
        slot.started += 1;
        slot.since = self.now;
        if slot.started <= slot.limit {
            let task = slot.tasks[slot.started as usize - 1];
            let starts = self.starts.entry(task).or_default();
            *starts += 1;
            assert!(*starts <= self.supervisor.config.attempts, "{task} started twice");
        }
    }

    fn check(&self) {
        let queued: u64 = self.supervisor.queue.iter().map(|run| u64::from(run.len)).sum();
        assert_eq!(queued, self.supervisor.queued, "the count of the queue");
        let held: u64 = self
            .supervisor
            .workers
            .iter()
            .flat_map(|worker| &worker.sent)
            .map(|dispatch| u64::from(dispatch.tasks()))
            .sum();
        assert_eq!(
            queued + held + self.outcomes.len() as u64,
            self.next_task,
            "every task is queued, held or ended"
        );
        assert!(self.spawns <= 2 + self.exits, "more starts than deaths");
        let ids: Vec<_> = self.supervisor.workers.iter().map(|worker| worker.id).collect();
        assert_eq!(ids, self.sims.keys().copied().collect::<Vec<_>>(), "who is there");
        if queued > 0 && matches!(self.supervisor.state, State::Open | State::Draining) {
            assert!(!ids.is_empty(), "tasks and nobody to run them");
        }
    }

    /// From here on nothing goes wrong: every task ends, and after a shutdown
    /// every worker goes. What happens next depends on the state alone, so a
    /// state that is known to end well need not be walked again.
    fn ends_well(&self, known: &mut HashSet<u128>) {
        let mut world = self.clone();
        for turn in 0.. {
            assert!(turn < 200, "no end in sight: {world:#?}");
            let print = fingerprint(&world);
            if !known.insert(print) {
                return;
            }
            let moves = world.moves(true);
            let Some(step) = moves.get((print % moves.len().max(1) as u128) as usize) else {
                break;
            };
            world.make(step);
            world.check();
        }
        let missing: Vec<_> =
            (0..world.next_task).filter(|task| !world.outcomes.contains_key(task)).collect();
        assert!(missing.is_empty(), "stranded: {missing:?} in {world:#?}");
        assert_eq!(world.stopped, world.supervisor.state != State::Open, "stopped in the end");
    }
}

fn words(sim: &Sim) -> Vec<(u64, u32)> {
    sim.slots.iter().map(|slot| (slot.seq, slot.started)).collect()
}

/// Visits every state within `depth` moves; returns how many there were.
fn explore(name: &str, config: Config, budget: Budget, depth: usize) -> usize {
    let (mut seen, mut known) = (HashSet::new(), HashSet::new());
    let mut layer = vec![World::new(config, budget)];
    let mut orders: u64 = 0;
    for _ in 0..depth {
        let mut next = Vec::new();
        for world in layer {
            for step in world.moves(false) {
                orders += 1;
                let mut after = world.clone();
                after.make(&step);
                after.check();
                if seen.insert(fingerprint(&after)) {
                    after.ends_well(&mut known);
                    next.push(after);
                }
            }
        }
        layer = next;
    }
    println!("{name}: {} states, {orders} moves, depth {depth}", seen.len());
    seen.len()
}

/// 128 bits stand for a state: two of a few million are alike by chance once
/// in some 10^25 runs.
fn fingerprint(world: &World) -> u128 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, world).hash(&mut hasher);
        hasher.finish()
    };
    u128::from(hash(0)) << 64 | u128::from(hash(1))
}

const CALM: Budget = Budget { submits: 0, deaths: 0, blocks: 0, ticks: 0, cancels: 0, stale: 0 };

/// Everything may happen, in any order, at most once or twice each.
#[test]
fn every_order_of_events() {
    let budget = Budget { submits: 2, deaths: 2, blocks: 1, ticks: 3, cancels: 1, stale: 1 };
    assert!(explore("everything", config(), budget, 6) > 1_000);
}

/// Few kinds of events, deeper: workers die under batches.
#[test]
fn every_order_of_deaths() {
    let budget = Budget { submits: 2, deaths: 2, stale: 1, ..CALM };
    let config = Config { deadline: None, max_tasks: None, ..config() };
    assert!(explore("deaths", config, budget, 8) > 1_000);
}

/// Few kinds of events, deeper: deadlines, cancels and taking back.
#[test]
fn every_order_of_deadlines_and_cancels() {
    let budget = Budget { submits: 2, ticks: 4, cancels: 2, ..CALM };
    let config = Config { max_tasks: None, ..config() };
    assert!(explore("deadlines and cancels", config, budget, 7) > 1_000);
}

/// An idempotent task is tried again, but not for ever.
#[test]
fn every_order_of_retries() {
    let budget = Budget { submits: 1, deaths: 3, ..CALM };
    let config = Config { deadline: None, max_tasks: None, attempts: 2, ..config() };
    assert!(explore("retries", config, budget, 10) > 1_000);
}

/// Workers that die too often break the pool; every task still has an outcome.
#[test]
fn every_order_of_breakdowns() {
    let budget = Budget { submits: 2, deaths: 3, blocks: 1, ..CALM };
    let config = Config { intensity: Some((1, 10)), idle_deaths: 2, deadline: None, ..config() };
    assert!(explore("breakdowns", config, budget, 8) > 1_000);
}
