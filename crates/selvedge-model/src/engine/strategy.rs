//! Ways through the tree of choices.

use super::footprint::Step;
use super::shrink::Deviations;
use std::collections::HashMap;
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

/// A generator of numbers (Vigna's splitmix64): the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        Self::step(&mut self.0)
    }

    /// Moves the seed on, and draws.
    pub(crate) fn step(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Anything at any step.
pub(crate) struct RandomWalk {
    random: Random,
    left: usize,
}

impl RandomWalk {
    pub(crate) fn new(seed: u64, executions: usize) -> Self {
        Self { random: Random(seed), left: executions }
    }
}

impl Strategy for RandomWalk {
    fn next(&mut self) -> bool {
        self.left = self.left.wrapping_sub(1);
        self.left != usize::MAX
    }

    fn choose(&mut self, _: (u32, u32), choices: &[Choice]) -> Option<usize> {
        Some(self.random.below(choices.len()))
    }
}

/// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and
/// Nagarakatte, ASPLOS 2010): random priorities, lowered at a few random steps.
pub(crate) struct Pct {
    random: Random,
    left: usize,
    depth: usize,
    step: usize,
    longest: usize,
    priorities: HashMap<(u32, usize), u64>,
    changes: Vec<usize>,
    lowest: u64,
}

impl Pct {
    pub(crate) fn new(seed: u64, executions: usize, depth: usize) -> Self {
        Self {
            random: Random(seed),
            left: executions,
            depth,
            step: 0,
            longest: 16,
            priorities: HashMap::new(),
            changes: Vec::new(),
            lowest: 0,
        }
    }
}

impl Strategy for Pct {
    fn next(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.longest = self.longest.max(self.step);
        self.step = 0;
        self.priorities.clear();
        self.lowest = 1 << 32;
        let longest = self.longest;
        let random = &mut self.random;
        self.changes = (0..self.depth).map(|_| random.below(longest)).collect();
        true
    }

    fn choose(&mut self, key: (u32, u32), choices: &[Choice]) -> Option<usize> {
        self.step += 1;
        if self.changes.contains(&self.step) {
            self.lowest -= 1;
            self.priorities.insert((key.0, 0), self.lowest);
        }
        let mut best = (0, 0);
        for (index, choice) in choices.iter().enumerate() {
            // A deadline is an actor of its own; so is which waiter is called.
            let random = &mut self.random;
            let priority = *self
                .priorities
                .entry((choice.task, choice.alternative))
                .or_insert_with(|| (1 << 32) + (random.next() >> 1));
            if priority > best.0 {
                best = (priority, index);
            }
        }
        Some(best.1)
    }
}

/// The default everywhere, except where told.
pub(crate) struct Guided {
    deviations: Deviations,
    left: bool,
}

impl Guided {
    pub(crate) fn new(deviations: Deviations) -> Self {
        Self { deviations, left: true }
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
        Some(told.unwrap_or(0))
    }
}
