//! What is done under the lock.

use super::Watched;
use super::parcel::Held;
use crate::outcome::{Cancelled, Crash, Outcome, TimedOut};
use crate::process::clock;
use crate::process::error::Fault;
use crate::process::group::{Delivery, Ended, Group};
use crate::process::proc::Proc;
use crate::process::settings::Settings;
use crate::process::supervisor::{
    Action, Event, Nanos, Run, Supervisor, TaskId, Verdict, WorkerId,
};
use crate::process::wire::{FromWorker, Garbled};
use crate::process::worker;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Packets that are read in a row from one worker. More than a socket holds, so
/// that nothing is left of one that is dead.
const PACKETS: usize = 4096;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) supervisor: Supervisor,
    pub(super) actions: Vec<Action>,
    /// Workers to start, for the thread.
    pub(super) to_spawn: Vec<WorkerId>,
    pub(super) procs: BTreeMap<WorkerId, Proc>,
    pub(super) parcels: BTreeMap<TaskId, Held>,
    pub(super) next_task: TaskId,
    pub(super) settings: Settings,
    /// How workers ended whose tasks are being told.
    pub(super) crashes: BTreeMap<WorkerId, Crash>,
    /// Why the last start failed.
    pub(super) start_error: Option<Arc<str>>,
    /// How the last worker that died did.
    pub(super) last_crash: Option<Crash>,
    pub(super) broken: Option<Arc<str>>,
    pub(super) after: After,
    /// Tasks that were given up by `terminate`.
    pub(super) undone: Vec<TaskId>,
    pub(super) terminated: bool,
    pub(super) stopped: bool,
    /// Until when the thread sleeps; `None`: until something happens.
    pub(super) sleeps_until: Option<Nanos>,
    pub(super) poke: bool,
}

/// What is left to do once the lock is released: it runs code of others.
#[derive(Debug, Default)]
#[must_use = "somebody waits to be woken"]
pub(super) struct After {
    notify: Vec<Arc<Group>>,
    /// Parcels whose last task has ended.
    ended: Vec<Held>,
}

impl After {
    pub(super) fn carry_out(self) {
        drop(self.ended);
        self.notify.iter().for_each(|group| group.notify());
    }
}

impl Core {
    pub(super) fn feed(&mut self, event: Event) {
        self.supervisor.step(clock::now(), event, &mut self.actions);
    }

    pub(super) fn watched(&self) -> Vec<Watched> {
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
    pub(super) fn perform(&mut self) {
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
                self.broken = Some(self.why_broken().into());
            }
            Action::Stopped => (self.stopped, self.poke) = (true, true),
        }
        None
    }

    /// Starts workers until none is missing, or too many could not be started.
    pub(super) fn spawn(&mut self) {
        self.perform();
        while !self.to_spawn.is_empty() {
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
            self.perform();
        }
    }

    /// Reads what a worker sent: so much at a time that one which sends without
    /// end keeps nobody from being looked at.
    pub(super) fn read(&mut self, id: WorkerId, buffer: &mut [u8]) {
        for _ in 0..PACKETS {
            let Some(proc) = self.procs.get_mut(&id) else { return };
            if proc.blocked {
                proc.blocked = false;
                self.feed(Event::Writable(id));
                continue;
            }
            match proc.receive(buffer, &self.settings) {
                Ok(None) => return,
                Ok(Some(FromWorker::Ready { .. })) => {
                    // What went wrong before is over.
                    self.start_error = None;
                    self.feed(Event::Ready(id));
                }
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

    /// With the numbers that the pool was given: one may be the reason.
    fn why_broken(&self) -> String {
        let mut why = match (&self.start_error, &self.last_crash) {
            (Some(error), _) => String::from(&**error),
            (None, Some(crash)) => format!("workers died too often, the last one: {crash}"),
            (None, None) => "workers died too often".into(),
        };
        if let Some((most, period)) = self.supervisor.intensity() {
            let period = Duration::from_nanos(period);
            why += &format!("; restart_intensity: at most {most} crashes in {period:?}");
        }
        if let Some(bytes) = self.settings.memory {
            why += &format!("; memory_limit: {bytes} bytes");
        }
        why
    }

    /// A worker is dead: reads what it left, reaps it, tells.
    pub(super) fn bury(&mut self, id: WorkerId, buffer: &mut [u8]) {
        self.read(id, buffer);
        self.perform();
        let Some(proc) = self.procs.get_mut(&id) else { return };
        let crash = proc.reap();
        let started = proc.progress();
        if proc.is_starting() && self.start_error.is_none() {
            let why = match crash {
                Crash::Exit(worker::LOST) => {
                    "a worker found itself to be another executable than this program".into()
                }
                _ => format!("while it started: {crash}").into(),
            };
            self.start_error = Some(why);
        }
        self.last_crash = Some(crash.clone());
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
                    None => Err(Garbled("results of a worker that is gone")),
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
        let outcome: Outcome<Infallible, Fault> = match verdict {
            Verdict::Crashed(worker) => {
                let crash = self.crashes.get(&worker).cloned();
                Outcome::Crashed(crash.unwrap_or(Crash::Exit(0)))
            }
            Verdict::TimedOut => {
                let after = self.settings.deadline.unwrap_or_default();
                Outcome::TimedOut(TimedOut::new("the task's deadline", after))
            }
            Verdict::Cancelled { .. } => {
                if self.terminated {
                    self.undone.extend(run.first..run.first + u64::from(run.len));
                }
                Outcome::Cancelled(Cancelled::default())
            }
            Verdict::Broken => {
                let why = self.broken.clone().unwrap_or_else(|| "it gave up".into());
                Outcome::Err(Fault::Broken(why))
            }
        };
        self.tell(&run, Ended::Lost(outcome));
    }

    /// Tells the call that these tasks belong to.
    fn tell(&mut self, run: &Run, ended: Ended) {
        let Some((&first, held)) = self.parcels.range_mut(..=run.first).next_back() else { return };
        let index = held.parcel.index + (run.first - first);
        let delivery = Delivery { index, count: run.len, attempt: run.attempt, ended };
        held.parcel.group.push(delivery);
        held.left -= run.len;
        let notify = &mut self.after.notify;
        if notify.last().is_none_or(|last| !Arc::ptr_eq(last, &held.parcel.group)) {
            notify.push(Arc::clone(&held.parcel.group));
        }
        if held.left == 0 {
            self.after.ended.extend(self.parcels.remove(&first));
        }
    }
}
