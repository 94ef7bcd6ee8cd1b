//! The reduced search against the plain one, on random programs: the same
//! outcomes, and the same word on whether one can fail.

use super::Every;
use crate::engine::{self, Dfs, Settings, Strategy};
use crate::sync::atomic::{AtomicU32, Ordering::SeqCst};
use crate::sync::{Condvar, Mutex, Once, RwLock, mpsc};
use crate::thread;
use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof};
use proptest::strategy::Strategy as Values;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What a thread does; the numbers say to which of two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Load(usize),
    Store(usize),
    Add(usize),
    Swap(usize),
    CompareExchange(usize),
    /// Adds to the locked value, with an operation on an atomic inside.
    Lock(usize, Option<usize>),
    /// Looks at the locked value, and leaves it as it is.
    Look(usize),
    /// The first lock, and in it the second.
    Both(bool),
    TryLock(usize),
    Read(usize),
    Write(usize),
    TryWrite(usize),
    Send,
    TryReceive,
    /// Receives, and gives up after so many seconds.
    Receive(u64),
    /// Waits for a notification, for at most so many seconds.
    Wait(u64),
    NotifyOne,
    NotifyAll,
    ParkFor(u64),
    Unpark,
    Sleep(u64),
    Now,
    Yield,
    Once,
    /// A lock that is waited for with no deadline: may hang.
    WaitForFlag,
    SetFlag,
}

fn op() -> impl Values<Value = Op> {
    let which = 0..2_usize;
    prop_oneof![
        4 => which.clone().prop_map(Op::Load),
        4 => which.clone().prop_map(Op::Store),
        2 => which.clone().prop_map(Op::Add),
        1 => which.clone().prop_map(Op::Swap),
        2 => which.clone().prop_map(Op::CompareExchange),
        3 => (which.clone(), prop::option::of(0..2_usize)).prop_map(|(a, b)| Op::Lock(a, b)),
        1 => which.clone().prop_map(Op::Look),
        1 => any::<bool>().prop_map(Op::Both),
        1 => which.clone().prop_map(Op::TryLock),
        2 => which.clone().prop_map(Op::Read),
        2 => which.clone().prop_map(Op::Write),
        1 => which.prop_map(Op::TryWrite),
        2 => Just(Op::Send),
        1 => Just(Op::TryReceive),
        1 => (1..4_u64).prop_map(Op::Receive),
        1 => (1..4_u64).prop_map(Op::Wait),
        1 => Just(Op::NotifyOne),
        1 => Just(Op::NotifyAll),
        1 => (1..4_u64).prop_map(Op::ParkFor),
        1 => Just(Op::Unpark),
        1 => (1..3_u64).prop_map(Op::Sleep),
        1 => Just(Op::Now),
        1 => Just(Op::Yield),
        1 => Just(Op::Once),
        1 => Just(Op::WaitForFlag),
        1 => Just(Op::SetFlag),
    ]
}

pub(super) fn programs() -> impl Values<Value = Vec<Vec<Op>>> {
    prop_oneof![
        3 => prop::collection::vec(prop::collection::vec(op(), 1..4), 2..3),
        1 => prop::collection::vec(prop::collection::vec(op(), 1..2), 3..4),
    ]
}

/// What the threads share.
struct Shared {
    atomics: [AtomicU32; 2],
    locks: [Mutex<u32>; 2],
    both: [RwLock<u32>; 2],
    /// Whether it is set, and how many have waited.
    flag: Mutex<(bool, u32)>,
    called: Condvar,
    sender: mpsc::SyncSender<u32>,
    receiver: Mutex<mpsc::Receiver<u32>>,
    once: Once,
    threads: Mutex<Vec<thread::Thread>>,
}

