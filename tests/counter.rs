//! The counters on real threads: totals against an oracle, random plans of
//! adds, takes and ends of threads, and the corners of a thread's life.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use selvedge::counter::{Overflow, SafeCounter, StripedCounter, Writer};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

fn config(cases: u32) -> ProptestConfig {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/counter.txt");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        ..ProptestConfig::default()
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Add(u64),
    Take,
    Value,
}

/// Adds of every size, the edges of both counters among them.
fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..10_u64).prop_map(Op::Add),
        2 => any::<u64>().prop_map(Op::Add),
        2 => prop_oneof![
            Just(1 << 32), Just((1 << 32) + 1), Just((1 << 62) - 1), Just(1 << 62),
            Just(1 << 63), Just(u64::MAX - 1), Just(u64::MAX)
        ].prop_map(Op::Add),
        1 => Just(Op::Take),
        2 => Just(Op::Value),
    ]
}

fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 0..most)
}

proptest! {
    #![proptest_config(config(512))]

    /// One thread: the same results as a number with a checked add.
    #[test]
    fn safe_counter_agrees_with_a_u64(start in prop_oneof![Just(0), any::<u64>()], plan in ops(40)) {
        let counter = SafeCounter::with_value(start);
        let mut oracle = start;
        for op in plan {
            match op {
                Op::Add(n) => {
                    let expected = match oracle.checked_add(n) {
                        Some(sum) => { oracle = sum; Ok(sum) }
                        None => Err(Overflow { value: oracle, increment: n }),
                    };
                    prop_assert_eq!(counter.inc_by(n), expected);
                }
                Op::Take => prop_assert_eq!(counter.take(), std::mem::take(&mut oracle)),
                Op::Value => prop_assert_eq!(counter.value(), oracle),
            }
        }
        prop_assert_eq!(counter.value(), oracle);
    }

    /// One thread, through the table and through writers that come and go: the
    /// same results as a `u128`.
    #[test]
    fn striped_counter_agrees_with_a_u128(plan in prop::collection::vec((op(), 0..3_usize), 0..60)) {
        let counter = StripedCounter::new();
        let mut writers: Vec<Writer> = Vec::new();
        let mut oracle = 0_u128;
        for (op, by) in plan {
            match op {
                Op::Add(n) => {
                    match by {
                        0 => counter.inc_by(n),
                        1 => {
                            writers.push(counter.writer());
                            writers[0].inc_by(n);
                        }
                        _ => counter.writer().inc_by(n),
                    }
                    oracle += u128::from(n);
                }
                Op::Take => {
                    writers.pop();
                    prop_assert_eq!(counter.take(), std::mem::take(&mut oracle));
                }
                Op::Value => prop_assert_eq!(counter.value(), oracle),
            }
        }
        prop_assert_eq!(counter.value(), oracle);
    }
}

/// What one thread did, and how often it started anew: each plan is run by
/// threads that follow one another.
type Lives = Vec<Vec<Op>>;

fn lives() -> impl Strategy<Value = Vec<Lives>> {
    prop::collection::vec(prop::collection::vec(ops(24), 1..3), 2..4)
}

proptest! {
    #![proptest_config(config(96))]

    /// Threads add and take as they like, end, and are followed by others:
    /// takes and rest are what was added, and a read never exceeds it.
    #[test]
    fn striped_counter_conserves(plan in lives()) {
        let added: u128 = plan.iter().flatten().flatten().map(|op| match op {
            Op::Add(n) => u128::from(*n),
            _ => 0,
        }).sum();
        let counter = StripedCounter::new();
        let start = Barrier::new(plan.len());
        let taken: u128 = thread::scope(|scope| {
            let chains: Vec<_> = plan.iter().map(|lives| {
                let (counter, start) = (&counter, &start);
                scope.spawn(move || {
                    start.wait();
                    lives.iter().map(|plan| {
                        let life = scope.spawn(move || run(counter, plan, added));
                        life.join().unwrap()
                    }).sum::<u128>()
                })
            }).collect();
            chains.into_iter().map(|chain| chain.join().unwrap()).sum()
        });
        prop_assert_eq!(taken + counter.value(), added);
        prop_assert_eq!(taken + counter.take(), added);
        prop_assert_eq!(counter.value(), 0);
        prop_assert!(counter.stripes() <= plan.len() * 2);
    }

    /// The same for the other counter, where an add may fail and then counts
    /// for nothing.
    #[test]
    fn safe_counter_conserves(plan in prop::collection::vec(ops(24), 2..4)) {
        let counter = SafeCounter::new();
        let start = Barrier::new(plan.len());
        let (added, taken) = thread::scope(|scope| {
            let actors: Vec<_> = plan.iter().map(|plan| {
                let (counter, start) = (&counter, &start);
                scope.spawn(move || {
                    start.wait();
                    let (mut added, mut taken) = (0_u128, 0_u128);
                    for op in plan {
                        match *op {
                            Op::Add(n) => added += counter.inc_by(n).map_or(0, |_| u128::from(n)),
                            Op::Take => taken += u128::from(counter.take()),
                            Op::Value => { let _ = counter.value(); }
                        }
                    }
                    (added, taken)
                })
            }).collect();
            actors.into_iter().fold((0, 0), |sum, actor| {
                let (added, taken) = actor.join().unwrap();
                (sum.0 + added, sum.1 + taken)
            })
        });
        prop_assert_eq!(taken + u128::from(counter.value()), added);
    }
}

