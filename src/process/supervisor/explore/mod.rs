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
//! Does not cover: more than two workers or four tasks (but see the last tests); batches of more than
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
        grace: 100,
        max_tasks: Some(3),
        attempts: 1,
        intensity: None,
        restarts: Restarts { at_once: 2, first: 1, longest: 2, setbacks: 2, patience: 2 },
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
    let config = Config { intensity: Some((1, 10)), deadline: None, ..config() };
    assert!(explore("breakdowns", config, budget, 8) > 1_000);
}

/// Starts fail and workers are lost with nothing to show, while time passes.
#[test]
fn every_order_of_setbacks() {
    let budget = Budget { submits: 2, deaths: 4, ticks: 4, cancels: 1, ..CALM };
    let config = Config { deadline: None, max_tasks: None, ..config() };
    assert!(explore("setbacks", config, budget, 7) > 1_000);
}

/// The same where one worker is started at a time.
#[test]
fn every_order_of_setbacks_one_by_one() {
    let budget = Budget { submits: 2, deaths: 3, ticks: 3, ..CALM };
    let restarts = Restarts { at_once: 1, ..config().restarts };
    let config = Config { deadline: None, max_tasks: None, restarts, ..config() };
    assert!(explore("setbacks one by one", config, budget, 8) > 1_000);
}

/// A pool of two with two tasks none of whose starts succeed before `healed`:
/// when it broke, and how many were tried.
fn barren(restarts: Restarts, healed: Nanos) -> (Option<Nanos>, u32) {
    let config = Config { deadline: None, max_tasks: None, restarts, ..config() };
    let mut world = World::new(config, Budget { submits: 1, deaths: 1_000, ..CALM });
    world.make(&Move::Submit(2));
    let mut tried = 0;
    loop {
        let starting = world.sims.iter().find(|(_, sim)| !sim.ready).map(|(id, _)| *id);
        match starting {
            _ if world.now >= healed => {
                world.ends_well(&mut States::default());
                return (None, tried);
            }
            Some(id) => {
                tried += 1;
                world.make(&Move::SpawnFails(id));
            }
            None => world.make(&Move::Wait),
        }
        world.check();
        if world.broke {
            return (Some(world.now), tried);
        }
    }
}

/// Invariant 5 with the pool's own figures: where no worker can be had the
/// pool breaks once it has been patient, and not after a moment; the starts
/// that it tries are few.
#[test]
fn a_pool_without_workers_is_patient_and_not_for_ever() {
    const MS: Nanos = 1_000_000;
    let ours = crate::process::builder::restarts(std::time::Duration::from_secs(5));
    let (broke, tried) = barren(ours.clone(), Nanos::MAX);
    let broke = broke.expect("it gives up") / MS;
    assert!((5_000..6_000).contains(&broke), "after {broke} ms");
    assert!((10..30).contains(&tried), "{tried} starts");
    assert_eq!(barren(ours, 4_900 * MS).0, None, "mended in time");
    let hasty = crate::process::builder::restarts(std::time::Duration::ZERO);
    let (broke, tried) = barren(hasty, Nanos::MAX);
    assert!(broke.is_some_and(|at| at < 100 * MS) && tried >= 4, "{broke:?}, {tried} starts");
    let endless = crate::process::builder::restarts(std::time::Duration::MAX);
    assert_eq!(barren(endless, 400_000 * MS).0, None, "it goes on");
}

/// Starts that fail together are one setback: the next is tried soon.
#[test]
fn starts_that_fail_together_are_one_setback() {
    let restarts = Restarts { at_once: 9, first: 1, longest: 1_000, ..config().restarts };
    let config = Config { workers: 9, restarts, ..config() };
    let mut world = World::new(config, Budget { submits: 1, deaths: 9, ..CALM });
    world.make(&Move::Submit(9));
    for id in 0..9 {
        world.make(&Move::SpawnFails(WorkerId(id)));
    }
    assert_eq!(world.supervisor.wake_at(), Some(world.now + 1));
}