fn act(op: Op, me: u32, shared: &Shared) -> u32 {
    let seconds = Duration::from_secs;
    match op {
        Op::Load(n) => shared.atomics[n].load(SeqCst),
        Op::Store(n) => {
            shared.atomics[n].store(me, SeqCst);
            0
        }
        Op::Add(n) => shared.atomics[n].fetch_add(me, SeqCst),
        Op::Swap(n) => shared.atomics[n].swap(me, SeqCst),
        Op::CompareExchange(n) => match shared.atomics[n].compare_exchange(0, me, SeqCst, SeqCst) {
            Ok(_) => 100,
            Err(other) => other,
        },
        Op::Lock(n, inner) => {
            let mut value = shared.locks[n].lock().unwrap();
            *value = *value * 3 + me;
            if let Some(inner) = inner {
                *value += shared.atomics[inner].load(SeqCst);
            }
            *value
        }
        Op::Look(n) => *shared.locks[n].lock().unwrap(),
        Op::Both(turned) => {
            let [a, b] = if turned { [1, 0] } else { [0, 1] };
            let first = shared.locks[a].lock().unwrap();
            *first + *shared.locks[b].lock().unwrap()
        }
        Op::TryLock(n) => shared.locks[n].try_lock().map_or(200, |mut value| {
            *value += me;
            *value
        }),
        Op::Read(n) => {
            let value = shared.both[n].read().unwrap();
            *value + shared.atomics[n].load(SeqCst)
        }
        Op::Write(n) => {
            let mut value = shared.both[n].write().unwrap();
            *value = *value * 3 + me;
            // A step with the lock in hand: to take it and to give it up are two.
            *value + shared.atomics[n].load(SeqCst)
        }
        Op::TryWrite(n) => shared.both[n].try_write().map_or(200, |mut value| {
            *value += me;
            *value
        }),
        Op::Send => shared.sender.try_send(me).map_or(300, |()| 0),
        Op::TryReceive => shared.receiver.lock().unwrap().try_recv().unwrap_or(400),
        Op::Receive(limit) => {
            let receiver = shared.receiver.lock().unwrap();
            receiver.recv_timeout(seconds(limit)).unwrap_or(500)
        }
        Op::Wait(limit) => {
            let mut flag = shared.flag.lock().unwrap();
            flag.1 += 1;
            let before = flag.1;
            let (_flag, late) = shared.called.wait_timeout(flag, seconds(limit)).unwrap();
            10 * before + u32::from(late.timed_out())
        }
        Op::NotifyOne => {
            shared.called.notify_one();
            0
        }
        Op::NotifyAll => {
            shared.called.notify_all();
            0
        }
        Op::ParkFor(limit) => {
            thread::park_timeout(seconds(limit));
            engine::now().as_secs() as u32
        }
        Op::Unpark => {
            let threads = shared.threads.lock().unwrap();
            if let Some(thread) = threads.first() {
                thread.unpark();
            }
            threads.len() as u32
        }
        Op::Sleep(limit) => {
            thread::sleep(seconds(limit));
            engine::now().as_secs() as u32
        }
        Op::Now => engine::now().as_secs() as u32,
        Op::Yield => {
            thread::yield_now();
            0
        }
        Op::Once => {
            let mut mine = 0;
            shared.once.call_once(|| mine = shared.atomics[0].load(SeqCst) + 1);
            mine
        }
        Op::WaitForFlag => {
            let mut flag = shared.flag.lock().unwrap();
            while !flag.0 {
                flag = shared.called.wait(flag).unwrap();
            }
            7
        }
        Op::SetFlag => {
            shared.flag.lock().unwrap().0 = true;
            shared.called.notify_all();
            0
        }
    }
}

/// What each thread saw, and what is left.
pub(super) type Outcome = (Vec<Vec<u32>>, Vec<u32>);

fn run(program: &[Vec<Op>]) -> Outcome {
    let (sender, receiver) = mpsc::sync_channel(2);
    let shared = Arc::new(Shared {
        atomics: [const { AtomicU32::new(0) }; 2],
        locks: [const { Mutex::new(0) }; 2],
        both: [const { RwLock::new(0) }; 2],
        flag: Mutex::new((false, 0)),
        called: Condvar::new(),
        sender,
        receiver: Mutex::new(receiver),
        once: Once::new(),
        threads: Mutex::new(Vec::new()),
    });
    let threads: Vec<_> = (1..)
        .zip(program)
        .map(|(me, ops)| {
            let (shared, ops) = (Arc::clone(&shared), ops.clone());
            thread::spawn(move || ops.iter().map(|op| act(*op, me, &shared)).collect::<Vec<_>>())
        })
        .collect();
    if program.iter().flatten().any(|op| matches!(op, Op::Unpark)) {
        *shared.threads.lock().unwrap() = threads.iter().map(|one| one.thread().clone()).collect();
    }
    let seen = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let mut left: Vec<u32> = shared.atomics.iter().map(|one| one.load(SeqCst)).collect();
    left.extend(shared.locks.iter().map(|one| *one.lock().unwrap()));
    left.extend(shared.both.iter().map(|one| *one.read().unwrap()));
    left.extend(std::iter::from_fn(|| shared.receiver.lock().unwrap().try_recv().ok()));
    (seen, left)
}

