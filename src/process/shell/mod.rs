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

mod core;
mod parcel;

pub(super) use parcel::{Held, Load, Parcel};

use self::core::{After, Core};
use super::error::Fault;
use super::proc::Proc;
use super::settings::Settings;
use super::sheet::Stock;
use super::supervisor::{Event, Nanos, Supervisor, TaskId, WorkerId};
use super::{clock, socket};
use crate::semaphore::Semaphore;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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
    /// For large arguments.
    pub(super) stock: Arc<Stock>,
    /// For submitted tasks that have not ended.
    pub(super) places: Arc<Semaphore>,
    pub(super) workers: usize,
    /// The process that the pool belongs to.
    owner: u32,
}

impl Shared {
    pub(super) fn new(
        supervisor: Supervisor,
        settings: Settings,
        workers: usize,
        places: usize,
    ) -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self {
            core: Mutex::new(Core {
                supervisor,
                actions: Vec::new(),
                to_spawn: Vec::new(),
                procs: BTreeMap::new(),
                parcels: BTreeMap::new(),
                next_task: 0,
                settings,
                crashes: BTreeMap::new(),
                start_error: None,
                last_crash: None,
                broken: None,
                after: After::default(),
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
            stock: Arc::default(),
            places: Arc::new(Semaphore::new(places)),
            workers,
            owner: std::process::id(),
        })
    }

    /// Nothing of a pool is of use in a process that was forked from its
    /// owner: the thread is not there, its locks may be held for ever, and
    /// the workers and the memory are the owner's.
    ///
    /// # Errors
    ///
    /// There.
    pub(super) fn in_its_process(&self) -> Result<(), Fault> {
        if std::process::id() == self.owner {
            return Ok(());
        }
        let why = format!(
            "it belongs to process {}, from which this one was forked; build one here",
            self.owner
        );
        Err(Fault::Broken(why.into()))
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the lock, carries out what follows from it, and
    /// then wakes whoever waits for that.
    fn with<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        debug_assert!(self.in_its_process().is_ok());
        let mut core = self.lock();
        let result = change(&mut core);
        core.perform();
        let after = self.publish(&mut core);
        drop(core);
        after.carry_out();
        result
    }

    /// Tells the thread what it may have to wait for.
    fn publish(&self, core: &mut Core) -> After {
        let earlier = match (core.supervisor.wake_at(), core.sleeps_until) {
            (Some(at), Some(until)) => at < until,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier || core.poke || !core.to_spawn.is_empty() {
            core.sleeps_until = Some(0);
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
        self.publish_quietly(core)
    }

    /// As `publish`, by the thread itself, which is awake.
    fn publish_quietly(&self, core: &mut Core) -> After {
        self.hungry.store(core.supervisor.hungry(), Ordering::Relaxed);
        self.worthwhile.store(core.supervisor.batch_hint() / 16, Ordering::Relaxed);
        core.poke = false;
        std::mem::take(&mut core.after)
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
        if self.in_its_process().is_err() {
            return;
        }
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
        self.in_its_process().is_err() || self.lock().supervisor.is_broken()
    }

    /// The process ids of the workers that are alive.
    pub(super) fn pids(&self) -> Vec<u32> {
        if self.in_its_process().is_err() {
            return Vec::new();
        }
        self.lock().procs.values().map(Proc::pid).collect()
    }

    /// The thread: runs until no worker is left and none will come.
    pub(super) fn run(&self) {
        let mut buffer = socket::buffer();
        loop {
            let mut core = self.lock();
            core.spawn();
            core.sleeps_until = core.supervisor.wake_at();
            let until = core.sleeps_until;
            let after = self.publish_quietly(&mut core);
            let watched = core.watched();
            let stopped = core.stopped;
            drop(core);
            after.carry_out();
            if stopped {
                self.stopped.notify_all();
                return;
            }

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
            let after = self.publish_quietly(&mut core);
            drop(core);
            after.carry_out();
        }
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
    /// Wait for room too.
    blocked: bool,
    closed: bool,
}
