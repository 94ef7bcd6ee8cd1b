//! Who runs what, who is to blame, and when the pool is over.
//!
//! # Algorithm
//!
//! A pure state machine: [`Supervisor::step`] takes the time and one
//! [`Event`], and pushes [`Action`]s. It does no I/O, has no clock and knows
//! no bytes: a task is a number, a batch of them is a [`Run`] of consecutive
//! numbers. The shell (`shell.rs`) turns what happens to descriptors into
//! events and carries actions out; some actions are questions that the shell
//! answers at once with another event (`Send` -> `Took`, `Revoke` ->
//! `Revoked`, `Condemn` -> `Condemned` or `Missed`, `Look` -> `Seen`). Actions
//! are carried out in the order they were pushed, those that follow from an
//! answer last.
//!
//! # States
//!
//! | of a worker | may get tasks | leaves by |
//! |---|---|---|
//! | `Starting` | no | `Ready`, `SpawnFailed`, `Exited` |
//! | `Ready` | yes | condemned, garbled, recycled, `Exited` |
//! | `Retiring` (told to go) | no | `Exited` |
//! | `Dying` (being killed) | no | `Exited` |
//!
//! | of the pool | takes tasks | starts workers |
//! |---|---|---|
//! | `Open` | yes | as many as there are tasks, at most one a seat |
//! | `Draining` | no | the same |
//! | `Terminated` | no | no |
//! | `Broken` | fails them at once | no |
//!
//! # Invariants
//!
//! 1. *One outcome a task*: every submitted task leaves by exactly one
//!    `Deliver` or `Finish`.
//! 2. *At most once*: a task that may have started is never sent again, unless
//!    the pool was given more than one attempt and the task crashed its worker.
//! 3. *One is blamed*: an exit finishes at most one task as crashed, the one
//!    that was running.
//! 4. *None is stranded*: while tasks are queued and the pool is neither
//!    broken nor terminated, some worker is alive or being started, or
//!    `wake_at` says when one will be.
//! 5. *Restarts are bounded*: after a start that failed the next one waits, and
//!    where none succeeds for long the pool is broken (`restart.rs`); so it is
//!    after too many crashes, if an intensity is set.
//! 6. *Stale news is no news*: worker and dispatch numbers are never used
//!    again, and an event that names one that is gone changes nothing.
//! 7. *Nothing waits that could go on*: between events no task is queued while
//!    a worker could take it; there are as many workers as tasks that have not
//!    ended, or one a seat, or the next start is not due; a worker with nothing
//!    left to do was told to go; what was cancelled has ended, runs, or is being
//!    killed.
//! 8. *The clock is looked at*: `wake_at` comes before every deadline, and
//!    before tasks have waited for too long behind another while a worker is
//!    idle; after a `Tick` it lies ahead.
//! 9. *A deadline ends in a kill*, whatever the worker says or does not say: it
//!    cannot take back that a task started, nor put off the end for longer than
//!    a deadline and a grace by our own clock.

mod dispatch;
#[cfg(test)]
mod explore;
mod restart;
mod types;

pub(crate) use types::{
    Action, Batch, Config, Event, Nanos, Restarts, Run, TaskId, Verdict, WorkerId,
};

use restart::Starts;
use std::collections::VecDeque;
use types::Dispatch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Starting,
    Ready,
    Retiring,
    Dying,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Open,
    Draining,
    Terminated,
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Why {
    TimedOut,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    id: WorkerId,
    phase: Phase,
    /// Oldest first.
    sent: VecDeque<Dispatch>,
    /// Its start succeeded.
    was_ready: bool,
    /// Tasks sent to it and not taken back.
    given: u64,
    blocked: bool,
    /// The running task that is being put down: batch, index, reason.
    condemned: Option<(u64, u32, Why)>,
    /// Ranges to give up once `Revoked` tells what had started.
    giving_up: Vec<(TaskId, u32, bool)>,
    /// When the oldest batch became the oldest.
    front_since: Nanos,
    /// When to look at what runs, for its deadline.
    look_at: Option<Nanos>,
    /// The most that a look showed: batch, tasks started, and when it first
    /// did.
    seen: Option<(u64, u32, Nanos)>,
    /// A revoke found nothing to take since the last batch was sent.
    barren: bool,
}

