//! The window theorem, first come first served, and exact refunds, over random
//! rates, bursts, arrivals, cancellations and changes of rate, on the paused
//! clock.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use proptest::prelude::*;
use selvedge::rate::{Gcra, Limiter, Rate, Reservation, Reserve, TryAcquireError};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use support::paused;
use tokio::time::Instant;
use tokio_test::task::{Spawn, spawn};

#[derive(Debug, Clone)]
enum Step {
    /// Stand in line for so many.
    Wait(usize),
    /// Take so many or none.
    Try(usize),
    /// Give up a place in line, granted or not.
    Leave(prop::sample::Index),
    /// Give permits back.
    Refund(prop::sample::Index),
    /// Keep them.
    Commit(prop::sample::Index),
    /// Let time pass, in microseconds, and everybody look.
    Pass(u64),
    SetRate(usize, u64),
    Pause,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (1..5_usize).prop_map(Step::Wait),
        3 => (1..5_usize).prop_map(Step::Try),
        1 => index().prop_map(Step::Leave),
        1 => index().prop_map(Step::Refund),
        1 => index().prop_map(Step::Commit),
        6 => prop_oneof![0..2_000_u64, 0..2_000_000_u64].prop_map(Step::Pass),
        1 => (1..5_000_usize, 1..5_000_u64).prop_map(|(n, per)| Step::SetRate(n, per)),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
    ]
}

fn rate(permits: usize, millis: u64) -> Rate {
    Rate::new(NonZeroUsize::new(permits).unwrap(), Duration::from_millis(millis))
}

/// What happened, for the oracles: times are nanoseconds since the start.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// So many permits, under this id.
    Grant(u32, usize),
    Rate(Rate),
    Pause,
    Resume,
}

struct World {
    start: Instant,
    limiter: Arc<Limiter>,
    /// In line, in order.
    line: Vec<(usize, Spawn<Reserve<Arc<Limiter>>>)>,
    held: Vec<(usize, Reservation<Arc<Limiter>>)>,
    events: Vec<(u64, Event)>,
    refunded: Vec<usize>,
}

impl World {
    fn event(&mut self, event: Event) {
        let at = u64::try_from(self.start.elapsed().as_nanos()).unwrap();
        self.events.push((at, event));
    }

