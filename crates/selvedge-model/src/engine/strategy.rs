//! Ways through the tree of choices.

use super::footprint::Step;
use super::shrink::Deviations;
use std::time::Duration;

/// One of the things that could happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) task: u32,
    pub(crate) alternative: usize,
    /// The time that it would become.
    pub(crate) deadline: Option<Duration>,
    /// How many preemptions it is.
    pub(crate) cost: u32,
    pub(crate) does: Does,
    /// What is touched, if it is one object.
    pub(crate) object: Option<usize>,
}

/// What sort of a thing an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// A task's way to its first operation.
    Start,
    /// Another task is made.
    Spawn,
    /// It changes nothing that others see.
    Read,
    /// Anything else.
    Other,
}

impl Does {
    pub(super) fn of(op: &'static str) -> Self {
        match op {
            super::tasks::START => Self::Start,
            "spawn" => Self::Spawn,
            "load" | "read" | "get" | "is_completed" => Self::Read,
            _ => Self::Other,
        }
    }
}

impl Choice {
    /// Whether the order of the two may matter.
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        let reads = self.does == Does::Read && other.does == Does::Read;
        self.object.is_some() && self.object == other.object && !reads
    }
}

/// A way through the tree.
pub(crate) trait Strategy: Send {
    /// Whether there is another execution.
    fn next(&mut self) -> bool;
    /// One of `choices`, the first of which is the default; `None` if the
    /// execution is not the one that it was before.
    fn choose(&mut self, key: (u32, u32), choices: &[Choice]) -> Option<usize>;
    /// Whether an execution that has ended went as far as it was expected to.
    fn ended(&self) -> bool {
        true
    }
    /// Whether the tree was walked to its end.
    fn complete(&self) -> bool {
        false
    }
    /// Whether something was left out for its preemptions.
    fn cut(&self) -> bool {
        false
    }
    /// Whether it asks for each step, and is asked where there is one choice.
    fn traces(&self) -> bool {
        false
    }
    /// A step is over.
    fn stepped(&mut self, _: Step) {}
    /// How many of the choices that it was told there was no place for.
    fn unfollowed(&self) -> usize {
        0
    }
    /// How many executions were steps of that walk, if not all.
    fn walked(&self) -> Option<u64> {
        None
    }
}

struct Node {
    picked: usize,
    choices: Vec<Choice>,
    spent: u32,
}

/// Depth first, over every schedule with at most so many preemptions.
pub(crate) struct Dfs {
    bound: u32,
    path: Vec<Node>,
    depth: usize,
    spent: u32,
    started: bool,
    complete: bool,
    cut: bool,
}

impl Dfs {
    pub(crate) fn new(bound: u32) -> Self {
        Self {
            bound,
            path: Vec::new(),
            depth: 0,
            spent: 0,
            started: false,
            complete: false,
            cut: false,
        }
    }
}

impl Strategy for Dfs {
    fn next(&mut self) -> bool {
        self.depth = 0;
        self.spent = 0;
        if !std::mem::replace(&mut self.started, true) {
            return true;
        }
        while let Some(node) = self.path.last_mut() {
            for index in node.picked + 1..node.choices.len() {
                if node.spent + node.choices[index].cost <= self.bound {
                    node.picked = index;
                    return true;
                }
                self.cut = true;
            }
            self.path.pop();
        }
        self.complete = true;
        false
    }

    fn choose(&mut self, _: (u32, u32), choices: &[Choice]) -> Option<usize> {
        let depth = self.depth;
        self.depth += 1;
        if depth == self.path.len() {
            self.path.push(Node { picked: 0, choices: choices.to_vec(), spent: self.spent });
        } else if self.path[depth].choices != choices {
            return None;
        }
        let node = &self.path[depth];
        self.spent += choices[node.picked].cost;
        Some(node.picked)
    }

    fn ended(&self) -> bool {
        self.depth == self.path.len()
    }

    fn complete(&self) -> bool {
        self.complete
    }

    fn cut(&self) -> bool {
        self.cut
    }
}

/// The default everywhere, except where told.
pub(crate) struct Guided {
    deviations: Deviations,
    left: bool,
    followed: usize,
}

impl Guided {
    pub(crate) fn new(deviations: Deviations) -> Self {
        Self { deviations, left: true, followed: 0 }
    }
}

impl Strategy for Guided {
    fn next(&mut self) -> bool {
        std::mem::take(&mut self.left)
    }

    fn choose(&mut self, key: (u32, u32), choices: &[Choice]) -> Option<usize> {
        let told = self.deviations.get(key).and_then(|(task, alternative)| {
            choices.iter().position(|c| c.task == task && c.alternative == alternative)
        });
        self.followed += usize::from(told.is_some());
        Some(told.unwrap_or(0))
    }

    fn unfollowed(&self) -> usize {
        self.deviations.len().saturating_sub(self.followed)
    }
}
