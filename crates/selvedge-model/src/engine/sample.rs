//! Ways through the tree that do not mean to see all of it.

use super::strategy::{Choice, Dfs, Does, Strategy};
use std::collections::HashMap;

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

/// Schedules that are tried before any other: the tasks take turns, one
/// operation each, for some rounds; then each runs as far as it can. So every
/// task is stopped at the same place, and the rest happens in a direction, or in
/// the other. Or only one task is stopped, and goes on when the others have ended. Most updates that get lost, and most locks that are taken in two
/// orders, are found by one of these.
pub(crate) struct Opening {
    number: usize,
    /// Whose turn is next, and how many operations each task did.
    turn: u32,
    last: u32,
    done: HashMap<u32, u32>,
    begins: bool,
    ends: bool,
}

/// How many rounds, who has the first turn, and whether the newest task goes
/// first: in the rounds, and after them.
struct Plan {
    rounds: u32,
    first: u32,
    newest: bool,
    newest_ends: bool,
    /// The only task that has rounds, if not all have.
    stopped: Option<u32>,
}

/// The number of the body's task, of the one that it spawned first, and one that
/// is behind all.
const BODY: u32 = 1;
const SPAWNED: u32 = 2;
const BEHIND: u32 = u32::MAX;

const fn all(rounds: u32, first: u32, newest: bool, newest_ends: bool) -> Plan {
    Plan { rounds, first, newest, newest_ends, stopped: None }
}

const fn one(rounds: u32, task: u32, newest_ends: bool) -> Plan {
    Plan { rounds, first: task, newest: true, newest_ends, stopped: Some(task) }
}

const OPENINGS: [Plan; 10] = [
    all(u32::MAX, BEHIND, true, true),
    all(1, BEHIND, true, false),
    all(1, BODY, false, true),
    all(u32::MAX, SPAWNED, false, false),
    one(2, BODY, true),
    all(2, BODY, false, true),
    one(3, BEHIND, false),
    all(2, BEHIND, true, false),
    one(3, BODY, true),
    one(2, BEHIND, false),
];

impl Opening {
    pub(crate) const COUNT: u64 = OPENINGS.len() as u64;

    pub(crate) fn new() -> Self {
        Self { number: 0, turn: 0, last: 0, done: HashMap::new(), begins: false, ends: false }
    }
}

impl Opening {
    /// A task has done an operation: the next has its turn.
    fn did(&mut self, task: u32) {
        self.begins = false;
        *self.done.entry(task).or_insert(0) += 1;
        self.last = task;
        let newest = OPENINGS[self.number - 1].newest;
        self.turn = if newest { task.saturating_sub(1) } else { task + 1 };
    }
}

/// The first in a direction, from `next` on if there is such a one.
fn turn(choices: &[(usize, &Choice)], next: u32, newest: bool) -> usize {
    let after = |choice: &Choice| {
        if newest { choice.task > next } else { choice.task < next }
    };
    let key = |choice: &Choice| {
        let task = i64::from(choice.task);
        (after(choice), if newest { -task } else { task })
    };
    choices.iter().min_by_key(|(_, choice)| key(choice)).map_or(0, |(index, _)| *index)
}

impl Strategy for Opening {
    fn next(&mut self) -> bool {
        let Some(plan) = OPENINGS.get(self.number) else {
            return false;
        };
        self.number += 1;
        (self.turn, self.last) = (plan.first, 0);
        self.done.clear();
        (self.begins, self.ends) = (false, false);
        true
    }

    fn choose(&mut self, (from, _): (u32, u32), choices: &[Choice]) -> Option<usize> {
        let plan = &OPENINGS[self.number - 1];
        let own = choices.iter().position(|c| c.task == from && c.deadline.is_none());
        // A start and a spawn are nobody's turn.
        if let Some(own) = own
            && (self.begins || choices[own].does == Does::Spawn)
        {
            if choices[own].does != Does::Spawn {
                self.did(from);
            }
            return Some(own);
        }
        // Deadlines last, as they stand.
        let mut list: Vec<(usize, &Choice)> = choices.iter().enumerate().collect();
        if list.iter().any(|(_, choice)| choice.deadline.is_none()) {
            list.retain(|(_, choice)| choice.deadline.is_none());
        }
        let newest = choices.iter().map(|choice| choice.task).max().unwrap_or(BODY);
        let due = |choice: &Choice| {
            self.done.get(&choice.task).is_none_or(|done| *done < plan.rounds)
                && plan.stopped.is_none_or(|task| choice.task == task.min(newest))
        };
        let mut pick = None;
        if !self.ends {
            let due: Vec<_> = list.iter().copied().filter(|(_, choice)| due(choice)).collect();
            if due.is_empty() {
                self.ends = true;
                self.last = 0;
            } else {
                pick = Some(turn(&due, self.turn, plan.newest));
            }
        }
        let pick = match (pick, own) {
            (Some(pick), _) => pick,
            (None, Some(own)) if self.last == from => own,
            (None, _) => turn(&list, if plan.newest_ends { BEHIND } else { 0 }, plan.newest_ends),
        };
        let choice = &choices[pick];
        self.begins = choice.does == Does::Start;
        if !self.begins {
            self.did(choice.task);
        }
        Some(pick)
    }
}

