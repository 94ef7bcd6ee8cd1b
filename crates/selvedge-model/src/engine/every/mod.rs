//! One schedule of each class, instead of every schedule.
//!
//! Two schedules that differ only in the order of steps that touch nothing in
//! common end the same (Mazurkiewicz). This search tries at least one of each
//! class, and mostly one: dynamic partial-order reduction (Flanagan and
//! Godefroid, POPL 2005) with source sets and sleep sets (Abdulla, Aronsson,
//! Jonsson and Sagonas, POPL 2014).
//!
//! # Algorithm
//!
//! An execution leaves its steps, each with what it touched. Vector clocks
//! over them say which step happens before which. Two steps of different
//! tasks that touch the same thing, with nothing in between that orders them,
//! are a race: for each, the choice before the first of the two gets one more
//! task to try, the first that leads to the other order (a source set). A task
//! that was tried at a choice sleeps below it, until a step touches what its
//! step does: what it leads to has been seen.
//!
//! # What is equal
//!
//! A step touches a thing in one of three ways: it leaves it as it is, it calls
//! (a wake-up, which is as good once as twice, and which nobody sees before the
//! woken one looks), or it writes. Two that both leave it, or both call, can be
//! done in either order. What a step did counts, and not what it might have
//! done: a `compare_exchange` that failed and a store of what was there are
//! loads, and a notification that nobody waits for changes nothing. In a model
//! that says that all it shares is told of, so is a lock that was taken and
//! given up within a step and whose value was not borrowed to be changed.
//!
//! # Waiting
//!
//! A step that waits cannot always be done: the other order of a race with the
//! step that let it go on is none. What can be ruled out is: a lock that was
//! given up, a task that has ended, and a choice at which the task stood before
//! the same step and could not go on. In doubt a task more is tried, and the
//! search for the race goes on further up. And a step may take away what
//! another could have done (a timer that is dropped): that one is tried in its
//! place.
//!
//! # With a bound on preemptions
//!
//! [`Every::bounded`] leaves out what takes more than so many preemptions. A
//! class may have one schedule within the bound and others beyond it, so that
//! one of each is not enough (Coons, Musuvathi and McKinley, OOPSLA 2013): for
//! each race the task is tried as well from where the one that ran had come in,
//! no task is left out since another leads to the same, and none sleeps below
//! the choice where it was tried.
//!
//! # What is assumed
//!
//! All that tasks share is touched through this crate. A deadline that passes
//! and a task that lets others go first are told from everything. Futures
//! share what nobody tells of, and a task that spins is fair only by a count
//! of its steps: for these the search gives up, and says so.

use super::footprint::{Step, actor};
use super::strategy::{Choice, Strategy};
use std::sync::Arc;

struct Node {
    choices: Vec<(usize, usize)>,
    /// How many preemptions each is, and there were before.
    costs: Vec<u32>,
    spent: u32,
    /// The choice that is being tried.
    index: usize,
    /// The tasks to try, those that were among them.
    tasks: Vec<usize>,
    /// The tasks that need not be tried, with what their step touches.
    asleep: Vec<(usize, Arc<Step>)>,
    /// The step, once it was done.
    step: Option<Arc<Step>>,
    /// What the task's step does, over all ways to do it so far.
    tried: Option<Arc<Step>>,
    /// For each task the latest of its steps that comes before this step or
    /// is it: its depth and one.
    clock: Vec<usize>,
}

impl Node {
    fn task(&self) -> usize {
        self.choices[self.index].0
    }

    fn offers(&self, task: usize) -> bool {
        self.choices.iter().any(|(other, _)| *other == task)
    }

    fn sleeps(&self, task: usize) -> bool {
        self.asleep.iter().any(|(other, _)| *other == task)
    }
}

/// The search.
#[derive(Default)]
pub(crate) struct Every {
    ordered: bool,
    /// At most so many preemptions.
    bound: Option<u32>,
    /// Something was left out for its preemptions.
    cut: bool,
    path: Vec<Node>,
    /// The steps of this execution, as far as they are over.
    steps: Vec<Arc<Step>>,
    /// The first step whose races are not known yet.
    fresh: usize,
    /// From here on this execution is one that was seen.
    seen: bool,
    /// How many executions there were, up to two: the second is the first once
    /// more.
    started: u32,
    strayed: bool,
    complete: bool,
    gave_up: bool,
}

impl Every {
    /// `ordered`: deadlines pass once nothing else can be done.
    pub(crate) fn new(ordered: bool) -> Self {
        Self { ordered, ..Self::default() }
    }

