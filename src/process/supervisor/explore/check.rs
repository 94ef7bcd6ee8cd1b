//! What must hold in every state that is reached, between two events.

use super::super::*;
use super::world::{Sim, Slot, Told, World};
use super::{States, fingerprint};

impl World {
    pub(super) fn check(&self) {
        self.check_accounts();
        self.check_staff();
        self.check_queue();
        self.check_clock();
    }

    /// Every task is in one place, and the supervisor's idea of each worker is
    /// the world's.
    fn check_accounts(&self) {
        let supervisor = &self.supervisor;
        let queued: u64 = supervisor.queue.iter().map(|run| u64::from(run.len)).sum();
        assert_eq!(queued, supervisor.queued, "the count of the queue");
        let held: u64 = supervisor
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
        assert!(supervisor.workers.iter().map(|worker| &worker.id).eq(self.sims.keys()), "who is");
        for (worker, sim) in supervisor.workers.iter().zip(self.sims.values()) {
            let theirs = sim.slots.iter().map(|slot| slot.seq);
            assert!(worker.sent.iter().map(|sent| sent.seq).eq(theirs), "who has which batch");
            assert_eq!(worker.given, sim.given, "how many tasks a worker had");
        }
    }

    fn runs_tasks(&self) -> bool {
        matches!(self.supervisor.state, State::Open | State::Draining)
    }

    /// Workers that are missing are being started, or will be soon enough, and
    /// whoever has no more to do was told so: a shutdown waits for nothing but
    /// tasks and deaths.
    fn check_staff(&self) {
        let config = &self.supervisor.config;
        let open = self.next_task - self.outcomes.len() as u64;
        let wanted = if self.runs_tasks() { open.min(config.workers as u64) } else { 0 };
        let staying = self.sims.values().filter(|sim| sim.told == Told::Nothing);
        let (ready, starting): (Vec<&Sim>, Vec<&Sim>) = staying.partition(|sim| sim.ready);
        let missing = ((ready.len() + starting.len()) as u64) < wanted;
        if missing && self.sims.len() < config.workers && starting.len() < config.restarts.at_once {
            let soon = |setback| {
                let wakes = self.supervisor.wake_at();
                wakes.is_some_and(|at| at <= setback + config.restarts.longest)
            };
            assert!(
                self.setback.is_some_and(|at| !starting.is_empty() || soon(at)),
                "a seat is empty: {self:#?}"
            );
        }
        let drained = self.supervisor.state == State::Draining
            && self.supervisor.queued == 0
            && self.sims.values().all(|sim| sim.slots.is_empty());
        for (id, sim) in &self.sims {
            let used_up = sim.slots.is_empty() && self.quota(sim) == 0;
            if drained || used_up {
                assert_ne!(sim.told, Told::Nothing, "{id:?} has no more to do: {self:#?}");
            }
            if !self.runs_tasks() {
                assert_eq!(sim.told, Told::Die, "{id:?} lives on: {self:#?}");
            }
        }
        assert_eq!(
            self.stopped,
            self.supervisor.state != State::Open
                && self.sims.is_empty()
                && (self.supervisor.queued == 0 || !self.runs_tasks()),
            "the last one has gone"
        );
    }

    /// Invariant 7: no task waits while a worker could take it.
    fn check_queue(&self) {
        if self.supervisor.queued > 0 && self.runs_tasks() {
            for (id, sim) in &self.sims {
                assert!(!self.could_take(sim), "{id:?} could take a task that waits: {self:#?}");
            }
        }
    }

    /// Invariant 8: whatever only the clock can show is looked at in time.
    fn check_clock(&self) {
        let config = &self.supervisor.config;
        let wakes_by = |due: Nanos| self.supervisor.wake_at().is_some_and(|at| at <= due);
        let starved = self.supervisor.queued == 0
            && self.sims.values().any(|sim| sim.slots.is_empty() && self.could_take(sim));
        for (id, sim) in self.sims.iter().filter(|(_, sim)| sim.told == Told::Nothing) {
            let running = sim.slots.first().filter(|slot| slot.is_running());
            if let (Some(running), Some(deadline)) = (running, config.deadline) {
                let due = running.since.max(sim.front_since) + deadline;
                assert!(wakes_by(due), "nobody looks at the deadline in {id:?}: {self:#?}");
            }
            let held: u32 = sim.slots.iter().map(|slot| slot.limit).sum();
            let waits = sim.slots.iter().any(|slot| slot.started < slot.limit);
            if starved && waits && held > 1 {
                let due = sim.front_since + config.steal_after;
                assert!(wakes_by(due), "{id:?} keeps tasks from an idle one: {self:#?}");
            }
        }
    }

    /// After a tick: what was due is done, and the next is not due yet, or the
    /// shell would turn round and round.
    pub(super) fn check_tick(&self) {
        let due = self.supervisor.wake_at().is_some_and(|at| at <= self.now);
        assert!(!due, "a tick settles nothing: {self:#?}");
        let Some(deadline) = self.supervisor.config.deadline else { return };
        for (id, sim) in self.sims.iter().filter(|(_, sim)| sim.told == Told::Nothing) {
            let late = |slot: &&Slot| {
                slot.is_running() && slot.since.max(sim.front_since) + deadline <= self.now
            };
            assert!(
                !sim.slots.first().is_some_and(|slot| late(&slot)),
                "{id:?} runs on: {self:#?}"
            );
        }
    }

    /// After a cancel: the task has ended, or it had started; one that was to
    /// be killed is.
    pub(super) fn check_cancel(&self, task: TaskId, kill: bool) {
        if self.outcomes.contains_key(&task) {
            return;
        }
        let runs_in = self.sims.values().find(|sim| {
            sim.slots
                .iter()
                .any(|slot| slot.tasks[..slot.started.min(slot.limit) as usize].contains(&task))
        });
        let Some(sim) = runs_in else { panic!("{task} was given up and waits: {self:#?}") };
        let running = sim
            .slots
            .iter()
            .any(|slot| slot.is_running() && slot.tasks[slot.started as usize - 1] == task);
        assert!(!kill || !running || sim.told == Told::Die, "{task} runs on: {self:#?}");
    }

    fn quota(&self, sim: &Sim) -> u64 {
        self.supervisor.config.max_tasks.map_or(u64::MAX, |most| most - sim.given)
    }

    fn could_take(&self, sim: &Sim) -> bool {
        sim.ready
            && sim.told == Told::Nothing
            && !sim.full
            && sim.slots.len() < self.supervisor.config.depth
            && self.quota(sim) > 0
    }

    /// From here on nothing goes wrong: every task ends, and after a shutdown
    /// every worker goes. What happens next depends on the state alone, so a
    /// state that is known to end well need not be walked again, and one that
    /// comes back on the same walk comes back for ever.
    pub(super) fn ends_well(&self, known: &mut States) {
        let mut world = self.clone();
        let mut walk = States::default();
        loop {
            let print = fingerprint(&world);
            if known.contains(&print) {
                break;
            }
            assert!(walk.insert(print), "goes round in circles: {world:#?}");
            let moves = world.moves(true);
            let Some(step) = moves.get((print % moves.len().max(1) as u128) as usize) else {
                let missing: Vec<_> = (0..world.next_task)
                    .filter(|task| !world.outcomes.contains_key(task))
                    .collect();
                assert!(missing.is_empty(), "stranded: {missing:?} in {world:#?}");
                let open = world.supervisor.state == State::Open;
                assert_eq!(world.stopped, !open, "stopped in the end");
                break;
            };
            world.make(step);
            world.check();
        }
        known.extend(walk);
    }
}
