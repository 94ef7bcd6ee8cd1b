//! The queue, the size of batches, and who gets the next one.

use super::{
    Action, Batch, Dispatch, Nanos, Phase, Run, State, Supervisor, TaskId, Verdict, Worker,
    WorkerId,
};

/// Fractions of a nanosecond that the pace is kept in.
const PACE_UNIT: u64 = 16;

/// Most tasks in one batch: a count fits the progress word many times over.
const MOST: u64 = 1 << 20;

impl Supervisor {
    /// How many workers the tasks that have not ended could use. Workers that
    /// are going do not count as such, but have their seats.
    fn missing(&self) -> usize {
        let seats = self.config.workers;
        if self.workers.len() >= seats || matches!(self.state, State::Terminated | State::Broken) {
            return 0;
        }
        let held = self.workers.iter().flat_map(|worker| &worker.sent).map(Dispatch::tasks);
        let open = self.queued + held.map(u64::from).sum::<u64>();
        let stays = |worker: &&Worker| matches!(worker.phase, Phase::Starting | Phase::Ready);
        let staying = self.workers.iter().filter(stays).count();
        let wanted = seats.min(open.try_into().unwrap_or(usize::MAX));
        wanted.saturating_sub(staying).min(seats - self.workers.len())
    }

    fn starting(&self) -> usize {
        self.workers.iter().filter(|worker| worker.phase == Phase::Starting).count()
    }

    /// Starts workers that are missing, as far as that is allowed now.
    fn staff(&mut self, now: Nanos, out: &mut Vec<Action>) {
        let missing = self.missing();
        if missing == 0 {
            return;
        }
        let allowed = self.starts.allowed(now, self.starting(), &self.config.restarts);
        for _ in 0..missing.min(allowed) {
            let id = WorkerId(self.next_worker);
            self.next_worker += 1;
            self.workers.push(Worker {
                id,
                phase: Phase::Starting,
                sent: std::collections::VecDeque::new(),
                was_ready: false,
                given: 0,
                blocked: false,
                condemned: None,
                giving_up: Vec::new(),
                front_since: 0,
                look_at: None,
                seen: None,
                barren: false,
            });
            out.push(Action::Spawn(id));
        }
    }

    /// Hands out what can be handed out; replaces, retires, stops.
    pub(super) fn pump(&mut self, now: Nanos, out: &mut Vec<Action>) {
        self.staff(now, out);
        if matches!(self.state, State::Open | State::Draining) {
            while self.queued > 0 && self.send_one(now, out) {}
            self.recycle(out);
            self.staff(now, out);
        }
        self.finish_up(out);
    }

    fn send_one(&mut self, now: Nanos, out: &mut Vec<Action>) -> bool {
        let depth = self.config.depth;
        let most = self.config.max_tasks;
        let quota = |worker: &Worker| most.map_or(MOST, |most| most.saturating_sub(worker.given));
        let Some(at) = (0..self.workers.len())
            .filter(|at| {
                let worker = &self.workers[*at];
                worker.takes_tasks() && worker.sent.len() < depth && quota(worker) > 0
            })
            .min_by_key(|at| self.workers[*at].sent.len())
        else {
            return false;
        };
        let count = self.batch().min(quota(&self.workers[at]));
        let runs = self.take(count);
        let seq = self.next_seq;
        self.next_seq += 1;
        let worker = &mut self.workers[at];
        worker.given += count;
        worker.barren = false;
        if worker.sent.is_empty() {
            worker.front_since = now;
            worker.look_at = self.config.deadline.map(|deadline| now.saturating_add(deadline));
        }
        worker.sent.push_back(Dispatch { seq, runs: runs.clone() });
        out.push(Action::Send { worker: worker.id, seq, runs });
        true
    }

