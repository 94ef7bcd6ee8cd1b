//! The world that the supervisor is explored in: the shell, the sockets and
//! the workers, as far as it can tell them apart.

use super::super::*;
use std::collections::BTreeMap;

/// The moves that led here, to be printed: worlds that differ in it alone are
/// equal.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail(pub(super) Vec<super::moves::Move>);

impl PartialEq for Trail {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Trail {}
impl std::hash::Hash for Trail {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// A worker process as the world sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sim {
    pub(super) ready: bool,
    pub(super) told: Told,
    pub(super) slots: Vec<Slot>,
    /// Its socket has no room, which the supervisor learns by trying.
    pub(super) full: bool,
    /// Tasks that it has, or had and were not taken back.
    pub(super) given: u64,
    /// When the oldest batch became the oldest.
    pub(super) front_since: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Told {
    Nothing,
    Retire,
    Die,
}

/// A batch and its progress word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) seq: u64,
    pub(super) tasks: Vec<TaskId>,
    pub(super) limit: u32,
    pub(super) started: u32,
    pub(super) since: Nanos,
    delivered: u32,
}

impl Sim {
    fn new() -> Self {
        Self {
            ready: false,
            told: Told::Nothing,
            slots: Vec::new(),
            full: false,
            given: 0,
            front_since: 0,
        }
    }
}

impl Slot {
    pub(super) fn all_finished(&self) -> bool {
        self.started > self.limit
    }
    pub(super) fn is_running(&self) -> bool {
        (1..=self.limit).contains(&self.started)
    }
    fn held(&self) -> bool {
        !self.all_finished() || self.delivered < self.limit
    }
    fn finished(&self) -> u32 {
        self.started.saturating_sub(1).min(self.limit)
    }
}

/// What a socket makes of the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Socket {
    Takes,
    /// It fits, and nothing after it.
    IsFilled,
    IsFull,
    /// Only the first task fits in the memory.
    TakesOne,
}

/// What may still go wrong or be asked, so that the search ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) submits: u32,
    /// Tasks that are submitted at a time, if not one.
    pub(super) largest: u32,
    pub(super) deaths: u32,
    pub(super) blocks: u32,
    pub(super) ticks: u32,
    pub(super) cancels: u32,
    pub(super) stale: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) sims: BTreeMap<WorkerId, Sim>,
    pub(super) now: Nanos,
    pub(super) next_task: TaskId,
    pub(super) socket: Socket,
    pub(super) starts: BTreeMap<TaskId, u32>,
    pub(super) outcomes: BTreeMap<TaskId, Ended>,
    pub(super) blamed: BTreeMap<WorkerId, u32>,
    pub(super) gone: Vec<(WorkerId, u64)>,
    pub(super) stopped: bool,
    pub(super) broke: bool,
    pub(super) trail: Trail,
    /// When a worker was last lost with no task to show for it.
    pub(super) setback: Option<Nanos>,
    /// When the first was since which no other worker was at work, and how
    /// many were.
    alone: Option<(Nanos, u32)>,
    pub(super) budget: Budget,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    Delivered,
    Finished(Verdict),
}

impl World {
    pub(super) fn new(config: Config, budget: Budget) -> Self {
        Self {
            supervisor: Supervisor::new(config),
            sims: BTreeMap::new(),
            now: 1,
            next_task: 0,
            socket: Socket::Takes,
            starts: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            blamed: BTreeMap::new(),
            gone: Vec::new(),
            stopped: false,
            broke: false,
            trail: Trail::default(),
            setback: None,
            alone: None,
            budget,
        }
    }