    /// The same, over the schedules with at most `bound` preemptions.
    pub(crate) fn bounded(ordered: bool, bound: u32) -> Self {
        Self { bound: Some(bound), ..Self::new(ordered) }
    }

    /// Finds what this execution says that there is to try.
    fn analyse(&mut self) {
        self.steps.truncate(self.path.len());
        let tasks = self.steps.iter().flat_map(|step| step.started.iter().chain([&step.task]));
        let tasks = tasks.max().map_or(0, |last| last + 1);
        // Of each task: its last step, or the one that started it.
        let mut last: Vec<Option<usize>> = vec![None; tasks];
        for at in 0..self.steps.len() {
            let step = &self.steps[at];
            if at >= self.fresh {
                let mut clock =
                    last[step.task].map_or_else(Vec::new, |one| self.path[one].clock.clone());
                clock.resize(tasks, 0);
                let mut conflicts = Vec::new();
                let before = clock.clone();
                for earlier in (0..at).rev() {
                    let other = &self.steps[earlier];
                    if other.task == step.task || clock_covers(&before, other.task, earlier) {
                        continue;
                    }
                    if step.conflicts(other) {
                        conflicts.push(earlier);
                        join(&mut clock, &self.path[earlier].clock);
                    }
                }
                clock[step.task] = at + 1;
                self.path[at].clock = clock;
                self.races(at, &conflicts);
                self.taken_away(at);
            }
            let step = &self.steps[at];
            last[step.task] = Some(at);
            for child in &step.started {
                last[*child] = Some(at);
            }
        }
    }

    /// What the step before this one made impossible is to be tried instead of
    /// it: it may never be done otherwise, and then is in no race.
    fn taken_away(&mut self, at: usize) {
        let Some(above) = at.checked_sub(1) else { return };
        let [before, now] = &mut self.path[above..=at] else { return };
        for (task, _) in &before.choices {
            if !now.offers(*task) && *task != self.steps[above].task && !before.tasks.contains(task)
            {
                before.tasks.push(*task);
            }
        }
    }

    /// Whether the step at `earlier` comes before the one at `later`.
    fn before(&self, earlier: usize, later: usize) -> bool {
        clock_covers(&self.path[later].clock, self.steps[earlier].task, earlier)
    }

