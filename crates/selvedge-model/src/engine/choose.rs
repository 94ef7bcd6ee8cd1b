//! Which task goes on.

use super::exec::{Decision, Exec, Failure};
use super::strategy::{Choice, Does, Strategy};
use super::{EXPIRED, Wait};

/// A task that ran this many steps in a row, while others could have, is taken
/// to spin.
const SPIN: usize = 100;

impl Exec {
    /// Picks the task that goes on: its number. The clock's (0) when there is
    /// nothing left to run.
    pub(super) fn choose(
        &mut self,
        strategy: &mut dyn Strategy,
        alive: impl Fn(usize) -> bool,
    ) -> usize {
        let from = self.current;
        self.pinned &= alive(from);
        if self.pinned {
            return from;
        }
        if self.over || self.tasks.iter().skip(1).all(|task| task.finished) {
            return self.go(0, 0);
        }
        self.steps += 1;
        if self.steps > self.settings.steps {
            self.fail(Failure::Steps(self.settings.steps));
            return self.go(0, 0);
        }
        if self.tracing && self.steps > 1 {
            self.step.over();
            strategy.stepped(std::mem::take(&mut self.step));
        }
        let choices = self.choices(from);
        let Some(first) = choices.first() else {
            let foreign = self.foreign().is_some();
            self.fail(Failure::Deadlock { foreign });
            return self.go(0, 0);
        };
        let (pick, deviates) = if choices.len() == 1 && !self.tracing {
            (*first, false)
        } else {
            let key = (from as u32, self.tasks[from].choices);
            match strategy.choose(key, &choices) {
                Some(index) => (choices[index], index != 0),
                None => {
                    self.fail(Failure::Nondeterministic);
                    return self.go(0, 0);
                }
            }
        };
        self.decisions.push(Decision {
            task: from as u32,
            nth: self.tasks[from].choices,
            to: pick.task,
            alternative: pick.alternative,
            deviates,
            preempts: pick.cost > 0,
        });
        self.tasks[from].choices += 1;
        if self.tracing {
            self.begins(pick.task as usize, pick.alternative, pick.deadline.is_some());
        }
        if let Some(at) = pick.deadline {
            self.clock = self.clock.max(at);
        }
        self.go(pick.task as usize, pick.alternative)
    }

    fn go(&mut self, task: usize, alternative: usize) -> usize {
        if task != self.current {
            self.tasks[task].streak = 0;
        }
        self.current = task;
        let step = self.steps;
        let task = &mut self.tasks[task];
        task.alternative = alternative;
        task.ran = step;
        task.streak += 1;
        task.yielded = None;
        self.current
    }

    /// What can go on now. The first is the default: the task that ran last,
    /// else the oldest; a deadline that passes comes last, the earliest first.
    fn choices(&mut self, from: usize) -> Vec<Choice> {
        let step = self.steps;
        let enabled: Vec<usize> = (0..self.tasks.len())
            .map(|task| if self.tasks[task].finished { 0 } else { self.enabled(task) })
            .collect();
        // Who lets others go first: until each that can has run.
        let task = &mut self.tasks[from];
        let spins = task.streak > SPIN;
        // Which steps are in a row is told by their order alone.
        self.step.unknown |= spins;
        if !task.finished && (spins || matches!(task.pending.wait, Wait::Yield)) {
            task.yielded.get_or_insert(step);
            task.streak = 0;
        }
        let waits = |task: usize| match self.tasks[task].yielded {
            Some(since) => (1..self.tasks.len())
                .any(|other| other != task && enabled[other] > 0 && self.tasks[other].ran < since),
            None => false,
        };
        let mut choices = Vec::new();
        let mut plain = false;
        let order = std::iter::once(from).chain((1..self.tasks.len()).filter(|t| *t != from));
        for task in order.filter(|task| *task != 0) {
            if enabled[task] == 0 || waits(task) {
                continue;
            }
            plain |= self.tasks[task].yielded.is_none();
            for alternative in 0..enabled[task] {
                let pending = &self.tasks[task].pending;
                choices.push(Choice {
                    task: task as u32,
                    alternative,
                    deadline: None,
                    cost: 0,
                    does: Does::of(pending.op),
                    object: pending.object,
                });
            }
        }
        let stays = choices.first().is_some_and(|choice| choice.task as usize == from)
            && self.tasks[from].yielded.is_none();
        if stays {
            for choice in choices.iter_mut().filter(|choice| choice.task as usize != from) {
                choice.cost = 1;
            }
        }
        let mut timed = self.deadlines(&enabled);
        if self.settings.ordered && plain {
            // Those whose time has come pass together with the first of them,
            // as on a real clock: nobody has to run in between.
            timed.retain(|choice| choice.deadline.is_some_and(|at| at <= self.clock));
            choices.extend(timed);
            return choices;
        }
        let Some(earliest) = timed.iter().filter_map(|choice| choice.deadline).min() else {
            return choices;
        };
        if self.settings.ordered {
            timed.retain(|choice| choice.deadline == Some(earliest));
        }
        for choice in &mut timed {
            choice.cost = u32::from(plain || choice.deadline != Some(earliest));
        }
        timed.sort_by_key(|choice| choice.deadline);
        if plain {
            choices.extend(timed);
            choices
        } else {
            // Those who only spin let the time pass first.
            timed.extend(choices.into_iter().map(|choice| Choice { cost: 1, ..choice }));
            timed
        }
    }

    /// The deadlines that could pass.
    fn deadlines(&self, enabled: &[usize]) -> Vec<Choice> {
        let mut timed = Vec::new();
        for (task, state) in self.tasks.iter().enumerate().skip(1) {
            if let Some(at) =
                state.pending.deadline.filter(|_| !state.finished && enabled[task] == 0)
            {
                timed.push(Choice {
                    task: task as u32,
                    alternative: EXPIRED,
                    deadline: Some(at),
                    cost: 0,
                    does: Does::Other,
                    object: state.pending.object,
                });
            }
        }
        // Async tasks end with the body, and their timers with them.
        if !self.returned {
            for (number, timer) in &self.timers {
                timed.push(Choice {
                    task: 0,
                    alternative: *number as usize,
                    deadline: Some(timer.at),
                    cost: 0,
                    does: Does::Other,
                    object: None,
                });
            }
        }
        timed
    }

    /// A task that waits for a waker which none of the model's things holds.
    pub(super) fn foreign(&self) -> Option<usize> {
        let unfinished = |task: &usize| !self.tasks[*task].finished;
        (1..self.tasks.len()).filter(unfinished).find(|task| {
            let task = &self.tasks[*task];
            matches!(task.pending.wait, Wait::Woken(_)) && task.pending.op == "await"
        })
    }
}