/// What a search came to.
#[derive(Debug)]
pub(super) struct Found<O> {
    pub(super) outcomes: BTreeSet<O>,
    pub(super) fails: bool,
    pub(super) executions: u64,
}

/// Searches; `None` if it did not come to an end.
pub(super) fn found<O: Ord + Send + 'static>(
    strategy: Box<dyn Strategy>,
    settings: Settings,
    most: u64,
    body: impl Fn() -> O + Send + Sync + 'static,
) -> Option<Found<O>> {
    let seen = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let into = Arc::clone(&seen);
    let body: engine::Body = Arc::new(move || {
        let outcome = body();
        into.lock().unwrap().insert(outcome);
        Ok(())
    });
    let run = engine::drive(strategy, &settings, false, (most, None), &body);
    let outcomes = std::mem::take(&mut *seen.lock().unwrap());
    let fails = run.failed.is_some();
    (run.complete || fails).then_some(Found { outcomes, fails, executions: run.executions })
}

pub(super) fn search(
    strategy: Box<dyn Strategy>,
    ordered: bool,
    most: u64,
    program: &[Vec<Op>],
) -> Option<Found<Outcome>> {
    let tries = |op: &Op| matches!(op, Op::TryLock(_) | Op::TryWrite(_));
    let settings = Settings {
        steps: 5_000,
        ordered,
        panics_are_values: false,
        unlock_steps: program.iter().flatten().any(tries),
        closed: true,
        trusted: Vec::new(),
        patience: std::time::Duration::from_secs(60),
    };
    let program = program.to_vec();
    found(strategy, settings, most, move || run(&program))
}

fn plain(ordered: bool, most: u64, program: &[Vec<Op>]) -> Option<Found<Outcome>> {
    search(Box::new(Dfs::new(u32::MAX)), ordered, most, program)
}

fn reduced(ordered: bool, most: u64, program: &[Vec<Op>]) -> Found<Outcome> {
    let found = search(Box::new(Every::new(ordered)), ordered, most, program);
    found.unwrap_or_else(|| panic!("more than {most} executions for {program:?}"))
}

