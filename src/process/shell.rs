//! The operating system's side of the supervisor: carries out its actions and
//! brings it the events.
//!
//! One lock holds the supervisor and everything it acts on. Callers submit and
//! cancel under it; a thread of the pool's own waits for sockets, deaths and
//! deadlines, and is the only one that starts workers (the parent-death signal
//! is tied to the thread that does) and reaps them.
//!
//! The death of a worker is learnt from its pidfd and not from the end of its
//! socket: a grandchild may have the socket for as long as it likes. Its
//! process group is killed before the worker is reaped, while the number of
//! the group cannot have been given to another.

use super::error::Fault;
use super::group::{Delivery, Ended, Group};
use super::proc::{Proc, Settings};
use super::supervisor::{Action, Event, Nanos, Run, Supervisor, TaskId, Verdict, WorkerId};
use super::wire::{FromWorker, Kind};
use super::{clock, socket};
use crate::outcome::{Cancelled, Crash, Outcome, TimedOut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Arguments of consecutive tasks of one call.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) index: u64,
    pub(super) len: u32,
    pub(super) entry: u64,
    pub(super) load: Load,
    pub(super) group: Arc<Group>,
}

/// The arguments themselves.
#[derive(Debug)]
pub(super) enum Load {
    /// Records.
    Records(Vec<u8>),
    /// One argument, in a file.
    File(OwnedFd),
}

/// A parcel, and how much of it is still to end.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) parcel: Parcel,
    left: u32,
    /// A task of it and the offset of its record, to look from.
    pub(super) cursor: (u32, usize),
}

/// A pool, as its handles see it.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    /// The last worker is gone, and the thread with it, or nearly.
    stopped: Condvar,
    wake: OwnedFd,
    /// Workers could take more than is queued.
    pub(super) hungry: AtomicBool,
    /// Tasks that make a batch worth sending.
    pub(super) worthwhile: AtomicU64,
    pub(super) workers: usize,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) supervisor: Supervisor,
    actions: Vec<Action>,
    /// Workers to start, for the thread.
    to_spawn: Vec<WorkerId>,
    procs: BTreeMap<WorkerId, Proc>,
    parcels: BTreeMap<TaskId, Held>,
    next_task: TaskId,
    settings: Settings,
    /// How workers ended whose tasks are being told.
    crashes: BTreeMap<WorkerId, Crash>,
    /// Why the last start failed.
    start_error: Option<Arc<str>>,
    broken: Option<Arc<str>>,
    notify: Vec<Arc<Group>>,
    /// Tasks that were given up by `terminate`.
    undone: Vec<TaskId>,
    terminated: bool,
    stopped: bool,
    /// Until when the thread sleeps; `None`: until something happens.
    sleeps_until: Option<Nanos>,
    poke: bool,
}