/// Anything at any step.
struct Walk(Random);

impl Walk {
    fn choose(&mut self, choices: &[Choice]) -> usize {
        self.0.below(choices.len())
    }
}

/// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and
/// Nagarakatte, ASPLOS 2010): random priorities, lowered at a few random steps.
struct Pct {
    random: Random,
    depth: usize,
    step: usize,
    longest: usize,
    priorities: HashMap<(u32, usize), u64>,
    changes: Vec<usize>,
    lowest: u64,
}

impl Pct {
    fn next(&mut self) {
        self.longest = self.longest.max(self.step);
        self.step = 0;
        self.priorities.clear();
        self.lowest = 1 << 32;
        let (longest, random) = (self.longest, &mut self.random);
        self.changes = (0..self.depth).map(|_| random.below(longest)).collect();
    }

    fn choose(&mut self, from: u32, choices: &[Choice]) -> usize {
        self.step += 1;
        if self.changes.contains(&self.step) {
            self.lowest -= 1;
            self.priorities.insert((from, 0), self.lowest);
        }
        highest(&mut self.priorities, &mut self.random, choices)
    }
}

/// The choice with the highest priority; who has none draws one. A deadline is
/// an actor of its own; so is which waiter is called.
fn highest(
    priorities: &mut HashMap<(u32, usize), u64>,
    random: &mut Random,
    choices: &[Choice],
) -> usize {
    let mut best = (0, 0);
    for (index, choice) in choices.iter().enumerate() {
        let priority = *priorities
            .entry((choice.task, choice.alternative))
            .or_insert_with(|| (1 << 32) + (random.next() >> 1));
        if priority > best.0 {
            best = (priority, index);
        }
    }
    best.1
}

/// Partial order sampling (Yuan, Yang and Gu, CAV 2018): each operation draws a
/// priority, and draws again once another has run that it conflicts with.
struct Pos {
    random: Random,
    priorities: HashMap<(u32, usize), u64>,
}

impl Pos {
    fn choose(&mut self, choices: &[Choice]) -> usize {
        let pick = highest(&mut self.priorities, &mut self.random, choices);
        let picked = &choices[pick];
        self.priorities.retain(|(task, _), _| *task != picked.task);
        for choice in choices.iter().filter(|choice| choice.conflicts(picked)) {
            self.priorities.remove(&(choice.task, choice.alternative));
        }
        pick
    }
}

/// Schedules at random, of three sorts in turn: each finds what the others are
/// unlikely to.
pub(crate) struct Sampled {
    left: u64,
    turn: usize,
    pos: Pos,
    pct: Pct,
    walk: Walk,
}

impl Sampled {
    pub(crate) fn new(seed: u64, executions: u64) -> Self {
        let mut random = Random(seed);
        let mut seeds = || Random(random.next());
        Self {
            left: executions,
            turn: 0,
            pos: Pos { random: seeds(), priorities: HashMap::new() },
            pct: Pct {
                random: seeds(),
                depth: 3,
                step: 0,
                longest: 16,
                priorities: HashMap::new(),
                changes: Vec::new(),
                lowest: 0,
            },
            walk: Walk(seeds()),
        }
    }
}

impl Strategy for Sampled {
    fn next(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.turn = (self.turn + 1) % 3;
        match self.turn {
            1 => self.pos.priorities.clear(),
            2 => self.pct.next(),
            _ => {}
        }
        true
    }

    fn choose(&mut self, (from, _): (u32, u32), choices: &[Choice]) -> Option<usize> {
        Some(match self.turn {
            1 => self.pos.choose(choices),
            2 => self.pct.choose(from, choices),
            _ => self.walk.choose(choices),
        })
    }
}

/// Depth first, with three executions at random after each, to begin with:
/// who looks at every schedule in turn may be long in finding one that many
/// schedules show.
pub(crate) struct Mixed {
    dfs: Dfs,
    samples: Sampled,
    turn: u32,
    sampling: bool,
    walked: u64,
}

impl Mixed {
    pub(crate) fn new(dfs: Dfs, samples: Sampled) -> Self {
        Self { dfs, samples, turn: 0, sampling: false, walked: 0 }
    }
}

impl Strategy for Mixed {
    fn next(&mut self) -> bool {
        self.sampling = !self.turn.is_multiple_of(4) && self.samples.next();
        self.turn = self.turn.wrapping_add(1);
        if self.sampling {
            return true;
        }
        let more = self.dfs.next();
        self.walked += u64::from(more);
        more
    }

    fn choose(&mut self, key: (u32, u32), choices: &[Choice]) -> Option<usize> {
        if self.sampling {
            self.samples.choose(key, choices)
        } else {
            self.dfs.choose(key, choices)
        }
    }

    fn ended(&self) -> bool {
        self.sampling || self.dfs.ended()
    }

    fn complete(&self) -> bool {
        self.dfs.complete()
    }

    fn cut(&self) -> bool {
        self.dfs.cut()
    }

    fn walked(&self) -> Option<u64> {
        Some(self.walked)
    }
}
