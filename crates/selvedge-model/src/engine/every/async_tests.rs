//! As `tests`, for programs of async tasks.

use super::Every;
use super::tests::{Found, cases, found};
use crate::engine::{Dfs, Settings, Strategy};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, Ordering::SeqCst};
use crate::task::{self, AbortHandle};
use crate::time;
use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof};
use proptest::strategy::Strategy as Values;
use proptest::test_runner::{Config, TestRunner};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// What a task does; the numbers say to which of two, or for how long.
#[derive(Debug, Clone, Copy)]
enum Op {
    Load(usize),
    Store(usize),
    Add(usize),
    Lock,
    Sleep(u64),
    /// Waits until the gate is open: may hang.
    Pass,
    /// Gives up after so many seconds.
    PassWithin(u64),
    Open,
    Yield,
    /// Ends the task before the caller.
    Abort,
    IsFinished,
    Now,
}

fn op() -> impl Values<Value = Op> {
    let which = 0..2_usize;
    prop_oneof![
        3 => which.clone().prop_map(Op::Load),
        3 => which.clone().prop_map(Op::Store),
        2 => which.prop_map(Op::Add),
        1 => Just(Op::Lock),
        2 => (1..4_u64).prop_map(Op::Sleep),
        1 => Just(Op::Pass),
        2 => (1..4_u64).prop_map(Op::PassWithin),
        2 => Just(Op::Open),
        1 => Just(Op::Yield),
        1 => Just(Op::Abort),
        1 => Just(Op::IsFinished),
        1 => Just(Op::Now),
    ]
}

/// A gate with a waiter list, as anybody writes one.
#[derive(Default)]
struct Gate(Mutex<(bool, Vec<Waker>)>);

