//! What may happen next, and making it happen.

use super::super::*;
use super::world::{Slot, Socket, Told, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Submit(u32),
    Ready(WorkerId),
    SpawnFails(WorkerId),
    Advance(WorkerId),
    ReportDone(WorkerId),
    Die(WorkerId),
    Garble(WorkerId),
    Exit(WorkerId),
    Next(Socket),
    Writable(WorkerId),
    Tick,
    /// Until the supervisor wants to be woken.
    Wait,
    Cancel(TaskId, bool),
    Stale(WorkerId, u64),
    Shutdown,
    Terminate,
}

impl World {
    /// What may happen now. `kind`: without what goes wrong or is asked.
    pub(super) fn moves(&self, kind: bool) -> Vec<Move> {
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
            if sim.full {
                moves.push(Move::Writable(id));
            }
            if !kind && self.budget.deaths > 0 {
                moves.push(Move::Die(id));
                moves.push(if sim.ready { Move::Garble(id) } else { Move::SpawnFails(id) });
            }
        }
        if kind {
            if moves.is_empty() && self.supervisor.wake_at().is_some() {
                moves.push(Move::Wait);
            }
            return moves;
        }
        if self.budget.submits > 0 {
            moves.extend([Move::Submit(1), Move::Submit(self.budget.largest)]);
        }
        if self.budget.blocks > 0 && self.socket == Socket::Takes {
            moves.push(Move::Next(Socket::IsFull));
            if self.budget.largest > 2 {
                moves.extend([Move::Next(Socket::IsFilled), Move::Next(Socket::TakesOne)]);
            }
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

    pub(super) fn make(&mut self, step: &Move) {
        self.trail.0.push(*step);
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
                self.lose(id);
                self.sims.remove(&id);
                self.feed(Event::SpawnFailed(id));
            }
            Move::Advance(id) => self.advance(id),
            Move::ReportDone(id) => {
                let slot = self.sims[&id].slots[0].clone();
                if slot.limit > 0 {
                    self.worked();
                }
                self.feed(Event::Done { worker: id, seq: slot.seq, elapsed: 1 });
                let sim = self.sims.get_mut(&id).unwrap();
                // Sent into the freed place at once: keep what came after.
                sim.slots.retain(|other| other.seq != slot.seq);
                sim.front_since = self.now;
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
            Move::Next(socket) => {
                self.budget.blocks -= 1;
                self.socket = socket;
            }
            Move::Writable(id) => {
                self.sims.get_mut(&id).unwrap().full = false;
                self.feed(Event::Writable(id));
            }
            Move::Wait => {
                let at = self.supervisor.wake_at().expect("there is something to wait for");
                assert!(at > self.now, "what is due was not done: {self:#?}");
                self.now = at;
                self.feed(Event::Tick);
                self.check_tick();
            }
            Move::Tick => {
                self.budget.ticks -= 1;
                self.now += 1;
                self.feed(Event::Tick);
                self.check_tick();
            }
            Move::Cancel(first, kill) => {
                self.budget.cancels -= 1;
                self.feed(Event::Cancel { first, len: 1, kill });
                self.check_cancel(first, kill);
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
}