/// How many programs; more in a run by hand.
pub(super) fn cases() -> u32 {
    std::env::var("SELVEDGE_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

fn agree(ordered: bool) {
    // Programs that the plain search comes to an end of.
    const MOST: u64 = 3_000;
    let mut runner = TestRunner::new(Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    });
    let counts = std::cell::RefCell::new((0, 0, Vec::new()));
    runner
        .run(&programs(), |program| {
            let mut counts = counts.borrow_mut();
            let Some(all) = plain(ordered, MOST, &program) else {
                counts.0 += 1;
                return Ok(());
            };
            let found = reduced(ordered, 2 * all.executions + 10, &program);
            // A failure ends a search: the outcomes seen by then say nothing.
            prop_assert_eq!(found.fails, all.fails, "whether it can fail");
            if all.fails {
                counts.1 += 1;
                return Ok(());
            }
            prop_assert_eq!(found.outcomes, all.outcomes, "outcomes");
            counts.2.push(all.executions as f64 / found.executions as f64);
            Ok(())
        })
        .unwrap();
    let (large, failing, mut ratios) = counts.into_inner();
    ratios.sort_by(f64::total_cmp);
    println!(
        "{} programs the same, {failing} fail in both, {large} too large for the plain search; \
         plain / reduced: {:.1} at least, {:.1} in the median, {:.0} at most",
        ratios.len(),
        ratios[0],
        ratios[ratios.len() / 2],
        ratios[ratios.len() - 1]
    );
}

#[test]
fn the_same_outcomes_as_the_plain_search() {
    agree(true);
}

#[test]
fn the_same_outcomes_with_deadlines_at_any_step() {
    agree(false);
}

/// For each rule of what conflicts, and of what to try, a program that needs
/// it.
#[test]
fn each_rule_has_a_program() {
    use Op::*;
    let programs: &[&[&[Op]]] = &[
        &[&[Load(0), Store(0)], &[Load(0), Store(0)]],
        &[&[Store(0), Load(1)], &[Store(1), Load(0)]],
        &[&[Lock(0, None)], &[Lock(0, None)]],
        &[&[Lock(0, Some(0))], &[Lock(0, Some(0)), Store(0)]],
        &[&[Look(0)], &[Lock(0, None)]],
        &[&[Look(0), Store(0)], &[Lock(0, Some(0))]],
        &[&[TryLock(0)], &[Lock(0, Some(1))]],
        &[&[TryLock(0)], &[Look(0), Load(0)]],
        &[&[Write(0)], &[Read(0)]],
        &[&[TryWrite(0)], &[Read(0)]],
        &[&[Read(0)], &[TryWrite(0)]],
        &[&[Send], &[TryReceive]],
        &[&[Receive(1)], &[Send]],
        &[&[Wait(1)], &[NotifyOne]],
        &[&[Wait(1)], &[Wait(1)], &[NotifyOne]],
        &[&[ParkFor(1)], &[Unpark]],
        &[&[ParkFor(1), ParkFor(1)], &[Unpark, Unpark]],
        &[&[Sleep(1)], &[Load(0), Now]],
        &[&[Sleep(2), Load(0)], &[Sleep(1), Store(0)]],
        &[&[Once], &[Once], &[Add(0)]],
        &[&[Both(false)], &[Both(true)]],
        &[&[WaitForFlag], &[SetFlag]],
        &[&[Yield, Load(0)], &[Store(0)]],
        &[&[Store(0)], &[Store(1)], &[Load(1), Load(0)]],
    ];
    for program in programs {
        let program: Vec<Vec<Op>> = program.iter().map(|ops| ops.to_vec()).collect();
        for ordered in [true, false] {
            let Some(all) = plain(ordered, 20_000, &program) else {
                assert!(!ordered, "{program:?} is too large");
                continue;
            };
            let found = reduced(ordered, all.executions, &program);
            assert_eq!(found.fails, all.fails, "{program:?}");
            if !all.fails {
                assert_eq!(found.outcomes, all.outcomes, "{program:?}");
            }
            println!("{program:?}: {} of {}", found.executions, all.executions);
        }
    }
}

/// Steps that do not touch each other make no schedules: how many there are,
/// exactly.
#[test]
fn independent_steps_make_no_schedules() {
    use Op::*;
    let counts: &[(Vec<Vec<Op>>, u64)] = &[
        (vec![vec![Store(0); 4], vec![Store(1); 4]], 1),
        (vec![vec![Load(0), Store(0)]; 2], 4),
        (vec![vec![Load(0), Store(0)]; 3], 36),
        (vec![vec![Store(0), Load(1)], vec![Store(1), Load(0)]], 3),
        (vec![vec![Lock(0, Some(0))]; 3], 6),
        (vec![vec![Read(0); 2]; 3], 1),
        (vec![vec![Load(0); 2]; 3], 1),
        (vec![vec![Look(0); 2]; 3], 1),
        // One of the two changes nothing.
        (vec![vec![CompareExchange(0), Store(1)], vec![CompareExchange(0)]], 2),
        (vec![vec![NotifyOne], vec![NotifyAll]], 1),
    ];
    // What came before a thread's start is no race with what it does.
    let body: engine::Body = Arc::new(|| {
        let bystander = thread::spawn(|| AtomicU32::new(0).load(SeqCst));
        let cell = Arc::new(AtomicU32::new(0));
        cell.store(1, SeqCst);
        let theirs = Arc::clone(&cell);
        let thread = thread::spawn(move || theirs.fetch_add(1, SeqCst));
        let _ = (thread.join(), bystander.join());
        Ok(())
    });
    let settings = Settings {
        steps: 100,
        ordered: true,
        panics_are_values: false,
        unlock_steps: false,
        closed: true,
        trusted: Vec::new(),
        patience: std::time::Duration::from_secs(60),
    };
    let run = engine::drive(Box::new(Every::new(true)), &settings, false, (100, None), &body);
    assert_eq!((run.complete, run.executions), (true, 2));
    for (program, executions) in counts {
        // The first schedule is run once more, to see that it is the same.
        assert_eq!(reduced(true, 10_000, program).executions - 1, *executions, "{program:?}");
    }
}