    pub(super) fn feed(&mut self, event: Event) {
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
                    assert!(
                        self.sims.insert(id, Sim::new()).is_none(),
                        "a worker number used twice"
                    );
                    let seats = self.supervisor.config.workers;
                    assert!(self.sims.len() <= seats, "more workers than seats");
                    None
                }
                Action::Send { worker, seq, runs } => self.send(worker, seq, &runs),
                Action::Look(worker) => self.sims.get(&worker).and_then(|sim| {
                    let slot = sim.slots.first()?;
                    let (seq, started, since) = (slot.seq, slot.started, slot.since);
                    Some(Event::Seen { worker, seq, started, since })
                }),
                Action::Revoke(worker) => self.sims.get_mut(&worker).map(|sim| {
                    for slot in &mut sim.slots {
                        let taken_back = slot.limit.saturating_sub(slot.started);
                        slot.limit -= taken_back;
                        sim.given -= u64::from(taken_back);
                    }
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
                    self.check_broke();
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

    fn send(&mut self, worker: WorkerId, seq: u64, runs: &[Run]) -> Option<Event> {
        let tasks: Vec<TaskId> =
            runs.iter().flat_map(|run| run.first..run.first + u64::from(run.len)).collect();
        let sim = self.sims.get_mut(&worker).expect("tasks for a worker that is there");
        assert!(sim.ready && sim.told == Told::Nothing, "tasks for a worker that takes none");
        let depth = self.supervisor.config.depth;
        assert!(sim.slots.iter().filter(|slot| slot.held()).count() < depth, "a third batch");
        let socket = if sim.full { Socket::IsFull } else { self.socket };
        self.socket = Socket::Takes;
        sim.full |= matches!(socket, Socket::IsFilled | Socket::IsFull);
        let count = match socket {
            Socket::IsFull => {
                return Some(Event::Took { worker, seq, tasks: 0, blocked: true });
            }
            Socket::TakesOne => 1,
            Socket::Takes | Socket::IsFilled => tasks.len() as u32,
        };
        if sim.slots.is_empty() {
            sim.front_since = self.now;
        }
        sim.given += u64::from(count);
        let all = count == tasks.len() as u32;
        let tasks = tasks[..count as usize].to_vec();
        sim.slots.push(Slot { seq, tasks, limit: count, started: 0, since: 0, delivered: 0 });
        // As the shell: told only what is not as asked for.
        (!all).then_some(Event::Took { worker, seq, tasks: count, blocked: false })
    }

    fn delivered(&mut self, worker: WorkerId, seq: u64, runs: &[Run]) {
        let tasks = runs.iter().flat_map(|run| {
            (run.first..run.first + u64::from(run.len)).map(|task| (task, run.attempt))
        });
        for (task, attempt) in tasks {
            self.check_attempt(task, attempt);
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
                sim.slots
                    .iter()
                    .any(|slot| slot.is_running()
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
            self.check_attempt(task, run.attempt);
            self.end(task, Ended::Finished(verdict));
        }
    }

    /// Invariant 5: nothing but crashes, or starts that fail for long with no
    /// worker at work, breaks the pool.
    fn check_broke(&self) {
        let config = &self.supervisor.config;
        let restarts = &config.restarts;
        assert!(
            config.intensity.is_some()
                || self.alone.is_some_and(|(since, count)| {
                    count >= restarts.setbacks && self.now - since >= restarts.patience
                }),
            "broken too early: {self:#?}"
        );
    }

    /// What is reported is how often a task was started.
    fn check_attempt(&self, task: TaskId, attempt: u32) {
        let starts = self.starts.get(&task).copied().unwrap_or(0);
        assert_eq!(attempt, starts, "the attempt of {task}: {self:#?}");
    }

    /// A worker is lost with no task to show for it.
    pub(super) fn lose(&mut self, id: WorkerId) {
        self.setback = Some(self.now);
        let at_work = |(other, sim): (&WorkerId, &Sim)| {
            *other != id && sim.ready && sim.told == Told::Nothing
        };
        self.alone = match self.alone {
            _ if self.sims.iter().any(at_work) => None,
            Some((since, count)) => Some((since, count + 1)),
            None => Some((self.now, 1)),
        };
    }

    pub(super) fn worked(&mut self) {
        self.alone = None;
    }

    fn end(&mut self, task: TaskId, ended: Ended) {
        assert!(task < self.next_task);
        let before = self.outcomes.insert(task, ended);
        assert!(before.is_none(), "{task} ended twice");
    }

    pub(super) fn exit(&mut self, id: WorkerId) {
        let started = words(&self.sims[&id]);
        match started.iter().any(|(_, started)| *started > 0) {
            true => self.worked(),
            false if self.sims[&id].told != Told::Retire => self.lose(id),
            false => {}
        }
        self.gone.extend(started.iter().map(|(seq, _)| (id, *seq)));
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
}

pub(super) fn words(sim: &Sim) -> Vec<(u64, u32)> {
    sim.slots.iter().map(|slot| (slot.seq, slot.started)).collect()
}
