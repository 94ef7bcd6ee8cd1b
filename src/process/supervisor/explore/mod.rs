//! Every order of events, to a stated depth, against a simulated world.
//!
//! The world plays the shell, the sockets and the workers: it answers the
//! supervisor's questions as the progress word would, and at each step may let
//! a worker start, finish, report, die, or block; let time pass; cancel, shut
//! down, terminate; or bring stale news. Equal states are visited once. In
//! every state reached the invariants of `mod.rs` hold, those that say that
//! nothing which could go on is left waiting among them (`check.rs`), and from
//! every state a world that is kind from then on ends with one outcome for
//! each task.
//!
//! Does not cover: more than two workers or four tasks; batches of more than
//! two; the answers to questions arriving later (the shell answers under the
//! same lock); whether the shell brings an event that is due.

mod check;
mod moves;
mod world;

use super::*;
use moves::Move;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use world::{Budget, Socket, World};

fn config() -> Config {
    Config {
        workers: 2,
        depth: 2,
        batch: Batch::Fixed(2),
        deadline: Some(2),
        max_tasks: Some(3),
        attempts: 1,
        intensity: None,
        idle_deaths: 4,
        steal_after: 1,
    }
}

/// Visits every state within `depth` moves; returns how many there were.
fn explore(name: &str, config: Config, budget: Budget, depth: usize) -> usize {
    explore_from(World::new(config, budget), name, depth)
}

/// The same from a world to which something has happened.
fn explore_from(start: World, name: &str, depth: usize) -> usize {
    let (mut seen, mut known) = (States::default(), States::default());
    let mut layer = vec![start];
    let mut orders: u64 = 0;
    for _ in 0..depth {
        let mut next = Vec::new();
        for world in layer {
            for step in world.moves(false) {
                orders += 1;
                let mut after = world.clone();
                after.make(&step);
                after.check();
                if seen.insert(fingerprint(&after)) {
                    after.ends_well(&mut known);
                    next.push(after);
                }
            }
        }
        layer = next;
    }
    println!("{name}: {} states, {orders} moves, depth {depth}", seen.len());
    seen.len()
}

/// 128 bits stand for a state: two of a few million are alike by chance once
/// in some 10^25 runs.
fn fingerprint(world: &World) -> u128 {
    let mut hasher = Folded([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]);
    world.hash(&mut hasher);
    u128::from(hasher.0[0]) << 64 | u128::from(hasher.0[1])
}

/// Two lanes of folded multiplication: the standard hasher, twice and
/// unoptimised, would take most of the search's time.
struct Folded([u64; 2]);

impl Hasher for Folded {
    fn write_u64(&mut self, word: u64) {
        let [left, right] = &mut self.0;
        *left = fold(*left ^ word, 0x9e37_79b9_7f4a_7c15);
        *right = fold(*right ^ word, 0xc2b2_ae3d_27d4_eb4f);
    }
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }
    fn finish(&self) -> u64 {
        self.0[0]
    }
}

fn fold(word: u64, odd: u64) -> u64 {
    let product = u128::from(word) * u128::from(odd);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(odd)
}

/// States by their fingerprints, which need no further hashing.
type States = HashSet<u128, BuildHasherDefault<Low>>;

#[derive(Default)]
struct Low(u64);

impl Hasher for Low {
    fn write_u128(&mut self, print: u128) {
        self.0 = print as u64;
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("for fingerprints only");
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

const CALM: Budget =
    Budget { submits: 0, largest: 2, deaths: 0, blocks: 0, ticks: 0, cancels: 0, stale: 0 };

/// Everything may happen, in any order, at most once or twice each.
#[test]
fn every_order_of_events() {
    let budget =
        Budget { submits: 2, deaths: 2, blocks: 1, ticks: 3, cancels: 1, stale: 1, ..CALM };
    assert!(explore("everything", config(), budget, 6) > 1_000);
}

/// Few kinds of events, deeper: workers die under batches.
#[test]
fn every_order_of_deaths() {
    let budget = Budget { submits: 2, deaths: 2, stale: 1, ..CALM };
    let config = Config { deadline: None, max_tasks: None, ..config() };
    assert!(explore("deaths", config, budget, 8) > 1_000);
}

/// The same for one worker that is given several tasks at a time.
#[test]
fn every_order_of_deaths_in_batches() {
    let budget = Budget { submits: 2, largest: 4, deaths: 2, blocks: 1, stale: 1, ..CALM };
    let config = Config { workers: 1, deadline: None, max_tasks: None, ..config() };
    assert!(explore("deaths in batches", config, budget, 8) > 1_000);
}

/// Few kinds of events, deeper: deadlines, cancels and taking back.
#[test]
fn every_order_of_deadlines_and_cancels() {
    let budget = Budget { submits: 2, ticks: 3, cancels: 2, ..CALM };
    let config = Config { max_tasks: None, ..config() };
    assert!(explore("deadlines and cancels", config, budget, 8) > 1_000);
}

/// Two of five tasks travel together to one worker, whose socket is full then;
/// the other worker has done two of the others and will soon be idle.
#[test]
fn every_order_of_taking_back() {
    let budget =
        Budget { submits: 1, largest: 5, deaths: 1, blocks: 1, ticks: 3, cancels: 1, ..CALM };
    let mut world = World::new(Config { max_tasks: None, ..config() }, budget);
    let [busy, quick] = [WorkerId(0), WorkerId(1)];
    world.make(&Move::Next(Socket::IsFilled));
    for step in [Move::Submit(5), Move::Ready(busy), Move::Ready(quick)] {
        world.make(&step);
    }
    for _ in 0..2 {
        world.make(&Move::Advance(quick));
        world.make(&Move::Advance(quick));
        world.make(&Move::ReportDone(quick));
    }
    world.check();
    assert_eq!(world.supervisor.queued, 0);
    assert!(explore_from(world, "taking back", 6) > 1_000);
}

/// An idempotent task is tried again, but not for ever.
#[test]
fn every_order_of_retries() {
    let budget = Budget { submits: 1, deaths: 3, ..CALM };
    let config = Config { deadline: None, max_tasks: None, attempts: 2, ..config() };
    assert!(explore("retries", config, budget, 10) > 1_000);
}

/// Workers that die too often break the pool; every task still has an outcome.
#[test]
fn every_order_of_breakdowns() {
    let budget = Budget { submits: 2, deaths: 3, blocks: 1, ..CALM };
    let config = Config { intensity: Some((1, 10)), idle_deaths: 2, deadline: None, ..config() };
    assert!(explore("breakdowns", config, budget, 8) > 1_000);
}