/// Runs a plan and returns what it took.
fn run(counter: &StripedCounter, plan: &[Op], most: u128) -> u128 {
    let mut taken = 0;
    for op in plan {
        match *op {
            Op::Add(n) => counter.inc_by(n),
            Op::Take => taken += counter.take(),
            Op::Value => assert!(counter.value() <= most, "a read beyond what was ever added"),
        }
    }
    taken
}

/// A reader without takes beside it: never back, never beyond the end.
#[test]
fn reads_grow_to_the_exact_total() {
    let (striped, safe) = (StripedCounter::new(), SafeCounter::new());
    let done = AtomicBool::new(false);
    const EACH: u64 = 100_000;
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = (0, 0);
            while !done.load(Ordering::Acquire) {
                let now = (striped.value(), safe.value());
                assert!(now.0 >= last.0 && now.1 >= last.1, "went back: {last:?} then {now:?}");
                assert!(now.0 <= u128::from(3 * EACH) && now.1 <= 3 * EACH);
                last = now;
            }
        });
        let adders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        striped.inc();
                        safe.inc().unwrap();
                    }
                })
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        done.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    assert_eq!((striped.value(), safe.value()), (u128::from(3 * EACH), 3 * EACH));
}

/// Adders that settle all the time, and takers: the total is exact.
#[test]
fn settling_adders_and_takers_lose_nothing() {
    let counter = StripedCounter::new();
    const EACH: u128 = 20_000;
    let taken: u128 = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..EACH).for_each(|_| counter.inc_by(u64::MAX - 1)));
        }
        let takers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| (0..1_000).map(|_| counter.take()).sum::<u128>()))
            .collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).sum()
    });
    assert_eq!(taken + counter.take(), 2 * EACH * u128::from(u64::MAX - 1));
}

/// Threads that follow one another share a stripe.
#[test]
fn threads_that_ended_leave_their_stripes() {
    let counter = Arc::new(StripedCounter::new());
    for _ in 0..50 {
        let counter = Arc::clone(&counter);
        thread::spawn(move || counter.inc()).join().unwrap();
    }
    assert_eq!((counter.value(), counter.stripes()), (50, 1));
}

/// Counts from its destructor, into the counter and through a writer.
struct Last(RefCell<Option<(Arc<StripedCounter>, Writer)>>);

impl Drop for Last {
    fn drop(&mut self) {
        let (counter, writer) = self.0.take().expect("it was set");
        counter.inc_by(10);
        counter.inc_by(100);
        writer.inc_by(1000);
    }
}

thread_local! {
    static BEFORE: Last = const { Last(RefCell::new(None)) };
    static AFTER: Last = const { Last(RefCell::new(None)) };
}

/// A thread-local that is destroyed after the counter's own table, or before
/// it, counts all the same.
#[test]
fn adds_from_destructors_of_thread_locals_count() {
    let counter = Arc::new(StripedCounter::new());
    let set = |local: &Last, counter: &Arc<StripedCounter>| {
        *local.0.borrow_mut() = Some((Arc::clone(counter), counter.writer()));
    };
    for order in 0..2 {
        let before = counter.value();
        let counter_there = Arc::clone(&counter);
        thread::spawn(move || {
            if order == 0 {
                BEFORE.with(|local| set(local, &counter_there));
            }
            counter_there.inc();
            if order == 1 {
                AFTER.with(|local| set(local, &counter_there));
            }
        })
        .join()
        .unwrap();
        assert_eq!(counter.value() - before, 1111, "registered in order {order}");
    }
    // The table's stripe, the writer's, and one for the adds after the table.
    assert!(counter.stripes() <= 3);
}

/// Takes the stripe that the thread's table has given back, and then adds.
struct AfterTable(RefCell<Option<(Arc<StripedCounter>, mpsc::Sender<usize>)>>);

impl Drop for AfterTable {
    fn drop(&mut self) {
        let (counter, stripes) = self.0.take().expect("it was set");
        let _writer = counter.writer();
        counter.inc();
        stripes.send(counter.stripes()).unwrap();
    }
}

/// Once a thread's table is gone, its stripe is the next writer's alone.
#[test]
fn add_after_the_table_is_gone_leaves_the_old_stripe_alone() {
    thread_local! {
        static LAST: AfterTable = const { AfterTable(RefCell::new(None)) };
    }
    let counter = Arc::new(StripedCounter::new());
    let (sender, receiver) = mpsc::channel();
    let counter_there = Arc::clone(&counter);
    let thread = thread::spawn(move || {
        LAST.with(|last| *last.0.borrow_mut() = Some((Arc::clone(&counter_there), sender)));
        counter_there.inc();
    });
    thread.join().unwrap();
    assert_eq!((receiver.recv(), counter.value()), (Ok(2), 2));
}