    /// How many tasks the next batch should have: a share of the queue, so
    /// that the last ones are spread, and not more than keep a worker busy
    /// for a while.
    fn batch(&self) -> u64 {
        let seats = self.workers.len().saturating_mul(self.config.depth).max(1);
        let share = self.queued.div_ceil(seats as u64);
        share.min(self.most()).clamp(1, MOST)
    }

    fn most(&self) -> u64 {
        match self.config.batch {
            Batch::Fixed(most) => u64::from(most),
            Batch::Lasting(long) => {
                self.pace.map_or(1, |pace| (long * PACE_UNIT / pace.max(1)).max(1))
            }
        }
    }

    /// A batch of so many tasks took so long. The pace follows at once when
    /// tasks get slower and by halves when they get faster.
    pub(super) fn learn(&mut self, tasks: u32, elapsed: Nanos) {
        let latest = (elapsed.saturating_mul(PACE_UNIT) / u64::from(tasks)).max(1);
        self.pace = Some(match self.pace {
            Some(pace) if latest < pace => (pace.midpoint(latest) / 2).max(latest),
            _ => latest,
        });
    }

    /// Removes tasks from the front of the queue.
    fn take(&mut self, count: u64) -> Vec<Run> {
        let mut left = count.min(self.queued);
        self.queued -= left;
        let mut runs = Vec::new();
        while left > 0 {
            let mut run = self.queue.pop_front().expect("as many as counted");
            if u64::from(run.len) > left {
                self.queue.push_front(run.split_off(left as u32));
            }
            left -= u64::from(run.len);
            runs.push(run);
        }
        runs
    }

    /// Puts runs back before all others, in their order.
    pub(super) fn requeue(&mut self, back: Vec<Run>) {
        for run in back.into_iter().rev() {
            self.queued += u64::from(run.len);
            self.queue.push_front(run);
        }
    }

    /// The shell could not send all of a batch.
    pub(super) fn took(&mut self, id: WorkerId, seq: u64, tasks: u32, blocked: bool) {
        let Some(at) = self.at(id) else { return };
        let worker = &mut self.workers[at];
        let Some(index) = worker.sent.iter().position(|dispatch| dispatch.seq == seq) else {
            return;
        };
        worker.blocked |= blocked;
        let back = worker.sent[index].split_off(tasks);
        worker.given -= back.iter().map(|run| u64::from(run.len)).sum::<u64>();
        if tasks == 0 {
            worker.sent.remove(index);
            if worker.sent.is_empty() {
                worker.look_at = None;
            }
        }
        self.requeue(back);
    }

    /// Finishes what is queued of a range that was given up.
    pub(super) fn drop_queued(
        &mut self,
        (first, len, _): (TaskId, u32, bool),
        out: &mut Vec<Action>,
    ) {
        let end = first + u64::from(len);
        for mut run in std::mem::take(&mut self.queue) {
            if run.end() <= first || end <= run.first {
                self.queue.push_back(run);
                continue;
            }
            let mut dropped = run.split_off(first.saturating_sub(run.first) as u32);
            let after = dropped.split_off((end.min(dropped.end()) - dropped.first) as u32);
            self.queued -= u64::from(dropped.len);
            self.queue.extend([run, after].into_iter().filter(|run| run.len > 0));
            out.push(unstarted(dropped, |started| Verdict::Cancelled { started }));
        }
    }

    /// Finishes all that is queued, when the pool will not run it.
    pub(super) fn drop_all(&mut self, out: &mut Vec<Action>) {
        self.queued = 0;
        let broken = self.state == State::Broken;
        out.extend(self.queue.drain(..).map(|run| {
            unstarted(run, |started| match broken {
                true => Verdict::Broken,
                false => Verdict::Cancelled { started },
            })
        }));
    }

    /// Workers that ran their number of tasks make room for fresh ones.
    fn recycle(&mut self, out: &mut Vec<Action>) {
        let Some(most) = self.config.max_tasks else { return };
        for worker in &mut self.workers {
            if worker.phase == Phase::Ready && worker.sent.is_empty() && worker.given >= most {
                worker.phase = Phase::Retiring;
                out.push(Action::Retire(worker.id));
            }
        }
    }

