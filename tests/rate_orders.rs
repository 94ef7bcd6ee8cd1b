//! The rate limiter under every order of what three waiters do, on the paused
//! clock: each arrives, is polled with or without a wake-up, is dropped, and
//! the clock moves on in between, in every order of so many steps. What is left
//! after them is run as an executor would, by its wake-ups alone.
//!
//! A step is a whole poll or drop here. What happens inside of one, when
//! threads meet, is for the models (`loom-tests/models/rate.rs`).
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use selvedge::rate::{Acquire, Limiter, Rate};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::time::{Instant, advance};

/// Between two permits.
const PERIOD: Duration = Duration::from_millis(100);
/// What the clock moves on by.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Arrive,
    Poll(usize),
    Drop(usize),
    Tick,
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One that has arrived, in the order in which they did.
struct Visitor {
    // None once it has its permits, or was dropped.
    future: Option<Acquire<Arc<Limiter>>>,
    woken: Arc<Flag>,
    permits: u64,
    granted: Option<Instant>,
}

/// What became of it, over all orders.
#[derive(Debug, Default)]
struct Seen {
    orders: u64,
    granted_in_line: u64,
    refunded: u64,
    left_the_line: u64,
}

struct World<'a> {
    limiter: Arc<Limiter>,
    burst: u64,
    wants: &'a [u64],
    visitors: Vec<Visitor>,
    seen: &'a mut Seen,
}

impl<'a> World<'a> {
    fn new(burst: u64, wants: &'a [u64], seen: &'a mut Seen) -> Self {
        let burst_of = NonZeroUsize::new(usize::try_from(burst).unwrap()).unwrap();
        // To the letter: nothing is caught up with.
        let limiter = Limiter::builder(Rate::every(PERIOD)).burst(burst_of);
        let limiter = Arc::new(limiter.catch_up(Duration::ZERO).build());
        Self { limiter, burst, wants, visitors: Vec::new(), seen }
    }

    /// What can be done next.
    fn steps(&self) -> Vec<Step> {
        let live = || self.visitors.iter().enumerate().filter(|(_, one)| one.future.is_some());
        let mut steps = Vec::new();
        if self.visitors.len() < self.wants.len() {
            steps.push(Step::Arrive);
        }
        steps.extend(live().map(|(at, _)| Step::Poll(at)));
        steps.extend(live().map(|(at, _)| Step::Drop(at)));
        steps.push(Step::Tick);
        steps
    }

    async fn take(&mut self, step: Step) {
        let before = self.limiter.stats().granted;
        let mut came_back = 0;
        match step {
            Step::Arrive => {
                let permits = self.wants[self.visitors.len()];
                let n = usize::try_from(permits).unwrap();
                let future = Some(Limiter::acquire_owned(&self.limiter, n));
                let woken = Arc::default();
                self.visitors.push(Visitor { future, woken, permits, granted: None });
                // Its first poll is its arrival.
                return self.poll(self.visitors.len() - 1);
            }
            Step::Poll(at) => return self.poll(at),
            Step::Drop(at) => {
                let one = &mut self.visitors[at];
                drop(one.future.take());
                if one.granted.take().is_some() {
                    came_back = one.permits;
                    self.seen.refunded += 1;
                } else {
                    self.seen.left_the_line += 1;
                }
                // Not in line any more, and its permits were never granted.
                one.permits = 0;
            }
            Step::Tick => advance(TICK).await,
        }
        self.note_grants(before - came_back);
    }

    fn poll(&mut self, at: usize) {
        let before = self.limiter.stats().granted;
        let one = &mut self.visitors[at];
        one.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&one.woken));
        let future = one.future.as_mut().expect("it is live");
        let polled = Pin::new(future).poll(&mut Context::from_waker(&waker));
        self.note_grants(before);
        let one = &mut self.visitors[at];
        match polled {
            Poll::Ready(granted) => {
                granted.expect("no more than the burst, and no deadline");
                assert!(one.granted.is_some(), "{at} has permits before its turn");
                one.future = None;
            }
            Poll::Pending => assert!(one.granted.is_none(), "{at} was granted and is kept waiting"),
        }
    }

    /// Whoever stands first in line has what was granted since: first come,
    /// first served.
    fn note_grants(&mut self, before: u64) {
        let mut new = self.limiter.stats().granted - before;
        for (at, one) in self.visitors.iter_mut().enumerate() {
            if new == 0 {
                break;
            }
            if one.permits > 0 && one.granted.is_none() {
                assert!(one.permits <= new, "a part of what {at} wants");
                new -= one.permits;
                one.granted = Some(Instant::now());
                self.seen.granted_in_line += 1;
            }
        }
        assert_eq!(new, 0, "granted to nobody");
    }

    /// In every window from grant to grant, at most burst + rate * time.
    fn check_windows(&self) {
        let mut grants: Vec<(Instant, u64)> =
            self.visitors.iter().filter_map(|one| Some((one.granted?, one.permits))).collect();
        grants.sort();
        for from in 0..grants.len() {
            let mut sum = 0;
            for (at, permits) in &grants[from..] {
                sum += permits;
                let due = (*at - grants[from].0).as_nanos() / PERIOD.as_nanos();
                assert!(u128::from(sum) <= u128::from(self.burst) + due, "{grants:?}");
            }
        }
    }

    /// Runs who is left by wake-ups alone: everybody is served, in time.
    async fn drain(&mut self) {
        let left = self.visitors.iter().filter(|one| one.future.is_some());
        let wanted: u64 = left.map(|one| one.permits).sum();
        let start = Instant::now();
        loop {
            let woken = self
                .visitors
                .iter()
                .position(|one| one.future.is_some() && one.woken.0.load(Ordering::Relaxed));
            if let Some(at) = woken {
                self.poll(at);
            } else if self.visitors.iter().any(|one| one.future.is_some()) {
                let took = start.elapsed();
                let most = PERIOD * u32::try_from(wanted).unwrap();
                assert!(took <= most, "stranded: {took:?} for {wanted} permits");
                self.take(Step::Tick).await;
            } else {
                break;
            }
        }
    }
}

fn every_order(burst: u64, wants: &[u64], depth: usize) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut seen = Seen::default();
    runtime.block_on(async {
        let mut orders = vec![Vec::new()];
        while let Some(order) = orders.pop() {
            let mut world = World::new(burst, wants, &mut seen);
            for step in &order {
                world.take(*step).await;
            }
            world.check_windows();
            if order.len() < depth {
                // The depth is in steps that were taken, however they ended.
                for step in world.steps() {
                    orders.push([&order[..], &[step]].concat());
                }
            } else {
                world.drain().await;
                world.check_windows();
                world.seen.orders += 1;
            }
        }
    });
    seen
}

#[test]
fn three_waiters_keep_the_window_and_their_order_in_every_order() {
    let seen = every_order(1, &[1, 1, 1], 10);
    println!("{seen:?}");
    assert!(seen.orders > 30_000, "{seen:?}");
    assert!(seen.granted_in_line > 0 && seen.refunded > 0 && seen.left_the_line > 0, "{seen:?}");
}

#[test]
fn waiters_for_more_than_one_keep_them_too() {
    let seen = every_order(2, &[2, 1, 2], 10);
    println!("{seen:?}");
    assert!(seen.orders > 30_000, "{seen:?}");
    assert!(seen.granted_in_line > 0 && seen.refunded > 0 && seen.left_the_line > 0, "{seen:?}");
}