impl Gate {
    async fn pass(&self) {
        std::future::poll_fn(|context| {
            let mut gate = self.0.lock().unwrap();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn open(&self) {
        let waiting = {
            let mut gate = self.0.lock().unwrap();
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

struct Shared {
    atomics: [AtomicU32; 2],
    lock: Mutex<u32>,
    gate: Gate,
    handles: Mutex<Vec<AbortHandle>>,
}

async fn act(op: Op, me: u32, shared: &Shared) -> u32 {
    let seconds = Duration::from_secs;
    let before = || shared.handles.lock().unwrap().get((me as usize).wrapping_sub(2)).cloned();
    match op {
        Op::Load(n) => shared.atomics[n].load(SeqCst),
        Op::Store(n) => {
            shared.atomics[n].store(me, SeqCst);
            0
        }
        Op::Add(n) => shared.atomics[n].fetch_add(me, SeqCst),
        Op::Lock => {
            let mut value = shared.lock.lock().unwrap();
            *value = *value * 3 + me;
            *value
        }
        Op::Sleep(n) => {
            time::sleep(seconds(n)).await;
            0
        }
        Op::Pass => {
            shared.gate.pass().await;
            1
        }
        Op::PassWithin(n) => u32::from(time::timeout(seconds(n), shared.gate.pass()).await.is_ok()),
        Op::Open => {
            shared.gate.open();
            0
        }
        Op::Yield => {
            task::yield_now().await;
            0
        }
        Op::Abort => {
            if let Some(other) = before() {
                other.abort();
            }
            0
        }
        Op::IsFinished => before().map_or(7, |other| u32::from(other.is_finished())),
        Op::Now => crate::engine::now().as_secs() as u32,
    }
}

type Outcome = (Vec<Option<Vec<u32>>>, Vec<u32>);

async fn run(program: Vec<Vec<Op>>) -> Outcome {
    let shared = Arc::new(Shared {
        atomics: [const { AtomicU32::new(0) }; 2],
        lock: Mutex::new(0),
        gate: Gate::default(),
        handles: Mutex::default(),
    });
    let ends_others = |op: &Op| matches!(op, Op::Abort | Op::IsFinished);
    let told = program.iter().flatten().any(ends_others);
    let mut tasks = Vec::new();
    for (me, ops) in (1..).zip(program) {
        let for_task = Arc::clone(&shared);
        let task = task::spawn(async move {
            let mut seen = Vec::new();
            for op in ops {
                seen.push(act(op, me, &for_task).await);
            }
            seen
        });
        if told {
            shared.handles.lock().unwrap().push(task.abort_handle());
        }
        tasks.push(task);
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.ok());
    }
    let left = shared.atomics.iter().map(|one| one.load(SeqCst));
    let left = left.chain([*shared.lock.lock().unwrap()]).collect();
    (seen, left)
}

fn search(
    strategy: Box<dyn Strategy>,
    ordered: bool,
    most: u64,
    program: &[Vec<Op>],
) -> Option<Found<Outcome>> {
    let settings = Settings {
        steps: 5_000,
        ordered,
        panics_are_values: false,
        unlock_steps: false,
        closed: true,
        trusted: Vec::new(),
        patience: std::time::Duration::from_secs(60),
    };
    let program = program.to_vec();
    found(strategy, settings, most, move || task::block_on_modelled(run(program.clone())))
}

fn compare(ordered: bool, most: u64, program: &[Vec<Op>]) -> Option<(bool, f64)> {
    let all = search(Box::new(Dfs::new(u32::MAX)), ordered, most, program)?;
    let most = 2 * all.executions + 10;
    let some = search(Box::new(Every::new(ordered)), ordered, most, program)
        .unwrap_or_else(|| panic!("more than {most} executions for {program:?}"));
    assert_eq!(some.fails, all.fails, "{program:?}: whether it can fail");
    if !all.fails {
        assert_eq!(some.outcomes, all.outcomes, "{program:?}: outcomes");
    }
    Some((all.fails, all.executions as f64 / some.executions as f64))
}

fn agree(ordered: bool) {
    const MOST: u64 = 3_000;
    let programs = prop_oneof![
        3 => prop::collection::vec(prop::collection::vec(op(), 1..4), 2..3),
        1 => prop::collection::vec(prop::collection::vec(op(), 1..2), 3..4),
    ];
    let mut runner = TestRunner::new(Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    });
    let counts = std::cell::RefCell::new((0, 0, Vec::new()));
    runner
        .run(&(programs, any::<bool>()), |(program, _)| {
            let mut counts = counts.borrow_mut();
            let same = std::panic::catch_unwind(|| compare(ordered, MOST, &program));
            prop_assert_eq!(same.is_ok(), true);
            match same.ok().flatten() {
                None => counts.0 += 1,
                Some((true, _)) => counts.1 += 1,
                Some((false, ratio)) => counts.2.push(ratio),
            }
            Ok(())
        })
        .unwrap();
    let (large, failing, mut ratios) = counts.into_inner();
    ratios.sort_by(f64::total_cmp);
    println!(
        "{} programs of tasks the same, {failing} fail in both, {large} too large for the plain \
         search; plain / reduced: {:.1} at least, {:.1} in the median, {:.0} at most",
        ratios.len(),
        ratios[0],
        ratios[ratios.len() / 2],
        ratios[ratios.len() - 1]
    );
}

#[test]
fn tasks_have_the_same_outcomes_as_in_the_plain_search() {
    agree(true);
}

#[test]
fn tasks_have_the_same_outcomes_with_deadlines_at_any_step() {
    agree(false);
}

/// How often the body is polled by a task that wakes it twice, does something
/// of its own after each, and ends, which wakes it too.
async fn polls() -> u32 {
    let (mut polls, mut ringer) = (0, None);
    std::future::poll_fn(move |context| {
        polls += 1;
        let ringer = ringer.get_or_insert_with(|| {
            let waker = context.waker().clone();
            task::spawn(async move {
                let own = AtomicU32::new(0);
                for _ in 0..2 {
                    own.load(SeqCst);
                    waker.wake_by_ref();
                }
                own.load(SeqCst);
            })
        });
        Pin::new(ringer).poll(context).map(|_| polls)
    })
    .await
}

/// A wake-up and the poll that it leads to touch the same thing: two wake-ups
/// may be one poll, or two.
#[test]
fn a_poll_between_two_wake_ups_is_a_class_of_its_own() {
    let settings = Settings {
        steps: 5_000,
        ordered: true,
        panics_are_values: false,
        unlock_steps: false,
        closed: true,
        trusted: Vec::new(),
        patience: std::time::Duration::from_secs(60),
    };
    let search = |strategy| {
        found(strategy, settings.clone(), 3_000, || task::block_on_modelled(polls())).unwrap()
    };
    let all = search(Box::new(Dfs::new(u32::MAX)));
    let some = search(Box::new(Every::new(true)));
    assert_eq!(some.outcomes, all.outcomes);
    assert_eq!(all.outcomes.len(), 3, "{:?}", all.outcomes);
}

/// A task that the end of the body ends: how far it came is told by what it
/// leaves when it is dropped.
#[test]
fn the_end_of_the_body_comes_at_any_step_of_a_task() {
    struct Leaves(u32, Arc<std::sync::Mutex<std::collections::BTreeSet<u32>>>);
    impl Drop for Leaves {
        fn drop(&mut self) {
            self.1.lock().unwrap().insert(self.0);
        }
    }
    let settings = Settings {
        steps: 5_000,
        ordered: true,
        panics_are_values: false,
        unlock_steps: false,
        closed: true,
        trusted: Vec::new(),
        patience: std::time::Duration::from_secs(60),
    };
    let search = |strategy| {
        let left = Arc::default();
        let into = Arc::clone(&left);
        let found = found(strategy, settings.clone(), 3_000, move || {
            task::block_on_modelled(async {
                let gate = Arc::new(Gate::default());
                let (passes, leaves) = (Arc::clone(&gate), Leaves(0, Arc::clone(&into)));
                drop(task::spawn(async move {
                    let mut leaves = leaves;
                    leaves.0 = 1;
                    passes.pass().await;
                    leaves.0 = 2;
                    task::yield_now().await;
                }));
                gate.open();
            });
        });
        assert!(found.is_some_and(|found| !found.fails));
        std::mem::take(&mut *left.lock().unwrap())
    };
    let all = search(Box::new(Dfs::new(u32::MAX)) as Box<dyn Strategy>);
    assert_eq!(search(Box::new(Every::new(true))), all);
    assert_eq!(all.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

/// For each rule of what tasks touch, a program that needs it.
#[test]
fn each_rule_of_tasks_has_a_program() {
    use Op::*;
    let programs: &[&[&[Op]]] = &[
        &[&[Load(0), Store(0)], &[Load(0), Store(0)]],
        &[&[Pass, Load(0)], &[Store(0), Open, Store(0)]],
        &[&[PassWithin(1)], &[Open]],
        &[&[PassWithin(1)], &[Sleep(1), Open]],
        &[&[PassWithin(1), Now], &[Sleep(2), Now]],
        &[&[Sleep(1), Store(0)], &[Abort, Load(0)]],
        &[&[Store(0), Store(1)], &[IsFinished, Load(1)]],
        &[&[Pass], &[Yield, Open]],
        &[&[Sleep(1)], &[Load(0), Now]],
        &[&[Sleep(1), Sleep(1), Store(0)], &[Sleep(2), Load(0)]],
        &[&[Pass], &[Pass]],
    ];
    for program in programs {
        let program: Vec<Vec<Op>> = program.iter().map(|ops| ops.to_vec()).collect();
        for ordered in [true, false] {
            let compared = compare(ordered, 30_000, &program);
            println!("{program:?}: {compared:?}");
            assert!(!ordered || compared.is_some(), "{program:?} is too large");
        }
    }
}