/// As many workers as there are tasks, and never more than seats.
#[test]
fn workers_are_started_for_tasks() {
    let config = Config { workers: 3, ..config() };
    let restarts = Restarts { at_once: usize::MAX, ..config.restarts.clone() };
    let mut world = World::new(Config { restarts, ..config }, Budget { submits: 9, ..CALM });
    let started = |world: &World| world.sims.len();
    assert_eq!(started(&world), 0, "no work");
    world.make(&Move::Submit(1));
    assert_eq!(started(&world), 1);
    world.make(&Move::Ready(WorkerId(0)));
    assert_eq!(started(&world), 1, "the task is taken");
    world.make(&Move::Submit(1));
    assert_eq!(started(&world), 2, "a second task, though the first worker holds both");
    world.make(&Move::Submit(7));
    assert_eq!(started(&world), 3, "all seats");
}

/// Ticks until some worker is told to die, with what its word says after each
/// tick; returns how long that took.
fn ticks_to_the_kill(world: &mut World, mut word: impl FnMut(Nanos) -> (u32, Nanos)) -> Nanos {
    let began = world.now;
    while world.sims[&WorkerId(0)].told != world::Told::Die {
        let slot = &mut world.sims.get_mut(&WorkerId(0)).unwrap().slots[0];
        (slot.started, slot.since) = word(world.now - began);
        world.now += 1;
        world.feed(Event::Tick);
        assert!(world.now - began < 50, "it lives on: {world:#?}");
    }
    world.now - began
}

/// Invariant 9: a worker whose word says anything at all is killed. The task
/// that it should have run has timed out, what it finished before is delivered,
/// and the rest runs elsewhere. Where all is said to be finished nobody is
/// blamed: the results are there or they are not.
#[test]
fn a_deadline_ends_in_a_kill_whatever_the_word_says() {
    type Word = fn(Nanos) -> (u32, Nanos);
    let lies: [(&str, Word, Option<u64>); 7] = [
        ("nothing ever starts", |_| (0, 0), Some(0)),
        ("it started just now, always", |now| (1, now + 1), Some(0)),
        ("it will have started", |_| (1, Nanos::MAX), Some(0)),
        ("it had started, and then not", |now| (u32::from(now < 2), 0), Some(0)),
        ("the second runs, and then the first", |now| (if now < 2 { 2 } else { 1 }, now), Some(1)),
        ("to and fro", |now| ((now / 2 % 2) as u32, Nanos::MAX), Some(0)),
        ("all is finished and never reported", |_| (3, 0), None),
    ];
    for (lie, word, blamed) in lies {
        let budget = Budget { submits: 1, largest: 4, ..CALM };
        let config = Config { workers: 1, grace: 3, max_tasks: None, ..config() };
        let mut world = World::new(config, budget);
        world.make(&Move::Submit(4));
        world.make(&Move::Ready(WorkerId(0)));
        assert_eq!(world.sims[&WorkerId(0)].slots[0].tasks, [0, 1]);
        let took = ticks_to_the_kill(&mut world, word);
        assert!((2..=2 * (2 + 3)).contains(&took), "{lie}: {took}");
        let mut out = Vec::new();
        let started = world::words(&world.sims[&WorkerId(0)]);
        let event = Event::Exited { worker: WorkerId(0), started };
        world.supervisor.step(world.now, event, &mut out);
        let (mut finished, mut delivered) = (Vec::new(), 0);
        for action in &out {
            match action {
                Action::Finish { run, verdict } => finished.push((run.first, run.len, *verdict)),
                Action::Deliver { runs, .. } => {
                    delivered += runs.iter().map(|run| u64::from(run.len)).sum::<u64>();
                }
                _ => {}
            }
        }
        let expected: Vec<_> =
            blamed.map(|task| (task, 1, Verdict::TimedOut)).into_iter().collect();
        assert_eq!(finished, expected, "{lie}");
        assert_eq!(delivered, blamed.unwrap_or(2), "{lie}");
        assert_eq!(world.supervisor.queued, 4 - delivered - finished.len() as u64, "{lie}");
    }
}