/// The state machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Supervisor {
    config: Config,
    state: State,
    workers: Vec<Worker>,
    queue: VecDeque<Run>,
    queued: u64,
    next_worker: u64,
    next_seq: u64,
    starts: Starts,
    crashes: VecDeque<Nanos>,
    /// Nanoseconds a task took lately, in 1/16.
    pace: Option<u64>,
    stopped: bool,
}

impl Supervisor {
    /// Of a pool without workers: they are started for tasks.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Open,
            workers: Vec::new(),
            queue: VecDeque::new(),
            queued: 0,
            next_worker: 0,
            next_seq: 0,
            starts: Starts::default(),
            crashes: VecDeque::new(),
            pace: None,
            stopped: false,
        }
    }

    /// How many crashes are allowed, and within how long.
    pub(crate) fn intensity(&self) -> Option<(u32, Nanos)> {
        self.config.intensity
    }

    /// Takes in one event.
    pub(crate) fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Submit { first, len } => self.submit(Run { first, len, attempt: 0 }, out),
            Event::Cancel { first, len, kill } => self.cancel((first, len, kill), out),
            Event::Ready(id) => self.ready(id),
            Event::SpawnFailed(id) => self.spawn_failed(now, id, out),
            Event::Took { worker, seq, tasks, blocked } => self.took(worker, seq, tasks, blocked),
            Event::Writable(id) => self.with(id, |worker| worker.blocked = false),
            Event::Done { worker, seq, elapsed } => self.done(now, worker, seq, elapsed, out),
            Event::Seen { worker, seq, started, since } => {
                self.seen(now, worker, seq, started, since, out);
            }
            Event::Revoked { worker, started } => self.revoked(worker, &started, out),
            Event::Condemned { worker } => self.kill(worker, out),
            Event::Missed { worker } => self.with(worker, |worker| worker.condemned = None),
            Event::Garbled(worker) => self.kill(worker, out),
            Event::Exited { worker, started } => self.exited(now, worker, &started, out),
            Event::Tick => self.tick(now, out),
            Event::Shutdown => {
                if self.state == State::Open {
                    self.state = State::Draining;
                }
            }
            Event::Terminate => self.terminate(out),
        }
        self.pump(now, out);
    }

    fn at(&self, id: WorkerId) -> Option<usize> {
        self.workers.iter().position(|worker| worker.id == id)
    }

    /// Invariant 6: nothing happens if the worker is gone.
    fn with(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        if let Some(at) = self.at(id) {
            change(&mut self.workers[at]);
        }
    }

    fn submit(&mut self, run: Run, out: &mut Vec<Action>) {
        let verdict = match self.state {
            State::Open => {
                self.queued += u64::from(run.len);
                return self.queue.push_back(Run { attempt: 1, ..run });
            }
            State::Broken => Verdict::Broken,
            State::Draining | State::Terminated => Verdict::Cancelled { started: false },
        };
        out.push(Action::Finish { run, verdict });
    }

    fn ready(&mut self, id: WorkerId) {
        let Some(at) = self.at(id) else { return };
        if self.workers[at].phase == Phase::Starting {
            self.workers[at].phase = Phase::Ready;
            self.workers[at].was_ready = true;
            self.starts.ready(id);
        }
    }

    fn spawn_failed(&mut self, now: Nanos, id: WorkerId, out: &mut Vec<Action>) {
        if let Some(at) = self.at(id) {
            self.workers.remove(at);
            self.setback(now, id, out);
        }
    }

    /// Invariant 5: a worker was lost with no task to show for it.
    fn setback(&mut self, now: Nanos, id: WorkerId, out: &mut Vec<Action>) {
        let company = self.workers.iter().any(|worker| worker.phase == Phase::Ready);
        let restarts = &self.config.restarts;
        if self.starts.setback(now, id, self.next_worker, company, restarts) {
            self.break_down(out);
        }
    }

    fn done(&mut self, now: Nanos, id: WorkerId, seq: u64, elapsed: Nanos, out: &mut Vec<Action>) {
        let Some(at) = self.at(id) else { return };
        let worker = &mut self.workers[at];
        if worker.sent.front().is_none_or(|dispatch| dispatch.seq != seq) {
            return;
        }
        let dispatch = worker.sent.pop_front().expect("there is a front");
        worker.front_since = now;
        worker.look_at =
            self.config.deadline.filter(|_| !worker.sent.is_empty()).map(|d| now.saturating_add(d));
        let tasks = dispatch.tasks();
        if tasks > 0 {
            self.starts.worked(id);
            self.learn(tasks, elapsed);
            out.push(Action::Deliver { worker: id, seq, runs: dispatch.runs });
        }
    }

    /// Looks whether the running task is past its deadline.
    ///
    /// Invariant 9: the word and the time beside it are the worker's. They are
    /// believed as far as they go forward, and no longer than a deadline and a
    /// grace after they last did, by our own clock.
    fn seen(
        &mut self,
        now: Nanos,
        id: WorkerId,
        seq: u64,
        started: u32,
        since: Nanos,
        out: &mut Vec<Action>,
    ) {
        let (Some(at), Some(deadline)) = (self.at(id), self.config.deadline) else { return };
        let worker = &mut self.workers[at];
        let Some(front) = worker.sent.front().filter(|front| front.seq == seq) else { return };
        if worker.phase != Phase::Ready || worker.condemned.is_some() {
            return;
        }
        let (most, first) = match worker.seen {
            Some((of, most, first)) if of == seq && started <= most => (most, first),
            _ => (started, now),
        };
        worker.seen = Some((seq, most, first));
        let runs = started == most && (1..=front.tasks()).contains(&started);
        let last = first.saturating_add(deadline).saturating_add(self.config.grace);
        if last <= now {
            // It should run something, and has shown no sign of it.
            if most <= front.tasks() {
                worker.condemned = Some((seq, most.max(1) - 1, Why::TimedOut));
            }
            return self.kill(id, out);
        }
        let from = if runs { since.max(worker.front_since).min(first) } else { now };
        let due = from.saturating_add(deadline);
        worker.look_at = Some(due.min(last));
        if runs && due <= now {
            worker.condemned = Some((seq, started - 1, Why::TimedOut));
            out.push(Action::Condemn { worker: id, seq, index: started - 1 });
        }
    }

    fn cancel(&mut self, range: (TaskId, u32, bool), out: &mut Vec<Action>) {
        self.drop_queued(range, out);
        for worker in &mut self.workers {
            let overlaps =
                |run: &Run| run.first < range.0 + u64::from(range.1) && range.0 < run.end();
            if worker.sent.iter().flat_map(|dispatch| &dispatch.runs).any(overlaps) {
                worker.giving_up.push(range);
                out.push(Action::Revoke(worker.id));
            }
        }
    }

    /// Takes what had not started back into the queue, in order, then gives up
    /// what was waiting for this answer.
    fn revoked(&mut self, id: WorkerId, started: &[(u64, u32)], out: &mut Vec<Action>) {
        let Some(at) = self.at(id) else { return };
        let worker = &mut self.workers[at];
        let mut back = Vec::new();
        for &(seq, started) in started {
            if let Some(dispatch) = worker.sent.iter_mut().find(|dispatch| dispatch.seq == seq) {
                back.extend(dispatch.split_off(started));
            }
        }
        worker.given -= back.iter().map(|run| u64::from(run.len)).sum::<u64>();
        worker.barren = back.is_empty();
        let ranges = std::mem::take(&mut worker.giving_up);
        self.requeue(back);
        for range in ranges {
            self.drop_queued(range, out);
            if range.2 {
                self.condemn_running(at, started, range, out);
            }
        }
    }

    fn condemn_running(
        &mut self,
        at: usize,
        started: &[(u64, u32)],
        (first, len, _): (TaskId, u32, bool),
        out: &mut Vec<Action>,
    ) {
        let worker = &mut self.workers[at];
        if worker.phase != Phase::Ready || worker.condemned.is_some() {
            return;
        }
        for dispatch in &worker.sent {
            let Some(&(seq, started)) = started.iter().find(|(seq, _)| *seq == dispatch.seq) else {
                continue;
            };
            let Some(index) = started.checked_sub(1) else { continue };
            let inside = |task| (first..first + u64::from(len)).contains(&task);
            if dispatch.task(index).is_some_and(inside) {
                worker.condemned = Some((seq, index, Why::Cancelled));
                return out.push(Action::Condemn { worker: worker.id, seq, index });
            }
        }
    }

    fn kill(&mut self, id: WorkerId, out: &mut Vec<Action>) {
        self.with(id, |worker| {
            if worker.phase != Phase::Dying {
                worker.phase = Phase::Dying;
                out.push(Action::Kill(id));
            }
        });
    }

    fn kill_all(&mut self, out: &mut Vec<Action>) {
        let all: Vec<WorkerId> = self.workers.iter().map(|worker| worker.id).collect();
        all.into_iter().for_each(|id| self.kill(id, out));
    }

    /// Invariants 1 to 3 for the tasks of a dead worker: what finished is
    /// delivered, what was running is blamed, the rest goes back in order.
    fn exited(&mut self, now: Nanos, id: WorkerId, started: &[(u64, u32)], out: &mut Vec<Action>) {
        let Some(at) = self.at(id) else { return };
        let worker = self.workers.remove(at);
        let mut back = Vec::new();
        let mut showed = false;
        for mut dispatch in worker.sent {
            let seq = dispatch.seq;
            let told = started.iter().find(|(s, _)| *s == seq).map_or(0, |(_, n)| *n);
            let started = match (worker.condemned, worker.seen) {
                (Some((of, index, _)), _) if of == seq => index + 1,
                // Invariant 9.
                (_, Some((of, most, _))) if of == seq => told.max(most),
                _ => told,
            };
            showed |= started > 0;
            let mut rest = dispatch.split_off(started.saturating_sub(1));
            if !dispatch.runs.is_empty() {
                out.push(Action::Deliver { worker: id, seq, runs: dispatch.runs });
            }
            if let Some(first) = rest.first_mut().filter(|_| started > 0) {
                let after = first.split_off(1);
                let running = std::mem::replace(first, after);
                let why = worker
                    .condemned
                    .filter(|(s, index, _)| *s == seq && *index + 1 == started)
                    .map(|(_, _, why)| why);
                self.blame(running, id, why, &mut back, out);
            }
            back.extend(rest.into_iter().filter(|run| run.len > 0));
        }
        self.requeue(back);
        for range in worker.giving_up {
            self.drop_queued(range, out);
        }
        if showed {
            self.starts.worked(id);
        }
        // What the pool itself wanted is not held against it.
        let ours = worker.phase == Phase::Retiring
            || worker.condemned.is_some()
            || matches!(self.state, State::Terminated | State::Broken)
            || self.is_drained();
        if !ours && worker.was_ready {
            self.crashed(now, out);
        }
        if !ours && !showed {
            self.setback(now, id, out);
        }
        if matches!(self.state, State::Terminated | State::Broken) {
            self.drop_all(out);
        }
    }

    fn blame(
        &mut self,
        running: Run,
        id: WorkerId,
        why: Option<Why>,
        back: &mut Vec<Run>,
        out: &mut Vec<Action>,
    ) {
        let verdict = match why {
            Some(Why::TimedOut) => Verdict::TimedOut,
            Some(Why::Cancelled) => Verdict::Cancelled { started: true },
            None if self.state == State::Terminated => Verdict::Cancelled { started: true },
            None if running.attempt < self.config.attempts => {
                return back.push(Run { attempt: running.attempt + 1, ..running });
            }
            None => Verdict::Crashed(id),
        };
        out.push(Action::Finish { run: running, verdict });
    }

    /// Invariant 5.
    fn crashed(&mut self, now: Nanos, out: &mut Vec<Action>) {
        let Some((most, within)) = self.config.intensity else { return };
        self.crashes.push_back(now);
        while self.crashes.front().is_some_and(|then| now.saturating_sub(*then) > within) {
            self.crashes.pop_front();
        }
        if self.crashes.len() > most as usize {
            self.break_down(out);
        }
    }

    fn break_down(&mut self, out: &mut Vec<Action>) {
        if matches!(self.state, State::Terminated | State::Broken) {
            return;
        }
        self.state = State::Broken;
        out.push(Action::Broke);
        self.drop_all(out);
        self.kill_all(out);
    }

    fn terminate(&mut self, out: &mut Vec<Action>) {
        if self.state != State::Broken {
            self.state = State::Terminated;
            self.drop_all(out);
        }
        self.kill_all(out);
    }
}
