//! Every order of events, to a stated depth, against a simulated cluster.
//!
//! The world plays the broker, the wires and the workers. At each step it may
//! let a message arrive, get lost or come twice; let a worker take, execute,
//! report, acknowledge, renew, stop for a while or die; restart the broker,
//! with its store or without; restart the caller under the same name; or let
//! time pass. As the real broker does, it lets anyone acknowledge anything.
//! Equal states are visited once. In every state reached the invariants of
//! `mod.rs` hold, and a worker that speaks of a delivery is the one that holds
//! it. From every state a world that is kind from then on ends with one outcome
//! for each item.
//!
//! Does not cover: more than two workers or three items; several runs of one
//! caller at a time; how long a message travels (time stands still while it
//! does, but for what a stopped worker has in its socket).

mod world;

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use world::{Faults, World};

/// Visits every state within `depth` moves; returns how many there were.
fn explore(name: &str, start: World, depth: usize) -> usize {
    let (mut seen, mut kind) = (HashSet::new(), HashSet::new());
    let mut layer = vec![start];
    let mut orders: u64 = 0;
    for _ in 0..depth {
        let mut next = Vec::new();
        for world in layer {
            for step in world.moves() {
                orders += 1;
                let mut after = world.clone();
                after.make(step);
                after.check();
                if seen.insert(fingerprint(&after)) {
                    after.ends_well(&mut kind);
                    next.push(after);
                }
            }
        }
        layer = next;
    }
    println!("{name}: {} states, {orders} moves, depth {depth}", seen.len());
    seen.len()
}

/// 128 bits stand for a state.
fn fingerprint(world: &World) -> u128 {
    let mut hasher = Folded([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]);
    world.hash(&mut hasher);
    u128::from(hasher.0[0]) << 64 | u128::from(hasher.0[1])
}

/// Two lanes of folded multiplication: the standard hasher, unoptimised, would
/// take most of the search's time.
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
        for word in bytes.chunks(8) {
            self.write_u64(word.iter().fold(1, |all, byte| all << 8 | u64::from(*byte)));
        }
    }
    fn finish(&self) -> u64 {
        self.0[0]
    }
}

fn fold(word: u64, odd: u64) -> u64 {
    let product = u128::from(word) * u128::from(odd);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(odd)
}

const NONE: Faults = Faults {
    lost: 0,
    doubled: 0,
    killed: 0,
    stopped: 0,
    restarts: 0,
    wiped: 0,
    full: 0,
    reconnects: 0,
    reborn: 0,
    ticks: 8,
};

#[test]
fn every_order_of_loss_and_duplication() {
    let faults = Faults { lost: 2, doubled: 2, ticks: 6, ..NONE };
    assert!(explore("loss and duplication", World::new(2, 2, faults), 10) > 10_000);
}

#[test]
fn every_order_of_deaths_and_stale_workers() {
    let faults = Faults { killed: 1, stopped: 2, ..NONE };
    assert!(explore("deaths and stale workers", World::new(2, 1, faults), 11) > 10_000);
}

#[test]
fn every_order_of_restarts_of_the_broker() {
    let faults = Faults { restarts: 1, wiped: 1, lost: 1, ..NONE };
    assert!(explore("restarts of the broker", World::new(2, 2, faults), 10) > 10_000);
}

#[test]
fn every_order_of_restarts_of_the_caller() {
    let faults = Faults { reborn: 1, reconnects: 1, killed: 1, ..NONE };
    assert!(explore("restarts of the caller", World::new(2, 1, faults), 11) > 10_000);
}

#[test]
fn every_order_with_a_full_store() {
    let faults = Faults { full: 2, lost: 1, ..NONE };
    assert!(explore("a full store", World::new(3, 2, faults), 10) > 5_000);
}

/// Everything at most once.
#[test]
fn every_order_of_events() {
    let faults = Faults {
        lost: 1,
        doubled: 1,
        killed: 1,
        stopped: 1,
        restarts: 1,
        wiped: 1,
        full: 1,
        reconnects: 1,
        reborn: 1,
        ticks: 6,
    };
    assert!(explore("everything", World::new(2, 2, faults), 8) > 10_000);
}

/// A batch ends each worker that takes it: the item that does is found, and
/// the other has its value.
#[test]
fn an_item_that_ends_its_workers_is_the_one_that_is_blamed() {
    for faults in [NONE, Faults { lost: 1, doubled: 1, ..NONE }] {
        let world = World::new(2, 2, faults).with_poison(1);
        assert!(explore("poison", world, 10) > 100);
    }
}

/// Deeper, by dice with fixed seeds: ten thousand long lives.
#[test]
fn long_lives() {
    let faults = Faults {
        lost: 4,
        doubled: 4,
        killed: 3,
        stopped: 3,
        restarts: 2,
        wiped: 1,
        full: 2,
        reconnects: 2,
        reborn: 1,
        ticks: 40,
    };
    let mut kind = HashSet::new();
    let mut steps = 0_u64;
    for seed in 1..=1_000_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut world = World::new(3, 1 + (seed % 2) as usize, faults);
        for _ in 0..120 {
            let moves = world.moves();
            if moves.is_empty() {
                break;
            }
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            world.make(moves[(dice % moves.len() as u64) as usize]);
            world.check();
            steps += 1;
        }
        world.ends_well(&mut kind);
    }
    println!("long lives: {steps} steps");
    assert!(steps > 100_000);
}