impl Shared {
    pub(super) fn new(
        supervisor: Supervisor,
        actions: Vec<Action>,
        settings: Settings,
        workers: usize,
    ) -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self {
            core: Mutex::new(Core {
                supervisor,
                actions,
                to_spawn: Vec::new(),
                procs: BTreeMap::new(),
                parcels: BTreeMap::new(),
                next_task: 0,
                settings,
                crashes: BTreeMap::new(),
                start_error: None,
                broken: None,
                notify: Vec::new(),
                undone: Vec::new(),
                terminated: false,
                stopped: false,
                sleeps_until: Some(0),
                poke: false,
            }),
            stopped: Condvar::new(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            hungry: AtomicBool::new(true),
            worthwhile: AtomicU64::new(1),
            workers,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the lock, carries out what follows from it, and
    /// then wakes whoever waits for that.
    fn with<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let result = change(&mut core);
        core.perform();
        let notify = self.publish(&mut core);
        drop(core);
        notify.iter().for_each(|group| group.notify());
        result
    }

    fn publish(&self, core: &mut Core) -> Vec<Arc<Group>> {
        self.hungry.store(core.supervisor.hungry(), Ordering::Relaxed);
        self.worthwhile.store(core.supervisor.batch_hint() / 16, Ordering::Relaxed);
        let earlier = match (core.supervisor.wake_at(), core.sleeps_until) {
            (Some(at), Some(until)) => at < until,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier || core.poke || !core.to_spawn.is_empty() {
            core.poke = false;
            core.sleeps_until = Some(0);
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
        std::mem::take(&mut core.notify)
    }

    /// Hands over a parcel; returns the number of its first task.
    pub(super) fn submit(&self, parcel: Parcel) -> TaskId {
        self.with(|core| {
            let first = core.next_task;
            let len = parcel.len;
            core.next_task += u64::from(len);
            core.parcels.insert(first, Held { left: len, parcel, cursor: (0, 0) });
            core.feed(Event::Submit { first, len });
            first
        })
    }

    /// Gives up tasks. `kill`: one that is running is killed.
    pub(super) fn cancel(&self, first: TaskId, len: u32, kill: bool) {
        self.with(|core| {
            if core.parcels.contains_key(&first) {
                core.feed(Event::Cancel { first, len, kill });
            }
        });
    }

    /// Ends the pool, at once or when nothing is left to do.
    pub(super) fn end(&self, event: Event) {
        self.with(|core| {
            core.terminated |= event == Event::Terminate;
            core.feed(event);
            core.poke = true;
        });
    }

    /// Waits for the last worker to be gone.
    pub(super) fn wait_until_stopped(&self) -> Vec<TaskId> {
        let mut core = self.lock();
        while !core.stopped {
            core = self.stopped.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut core.undone)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.lock().supervisor.is_broken()
    }

    /// The process ids of the workers that are alive.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.lock().procs.values().map(Proc::pid).collect()
    }

    /// The thread: runs until no worker is left and none will come.
    pub(super) fn run(&self) {
        let mut buffer = socket::buffer();
        loop {
            let mut core = self.lock();
            core.spawn();
            core.perform();
            if core.stopped {
                drop(core);
                self.stopped.notify_all();
                return;
            }
            core.sleeps_until = core.supervisor.wake_at();
            let until = core.sleeps_until;
            let mut notify = self.publish_quietly(&mut core);
            let watched = core.watched();
            drop(core);
            notify.drain(..).for_each(|group| group.notify());

            let ready = self.sleep(&watched, until);

            let mut core = self.lock();
            core.sleeps_until = Some(0);
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.wake, &mut count);
            for (id, socket, dead) in ready {
                if socket {
                    core.read(id, &mut buffer);
                }
                if dead {
                    core.bury(id, &mut buffer);
                }
                core.perform();
            }
            if core.supervisor.wake_at().is_some_and(|at| at <= clock::now()) {
                core.feed(Event::Tick);
                core.perform();
            }
            let notify = self.publish_quietly(&mut core);
            drop(core);
            notify.iter().for_each(|group| group.notify());
        }
    }

    /// As `publish`, by the thread itself, which is awake.
    fn publish_quietly(&self, core: &mut Core) -> Vec<Arc<Group>> {
        self.hungry.store(core.supervisor.hungry(), Ordering::Relaxed);
        self.worthwhile.store(core.supervisor.batch_hint() / 16, Ordering::Relaxed);
        core.poke = false;
        std::mem::take(&mut core.notify)
    }

    /// Waits; says of whom there is news: packets, or death.
    fn sleep(&self, watched: &[Watched], until: Option<Nanos>) -> Vec<(WorkerId, bool, bool)> {
        let timeout = until.map(|until| {
            let left = until.saturating_sub(clock::now());
            Timespec {
                tv_sec: (left / 1_000_000_000) as i64,
                tv_nsec: (left % 1_000_000_000) as i64,
            }
        });
        let mut ends = vec![PollFd::new(&self.wake, PollFlags::IN)];
        for watched in watched {
            let out = if watched.blocked { PollFlags::OUT } else { PollFlags::empty() };
            // A closed socket would end every poll until the worker is reaped.
            let events = if watched.closed { PollFlags::empty() } else { PollFlags::IN | out };
            let socket = if watched.closed { &watched.pidfd } else { &watched.socket };
            ends.push(PollFd::new(socket, events));
            ends.push(PollFd::new(&watched.pidfd, PollFlags::IN));
        }
        if poll(&mut ends, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let news = |end: &PollFd<'_>| !end.revents().is_empty();
        watched
            .iter()
            .zip(ends[1..].chunks_exact(2))
            .filter(|(_, pair)| pair.iter().any(news))
            .map(|(watched, pair)| (watched.id, news(&pair[0]), news(&pair[1])))
            .collect()
    }
}

/// What the thread polls of a worker: shared, so that it can without the lock.
#[derive(Debug)]
struct Watched {
    id: WorkerId,
    socket: Arc<OwnedFd>,
    pidfd: Arc<OwnedFd>,
    blocked: bool,
    closed: bool,
}

impl Core {
    fn feed(&mut self, event: Event) {
        self.supervisor.step(clock::now(), event, &mut self.actions);
    }

    fn watched(&self) -> Vec<Watched> {
        self.procs
            .iter()
            .map(|(id, proc)| Watched {
                id: *id,
                socket: Arc::clone(&proc.socket),
                pidfd: Arc::clone(&proc.pidfd),
                blocked: proc.blocked,
                closed: proc.closed,
            })
            .collect()
    }

    /// Carries out actions in their order, answers included.
    fn perform(&mut self) {
        let mut at = 0;
        while at < self.actions.len() {
            let action = std::mem::replace(&mut self.actions[at], Action::Stopped);
            at += 1;
            if let Some(answer) = self.act(action) {
                self.feed(answer);
            }
        }
        self.actions.clear();
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn(id) => self.to_spawn.push(id),
            Action::Send { worker, seq, runs } => {
                let proc = self.procs.get_mut(&worker)?;
                let (tasks, blocked) = proc.send(seq, &runs, &mut self.parcels);
                self.poke |= blocked;
                let asked: u32 = runs.iter().map(|run| run.len).sum();
                return (blocked || tasks < asked).then_some(Event::Took {
                    worker,
                    seq,
                    tasks,
                    blocked,
                });
            }
            Action::Look(worker) => return self.procs.get(&worker)?.look(),
            Action::Revoke(worker) => {
                let started = self.procs.get(&worker)?.revoke();
                return Some(Event::Revoked { worker, started });
            }
            Action::Condemn { worker, seq, index } => {
                let hit = self.procs.get(&worker)?.condemn(seq, index);
                return Some(if hit {
                    Event::Condemned { worker }
                } else {
                    Event::Missed { worker }
                });
            }
            Action::Kill(worker) => match self.to_spawn.iter().position(|id| *id == worker) {
                Some(at) => {
                    // Not even started: dead at once.
                    self.to_spawn.remove(at);
                    return Some(Event::Exited { worker, started: Vec::new() });
                }
                None => self.procs.get_mut(&worker)?.kill(),
            },
            Action::Retire(worker) => {
                if !self.procs.get(&worker)?.retire() {
                    self.procs.get_mut(&worker)?.kill();
                }
            }
            Action::Deliver { worker, seq, runs } => self.deliver(worker, seq, &runs),
            Action::Finish { run, verdict } => self.finish(run, verdict),
            Action::Broke => {
                let why = self.start_error.clone();
                self.broken = Some(why.unwrap_or_else(|| "workers died too often".into()));
            }
            Action::Stopped => (self.stopped, self.poke) = (true, true),
        }
        None
    }

    fn spawn(&mut self) {
        for id in std::mem::take(&mut self.to_spawn) {
            match Proc::start(id, &self.settings) {
                Ok(proc) => {
                    self.procs.insert(id, proc);
                }
                Err(error) => {
                    self.start_error =
                        Some(format!("a worker could not be started: {error}").into());
                    self.feed(Event::SpawnFailed(id));
                }
            }
        }
    }

    /// Reads what a worker sent.
    fn read(&mut self, id: WorkerId, buffer: &mut [u8]) {
        loop {
            let Some(proc) = self.procs.get_mut(&id) else { return };
            if proc.blocked {
                proc.blocked = false;
                self.feed(Event::Writable(id));
                continue;
            }
            match proc.receive(buffer, &self.settings) {
                Ok(None) => return,
                Ok(Some(FromWorker::Ready { .. })) => self.feed(Event::Ready(id)),
                Ok(Some(FromWorker::Done { seq, elapsed })) => {
                    self.feed(Event::Done { worker: id, seq, elapsed });
                    // What is delivered is read before the slot is used again.
                    self.perform();
                }
                Ok(Some(FromWorker::StartFailed { why })) => {
                    self.start_error = Some(format!("the initializer failed: {why}").into());
                }
                Ok(Some(FromWorker::Elsewhere { .. })) => {}
                Err(garbled) => {
                    if proc.is_starting() {
                        self.start_error = Some(garbled.0.into());
                    }
                    self.feed(Event::Garbled(id));
                }
            }
        }
    }

    /// A worker is dead: reads what it left, reaps it, tells.
    fn bury(&mut self, id: WorkerId, buffer: &mut [u8]) {
        self.read(id, buffer);
        self.perform();
        let Some(proc) = self.procs.get_mut(&id) else { return };
        let crash = proc.reap();
        let started = proc.progress();
        if proc.is_starting() && self.start_error.is_none() {
            self.start_error = Some(format!("while it started: {crash}").into());
        }
        self.crashes.insert(id, crash);
        self.feed(Event::Exited { worker: id, started });
        self.perform();
        self.procs.remove(&id);
        self.crashes.remove(&id);
    }

    /// Passes on the results of finished tasks.
    fn deliver(&mut self, worker: WorkerId, seq: u64, runs: &[Run]) {
        for run in runs {
            let mut done = 0;
            while done < run.len {
                let taken = match self.procs.get_mut(&worker) {
                    Some(proc) => proc.take_results(seq, run.len - done),
                    None => Err(super::wire::Garbled("results of a worker that is gone")),
                };
                let (count, ended) = match taken {
                    Ok(taken) => taken,
                    Err(garbled) => {
                        if let Some(proc) = self.procs.get_mut(&worker) {
                            proc.kill();
                        }
                        let crash = Crash::Garbled(garbled.0.into());
                        (run.len - done, Ended::Lost(Outcome::Crashed(crash)))
                    }
                };
                let part =
                    Run { first: run.first + u64::from(done), len: count, attempt: run.attempt };
                self.tell(&part, ended);
                done += count;
            }
        }
    }

    fn finish(&mut self, run: Run, verdict: Verdict) {
        let (started, outcome): (bool, Outcome<Infallible, Fault>) = match verdict {
            Verdict::Crashed(worker) => {
                let crash = self.crashes.get(&worker).cloned();
                (true, Outcome::Crashed(crash.unwrap_or(Crash::Exit(0))))
            }
            Verdict::TimedOut => {
                let after = self.settings.deadline.unwrap_or_default();
                (true, Outcome::TimedOut(TimedOut::new("the task's deadline", after)))
            }
            Verdict::Cancelled { started } => {
                if self.terminated {
                    self.undone.extend(run.first..run.first + u64::from(run.len));
                }
                (started, Outcome::Cancelled(Cancelled::default()))
            }
            Verdict::Broken => {
                let why = self.broken.clone().unwrap_or_else(|| "it gave up".into());
                (false, Outcome::Err(Fault::Broken(why)))
            }
        };
        let attempt = if started { run.attempt } else { 0 };
        self.tell(&Run { attempt, ..run }, Ended::Lost(outcome));
    }

    /// Tells the call that these tasks belong to.
    fn tell(&mut self, run: &Run, ended: Ended) {
        let Some((&first, held)) = self.parcels.range_mut(..=run.first).next_back() else { return };
        let index = held.parcel.index + (run.first - first);
        let delivery = Delivery { index, count: run.len, attempt: run.attempt, ended };
        held.parcel.group.push(delivery);
        held.left -= run.len;
        let same = self.notify.last().is_some_and(|last| Arc::ptr_eq(last, &held.parcel.group));
        if !same {
            self.notify.push(Arc::clone(&held.parcel.group));
        }
        if held.left == 0 {
            self.parcels.remove(&first);
        }
    }
}

impl Held {
    /// Where the record of the task `at` begins.
    pub(super) fn seek(&mut self, at: u32) -> usize {
        let Load::Records(bytes) = &self.parcel.load else { return 0 };
        if self.cursor.0 > at {
            self.cursor = (0, 0);
        }
        while self.cursor.0 < at {
            let Ok((kind, _, next)) = super::wire::record(bytes, self.cursor.1) else { break };
            debug_assert_eq!(kind, Kind::Value);
            self.cursor = (self.cursor.0 + 1, next);
        }
        self.cursor.1
    }
}