/// The destructors of the tests above do reach both sides of the table's end.
#[test]
fn some_thread_locals_outlive_others() {
    struct Probe(RefCell<Option<mpsc::Sender<bool>>>);
    thread_local! {
        static PROBE_A: Probe = const { Probe(RefCell::new(None)) };
        static PROBE_B: Probe = const { Probe(RefCell::new(None)) };
    }
    impl Drop for Probe {
        fn drop(&mut self) {
            let sender = self.0.take().expect("it was set");
            let other_gone = PROBE_A.try_with(|_| ()).is_err() && PROBE_B.try_with(|_| ()).is_err();
            sender.send(other_gone).unwrap();
        }
    }
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        PROBE_A.with(|probe| *probe.0.borrow_mut() = Some(sender.clone()));
        PROBE_B.with(|probe| *probe.0.borrow_mut() = Some(sender));
    })
    .join()
    .unwrap();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [false, true]);
}

/// Many counters in one thread, dropped and made again in the same places of
/// the table: none sees another's count.
#[test]
fn counters_in_reused_places_stay_apart() {
    let mut counters: Vec<StripedCounter> = (0..64).map(|_| StripedCounter::new()).collect();
    let mut expected = vec![0_u128; counters.len()];
    for round in 0..200_usize {
        let at = round * 37 % counters.len();
        if round % 3 == 0 {
            counters[at] = StripedCounter::new();
            expected[at] = 0;
        }
        for (nth, counter) in counters.iter().enumerate() {
            counter.inc_by(nth as u64);
            expected[nth] += nth as u128;
        }
    }
    let values: Vec<u128> = counters.iter().map(StripedCounter::value).collect();
    assert_eq!(values, expected);
}

/// A counter that is gone does not trouble the threads that added to it, nor
/// the next counter in its place; its writers go on.
#[test]
fn writers_and_threads_outlive_their_counter() {
    let (go, wait) = mpsc::channel::<StripedCounter>();
    let first = Arc::new(StripedCounter::new());
    let writer = first.writer();
    let adder = thread::spawn({
        let first = Arc::clone(&first);
        move || {
            first.inc();
            drop(first);
            let next = wait.recv().unwrap();
            next.inc();
            next.value()
        }
    });
    drop(first);
    writer.inc();
    go.send(StripedCounter::new()).unwrap();
    assert_eq!(adder.join().unwrap(), 1);
    writer.inc_by(u64::MAX);
}

/// A forgotten writer keeps its count in the total, and a panic in a thread
/// that adds loses nothing that it added.
#[test]
fn forgotten_writers_and_panics_lose_no_count() {
    let counter = Arc::new(StripedCounter::new());
    let writer = counter.writer();
    writer.inc_by(5);
    std::mem::forget(writer);
    let panicking = Arc::clone(&counter);
    let result = thread::spawn(move || {
        panicking.inc_by(2);
        std::panic::resume_unwind(Box::new("on purpose"));
    })
    .join();
    assert!(result.is_err());
    assert_eq!(counter.take(), 7);
}

/// A writer moves between threads.
#[test]
fn writer_moves_between_threads() {
    let counter = StripedCounter::new();
    let mut writer = counter.writer();
    for _ in 0..4 {
        writer = thread::spawn(move || {
            writer.inc();
            writer
        })
        .join()
        .unwrap();
    }
    assert_eq!((counter.value(), counter.stripes()), (4, 1));
}

#[test]
fn zero_is_an_increment_that_changes_nothing() {
    let (safe, striped) = (SafeCounter::with_value(u64::MAX), StripedCounter::new());
    assert_eq!(safe.inc_by(0), Ok(u64::MAX));
    assert_eq!(safe.take(), u64::MAX);
    assert_eq!(safe.inc_by(0), Ok(0));
    striped.inc_by(0);
    assert_eq!((striped.take(), striped.value()), (0, 0));
}

#[test]
fn what_they_say_of_themselves() {
    let (safe, striped) = (SafeCounter::with_value(3), StripedCounter::new());
    striped.inc_by(4);
    assert_eq!(format!("{safe:?} {striped:?}"), "SafeCounter(3) StripedCounter(4)");
    let overflow = Overflow { value: 7, increment: u64::MAX };
    let text = "adding 18446744073709551615 to a counter at 7 would exceed 18446744073709551615";
    assert_eq!(overflow.to_string(), text);
    assert_eq!(size_of::<SafeCounter>(), 24);
}

/// Who may be moved to and shared with other threads.
#[test]
fn send_and_sync() {
    fn send<T: Send>() {}
    fn both<T: Send + Sync>() {}
    both::<SafeCounter>();
    both::<StripedCounter>();
    both::<Overflow>();
    send::<Writer>();
}