    /// Polls everybody: those who are served are the first in line.
    fn look(&mut self) -> Result<(), TestCaseError> {
        let mut blocked = false;
        let mut at = 0;
        while at < self.line.len() {
            let (id, future) = &mut self.line[at];
            let id = *id;
            match future.poll() {
                Poll::Ready(held) => {
                    prop_assert!(!blocked, "{id} was served before somebody who came earlier");
                    let held = held.unwrap();
                    self.event(Event::Grant(u32::try_from(held.permits()).unwrap(), id));
                    self.held.push((id, held));
                    drop(self.line.remove(at));
                }
                Poll::Pending => {
                    blocked = true;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, id: usize, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Wait(n) => {
                self.line.push((id, spawn(Limiter::reserve_owned(&self.limiter, n))));
            }
            Step::Try(n) => match self.limiter.try_acquire(n) {
                Ok(()) => {
                    prop_assert!(self.line.is_empty(), "{id} barged in");
                    self.event(Event::Grant(u32::try_from(n).unwrap(), id));
                }
                Err(TryAcquireError::TooMany(_)) => prop_assert!(n > self.limiter.burst()),
                Err(TryAcquireError::Paused) => prop_assert_eq!(self.limiter.rate(), None),
                Err(TryAcquireError::NotYet(wait)) => prop_assert!(!wait.is_zero()),
            },
            Step::Leave(pick) if !self.line.is_empty() => {
                drop(self.line.remove(pick.index(self.line.len())));
            }
            Step::Refund(pick) if !self.held.is_empty() => {
                let (id, held) = self.held.remove(pick.index(self.held.len()));
                drop(held);
                self.refunded.push(id);
            }
            Step::Commit(pick) if !self.held.is_empty() => {
                self.held.remove(pick.index(self.held.len())).1.commit();
            }
            Step::SetRate(permits, millis) => {
                let rate = rate(permits, millis);
                self.limiter.set_rate(rate);
                self.event(Event::Rate(rate));
            }
            Step::Pause => {
                self.limiter.pause();
                self.event(Event::Pause);
            }
            Step::Resume => {
                self.limiter.resume();
                self.event(Event::Resume);
            }
            Step::Pass(_) | Step::Leave(_) | Step::Refund(_) | Step::Commit(_) => {}
        }
        Ok(())
    }

    /// Grants that did not come back, in order, with what happened between.
    fn kept(&self) -> impl Iterator<Item = &(u64, Event)> {
        self.events.iter().filter(|(_, event)| match event {
            Event::Grant(_, id) => !self.refunded.contains(id),
            _ => true,
        })
    }

    /// In any window, at most the burst and what the rate gives in it and in
    /// the catch-up before.
    fn check_windows(&self, first: Rate, catch_up: f64) -> Result<(), TestCaseError> {
        // How many permits have become due by each event since the start.
        let (mut going, mut paused, mut since) = (first, false, 0_u64);
        let mut due = 0.0;
        let mut grants: Vec<(f64, f64, f64)> = Vec::new();
        let mut fastest = first.hz();
        for (at, event) in self.kept() {
            let hz = if paused { 0.0 } else { going.hz() };
            due += hz * (at - since) as f64 / 1e9;
            since = *at;
            match event {
                Event::Grant(n, _) => grants.push((due, f64::from(*n), fastest)),
                Event::Rate(rate) => going = *rate,
                Event::Pause => paused = true,
                Event::Resume => paused = false,
            }
            fastest = fastest.max(going.hz());
        }
        let burst = self.limiter.burst() as f64;
        for first in 0..grants.len() {
            let mut sum = 0.0;
            for (due, n, fastest) in &grants[first..] {
                sum += n;
                // Sums of floats, and a nanosecond's part of a permit.
                let most = burst + (due - grants[first].0) + fastest * catch_up + 1e-5;
                prop_assert!(sum <= most, "{sum} of {most}: {:?}", self.events);
            }
        }
        Ok(())
    }

    /// Where nothing is caught up with, the limiter stands where a schedule
    /// does that never knew of the permits that came back.
    fn check_refunds(&self, first: Rate) -> Result<(), TestCaseError> {
        let burst = u32::try_from(self.limiter.burst()).unwrap();
        let mut schedule = Gcra::new(first, burst, 0);
        let mut paused = None;
        let mut now = 0;
        for (at, event) in self.kept() {
            now = *at;
            match event {
                Event::Grant(n, _) => {
                    prop_assert!(schedule.take(now, *n).is_ok(), "a grant too early");
                }
                Event::Rate(rate) if paused.is_some() => paused = Some(*rate),
                Event::Rate(rate) => schedule.set_rate(*rate, now),
                Event::Pause => {
                    paused = paused.or(schedule.rate());
                    schedule.pause(now);
                }
                Event::Resume => {
                    if let Some(rate) = paused.take() {
                        schedule.set_rate(rate, now);
                    }
                }
            }
        }
        let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap();
        prop_assert!(now <= elapsed);
        // Schedules are exact to the nanosecond, and what is a nanosecond of a
        // fast rate is more of a slow one.
        let rates = self.events.iter().filter_map(|(_, event)| match event {
            Event::Rate(rate) => Some(rate.hz()),
            _ => None,
        });
        let fastest = rates.fold(first.hz(), f64::max);
        let slack = schedule.rate().map_or(0.0, |rate| fastest / rate.hz()) + 1.0;
        let slack = slack * self.events.len() as f64;
        for n in (1..=burst).rev() {
            let mut probe = schedule;
            let expected = probe.take(elapsed, n).err().unwrap_or(0);
            let got = match self.limiter.try_acquire(n as usize) {
                Ok(()) => 0,
                Err(TryAcquireError::NotYet(wait)) => u64::try_from(wait.as_nanos()).unwrap(),
                Err(TryAcquireError::Paused) => u64::MAX,
                Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
            };
            let near = got.abs_diff(expected) as f64 <= slack;
            prop_assert!(near, "{n}: {got}, not {expected}: {:?}", self.events);
            if got == 0 {
                break;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(
            prop::test_runner::FileFailurePersistence::Direct(concat!(
                env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/rate_window.txt"
            )),
        )),
        cases: 400,
        ..ProptestConfig::default()
    })]
    #[test]
    fn grants_keep_to_the_window_and_to_their_order(
        permits in 1..5_000_usize,
        millis in 1..5_000_u64,
        burst in 1..8_usize,
        catch_up in prop_oneof![Just(0), Just(1_000_000_u64), 0..50_000_000_u64],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let first = rate(permits, millis);
        paused().block_on(async {
            let limiter = Limiter::builder(first)
                .burst(NonZeroUsize::new(burst).unwrap())
                .catch_up(Duration::from_nanos(catch_up))
                .build();
            let mut world = World {
                start: Instant::now(),
                limiter: Arc::new(limiter),
                line: Vec::new(),
                held: Vec::new(),
                events: Vec::new(),
                refunded: Vec::new(),
            };
            for (id, step) in steps.into_iter().enumerate() {
                let wait = match step {
                    Step::Wait(n) if n > burst => continue,
                    Step::Pass(micros) => Some(Duration::from_micros(micros)),
                    _ => None,
                };
                // Somebody may leave who has been granted and does not know.
                if !matches!(step, Step::Leave(_)) {
                    world.look()?;
                }
                if let Some(wait) = wait {
                    tokio::time::advance(wait).await;
                }
                world.run(id, step)?;
            }
            world.look()?;
            world.check_windows(first, catch_up as f64 / 1e9)?;
            if catch_up == 0 {
                world.line.clear();
                world.check_refunds(first)?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