    /// What to try for the races of the step at `at` with `conflicts`, the
    /// latest of which comes first.
    fn races(&mut self, at: usize, conflicts: &[usize]) {
        let step = &self.steps[at];
        let mut reversed: Vec<usize> = Vec::new();
        let mut wanted = Vec::new();
        for &earlier in conflicts {
            if reversed.iter().any(|one| self.before(earlier, *one)) {
                // Something in between orders the two.
                continue;
            }
            let other = &self.steps[earlier];
            if (!step.late && other.lets(step)) || (self.ordered && step.late && !other.world) {
                continue;
            }
            let between: Vec<usize> =
                (earlier + 1..at).filter(|one| !self.before(earlier, *one)).collect();
            let node = &self.path[earlier];
            let stands = (earlier + 1..at).all(|one| self.steps[one].task != step.task);
            let free = step.waits.is_empty() && !step.world;
            let certain = free || (stands && node.offers(step.task));
            if !certain && stands && !between.iter().any(|one| self.steps[*one].conflicts(step)) {
                // It stood there and could not go on.
                continue;
            }
            if certain {
                reversed.push(earlier);
            }
            if self.bound.is_some() {
                // There may be a way with fewer preemptions from where the task
                // came in (Coons, Musuvathi and McKinley, OOPSLA 2013).
                let came_in = (0..earlier)
                    .rev()
                    .find(|one| *one == 0 || self.steps[one - 1].task != self.steps[*one].task);
                for place in came_in.into_iter().chain([earlier]) {
                    let node = &self.path[place];
                    if node.offers(step.task) {
                        wanted.push((place, step.task));
                    } else {
                        wanted.extend(node.choices.iter().map(|(task, _)| (place, *task)));
                    }
                }
                continue;
            }
            let firsts = between.iter().copied().chain([at]).filter(|one| {
                between.iter().all(|first| first >= one || !self.before(*first, *one))
            });
            let firsts: Vec<usize> =
                firsts.map(|one| self.steps[one].task).filter(|task| node.offers(*task)).collect();
            if firsts.iter().any(|task| node.tasks.contains(task)) {
                continue;
            }
            if firsts.is_empty() {
                wanted.extend(node.choices.iter().map(|(task, _)| (earlier, *task)));
            } else {
                let own = firsts.iter().find(|task| **task == step.task);
                wanted.push((earlier, *own.unwrap_or(&firsts[0])));
            }
        }
        for (earlier, task) in wanted {
            let tasks = &mut self.path[earlier].tasks;
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
    }
}

fn clock_covers(clock: &[usize], task: usize, at: usize) -> bool {
    clock.get(task).is_some_and(|known| *known > at)
}

fn join(clock: &mut [usize], other: &[usize]) {
    for (mine, theirs) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

impl Strategy for Every {
    fn next(&mut self) -> bool {
        if self.gave_up {
            return false;
        }
        self.started += 1;
        match self.started {
            1 => return true,
            2 => {
                self.steps.clear();
                return true;
            }
            _ => self.started = 2,
        }
        self.analyse();
        self.steps.clear();
        self.seen = false;
        while let Some(node) = self.path.last_mut() {
            let task = node.task();
            if let Some(step) = node.step.take() {
                match &mut node.tried {
                    Some(tried) => Arc::make_mut(tried).join(&step),
                    None => node.tried = Some(step),
                }
            }
            let (bound, mut cut) = (self.bound.unwrap_or(u32::MAX), false);
            let affordable = |node: &Node, at: usize, cut: &mut bool| {
                let affordable = node.spent + node.costs[at] <= bound;
                *cut |= !affordable;
                affordable
            };
            let more = (node.index + 1..node.choices.len())
                .find(|at| node.choices[*at].0 == task && affordable(node, *at, &mut cut));
            self.cut |= cut;
            if let Some(index) = more {
                node.index = index;
                break;
            }
            let tried = node.tried.take().unwrap_or_default();
            node.asleep.push((task, tried));
            let next = (0..node.choices.len()).find(|at| {
                let task = node.choices[*at].0;
                node.tasks.contains(&task) && !node.sleeps(task) && affordable(node, *at, &mut cut)
            });
            self.cut |= cut;
            if let Some(index) = next {
                node.index = index;
                break;
            }
            self.path.pop();
        }
        self.complete = self.path.is_empty();
        self.fresh = self.path.len().saturating_sub(1);
        !self.complete
    }

    fn choose(&mut self, _: (u32, u32), choices: &[Choice]) -> Option<usize> {
        if self.strayed {
            return None;
        }
        if self.seen || self.gave_up {
            return Some(0);
        }
        let offered = choices
            .iter()
            .map(|choice| (actor(choice.task as usize, choice.alternative), choice.alternative));
        let depth = self.steps.len();
        if let Some(node) = self.path.get(depth) {
            return offered.eq(node.choices.iter().copied()).then_some(node.index);
        }
        let costs = choices.iter().map(|choice| choice.cost).collect();
        let choices: Vec<(usize, usize)> = offered.collect();
        let asleep: Vec<(usize, Arc<Step>)> = match (self.path.last(), self.steps.last()) {
            // What a task that sleeps leads to may have taken more preemptions.
            (Some(above), Some(step)) if self.bound.is_none() => above
                .asleep
                .iter()
                .filter(|(task, sleeping)| {
                    *task != step.task && !sleeping.conflicts_elsewhere(step)
                })
                .cloned()
                .collect(),
            _ => Vec::new(),
        };
        let awake = |(task, _): &(usize, usize)| asleep.iter().all(|(other, _)| other != task);
        let Some(index) = choices.iter().position(awake) else {
            self.seen = true;
            return Some(0);
        };
        let tasks = vec![choices[index].0];
        let spent = self.path.last().map_or(0, |above| above.spent + above.costs[above.index]);
        self.path.push(Node {
            choices,
            costs,
            spent,
            index,
            tasks,
            asleep,
            step: None,
            tried: None,
            clock: Vec::new(),
        });
        Some(index)
    }

    fn traces(&self) -> bool {
        true
    }

    fn stepped(&mut self, step: Step) {
        self.gave_up |= step.unknown;
        let step = Arc::new(step);
        if let Some(node) = self.path.get_mut(self.steps.len()) {
            match &node.step {
                Some(before) => self.strayed |= !before.resembles(&step),
                None => node.step = Some(Arc::clone(&step)),
            }
        }
        self.steps.push(step);
    }

    fn ended(&self) -> bool {
        !self.strayed && (self.seen || self.gave_up || self.steps.len() == self.path.len())
    }

    fn complete(&self) -> bool {
        self.complete
    }

    fn cut(&self) -> bool {
        self.cut
    }
}

#[cfg(all(test, feature = "tokio"))]
mod async_tests;
#[cfg(test)]
mod bounded_tests;
#[cfg(test)]
mod tests;