    /// Shut down, and every task has ended.
    pub(super) fn is_drained(&self) -> bool {
        self.state == State::Draining
            && self.queued == 0
            && self.workers.iter().all(|worker| worker.sent.is_empty())
    }

    /// Once drained: sends the workers home, and says when they are gone.
    fn finish_up(&mut self, out: &mut Vec<Action>) {
        if self.is_drained() {
            for worker in &mut self.workers {
                match worker.phase {
                    Phase::Ready => {
                        worker.phase = Phase::Retiring;
                        out.push(Action::Retire(worker.id));
                    }
                    Phase::Starting => {
                        worker.phase = Phase::Dying;
                        out.push(Action::Kill(worker.id));
                    }
                    Phase::Retiring | Phase::Dying => {}
                }
            }
        }
        let waits = self.state == State::Draining && self.queued > 0;
        if self.state != State::Open && !waits && self.workers.is_empty() && !self.stopped {
            self.stopped = true;
            out.push(Action::Stopped);
        }
    }

    /// Looks at deadlines that are due, and at batches that others could help
    /// with.
    pub(super) fn tick(&mut self, now: Nanos, out: &mut Vec<Action>) {
        for worker in &mut self.workers {
            if worker.phase == Phase::Ready && worker.look_at.is_some_and(|at| at <= now) {
                out.push(Action::Look(worker.id));
            }
        }
        let victims = self.victims().filter(|(at, _)| *at <= now).map(|(_, id)| id);
        out.extend(victims.map(Action::Revoke));
    }

    /// When `tick` has something to do.
    pub(crate) fn wake_at(&self) -> Option<Nanos> {
        let looks = self
            .workers
            .iter()
            .filter(|worker| worker.phase == Phase::Ready && worker.condemned.is_none())
            .filter_map(|worker| worker.look_at);
        let start = self.starts.next(self.starting()).filter(|_| self.missing() > 0);
        looks.chain(self.victims().map(|(at, _)| at)).chain(start).min()
    }

    /// Workers that sit on tasks while another is idle, and when that has
    /// lasted long enough to take them back.
    fn victims(&self) -> impl Iterator<Item = (Nanos, WorkerId)> {
        let starved = self.queued == 0
            && self.workers.iter().any(|worker| {
                worker.takes_tasks()
                    && worker.sent.is_empty()
                    && self.config.max_tasks.is_none_or(|most| worker.given < most)
            });
        self.workers
            .iter()
            .filter(move |worker| {
                // One whose socket is full too: taking back needs no message.
                let works = worker.phase == Phase::Ready && worker.condemned.is_none();
                let held: u32 = worker.sent.iter().map(Dispatch::tasks).sum();
                starved && works && !worker.barren && held > 1
            })
            .map(|worker| (worker.front_since.saturating_add(self.config.steal_after), worker.id))
    }

    /// Whether tasks are wanted: some worker could take more than it has, or
    /// the first is to be started.
    pub(crate) fn hungry(&self) -> bool {
        let takes = |worker: &Worker| worker.takes_tasks() && worker.sent.len() < self.config.depth;
        self.queued == 0 && (self.workers.is_empty() || self.workers.iter().any(takes))
    }

    /// How many tasks travel together just now, if there are enough.
    pub(crate) fn batch_hint(&self) -> u64 {
        self.most().min(MOST)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }
}

/// Ends tasks from the queue: the attempt that they wait for was not made.
fn unstarted(run: Run, verdict: impl FnOnce(bool) -> Verdict) -> Action {
    let attempt = run.attempt - 1;
    Action::Finish { run: Run { attempt, ..run }, verdict: verdict(attempt > 0) }
}

impl Worker {
    fn takes_tasks(&self) -> bool {
        self.phase == Phase::Ready && !self.blocked && self.condemned.is_none()
    }
}
