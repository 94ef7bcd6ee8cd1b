//! Counters: an add from 1, 2 and 8 threads, to one counter and to 64 in turn,
//! and a read.
#![allow(missing_docs, reason = "a bench")]

use fast_counter::ConcurrentCounter;
use selvedge::counter::{SafeCounter, StripedCounter, Writer};
use selvedge_benches::{Contest, Effort, Row, markdown, nanos, print_machine};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

/// Operations of all threads together.
const OPERATIONS: usize = 8_000_000;

/// Nanoseconds an add: `threads` threads share the work; each first makes its
/// state and adds once, so that a first add is in nobody's figure. From the
/// first one's start after the barrier to the last one's end.
fn adds<S>(
    threads: usize,
    operations: usize,
    make: impl Fn() -> S + Sync,
    add: impl Fn(&S) + Sync,
) -> f64 {
    let each = operations / threads;
    let barrier = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let state = make();
                    add(&state);
                    barrier.wait();
                    let start = Instant::now();
                    for _ in 0..each {
                        add(black_box(&state));
                    }
                    (start, Instant::now())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = spans.iter().map(|span| span.0).min().expect("a thread");
    let end = spans.iter().map(|span| span.1).max().expect("a thread");
    nanos(end - start) / (each * threads) as f64
}

fn unit() {}

fn striped(effort: Effort, threads: usize) -> Row {
    let n = effort.items(OPERATIONS);
    let striped = StripedCounter::new();
    let fast = ConcurrentCounter::new(threads);
    Contest::new(format!("striped, {threads} threads"), effort.rounds(9))
        .figure("StripedCounter", || adds(threads, n, unit, |()| striped.inc()))
        .figure("its Writer", || adds(threads, n, || striped.writer(), Writer::inc))
        .figure("fast-counter", || adds(threads, n, unit, |()| fast.add(1)))
        .figure("local add (floor)", || {
            adds(threads, n, || Cell::new(0_u64), |local| local.set(black_box(local.get() + 1)))
        })
        .run()
}

fn safe(effort: Effort, threads: usize) -> Row {
    let n = effort.items(OPERATIONS);
    let safe = SafeCounter::new();
    let (mutex, atomic) = (Mutex::new(0_u64), AtomicU64::new(0));
    Contest::new(format!("safe, {threads} threads"), effort.rounds(9))
        .figure("SafeCounter", || {
            adds(threads, n, unit, |()| {
                black_box(safe.inc().unwrap());
            })
        })
        .figure("AtomicU64", || {
            adds(threads, n, unit, |()| {
                black_box(atomic.fetch_add(1, Ordering::SeqCst));
            })
        })
        .figure("compare-exchange loop", || adds(threads, n, unit, |()| checked_by_loop(&atomic)))
        .figure("std Mutex", || adds(threads, n, unit, |()| *mutex.lock().unwrap() += 1))
        .run()
}

/// The usual checked add.
fn checked_by_loop(atomic: &AtomicU64) {
    let mut seen = atomic.load(Ordering::Relaxed);
    while let Some(next) = seen.checked_add(1) {
        match atomic.compare_exchange_weak(seen, next, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
}

/// The threads add to 64 counters in turn.
fn many(effort: Effort, threads: usize) -> Row {
    let n = effort.items(OPERATIONS);
    let striped: Vec<StripedCounter> = (0..64).map(|_| StripedCounter::new()).collect();
    let fast: Vec<ConcurrentCounter> = (0..64).map(|_| ConcurrentCounter::new(threads)).collect();
    // One operation is an add to each: what picks the counter costs nothing.
    let each = n / striped.len();
    let per_add = |nanos: f64| nanos / striped.len() as f64;
    Contest::new(format!("64 counters, {threads} threads"), effort.rounds(9))
        .figure("StripedCounter", || {
            per_add(adds(threads, each, unit, |()| striped.iter().for_each(StripedCounter::inc)))
        })
        .figure("fast-counter", || {
            per_add(adds(threads, each, unit, |()| fast.iter().for_each(|one| one.add(1))))
        })
        .run()
}

/// A read of a counter that so many threads have added to and none does now.
fn read(effort: Effort, threads: usize) -> Row {
    let n = effort.items(OPERATIONS);
    let striped = StripedCounter::new();
    let fast = ConcurrentCounter::new(threads);
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                striped.inc();
                fast.add(1);
                barrier.wait();
            });
        }
    });
    assert_eq!(striped.stripes(), threads);
    Contest::new(format!("read, {threads} stripes"), effort.rounds(9))
        .per_item("StripedCounter", n, || {
            (0..n).for_each(|_| {
                black_box(black_box(&striped).value());
            });
        })
        .per_item("fast-counter", n, || {
            (0..n).for_each(|_| {
                black_box(black_box(&fast).sum());
            });
        })
        .run()
}

fn target(what: &str, rows: &[Row], peer: &str, at_most: f64) {
    let worst = rows.iter().map(|row| row.ratio(peer)).fold(0.0, f64::max);
    let verdict = if worst <= at_most { "met" } else { "MISSED" };
    println!("target: {what} <= {at_most}x {peer}: worst {worst:.2}x, {verdict}");
}

fn main() {
    let effort = Effort::from_args();
    print_machine();
    println!("nanoseconds an operation, all threads together");
    let each = |row: fn(Effort, usize) -> Row| -> Vec<Row> {
        [1, 2, 8].into_iter().map(|threads| row(effort, threads)).collect()
    };
    let (striped, many, reads, safe) = (each(striped), each(many), each(read), each(safe));
    println!();
    for rows in [&striped, &many, &reads, &safe] {
        println!("{}", markdown(rows));
    }
    target("an add to one StripedCounter", &striped, "fast-counter", 0.25);
    target("an add to 64 StripedCounters in turn", &many, "fast-counter", 0.5);
    target("a read of a StripedCounter", &reads, "fast-counter", 1.0);
    target("an add to a SafeCounter", &safe, "AtomicU64", 1.1);
}
