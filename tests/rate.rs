//! The rate limiter on std and tokio: the paused clock, where everything is
//! exact, and a look at the real one.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use futures_core::Stream;
use selvedge::nz;
use selvedge::rate::{
    Acquire, AcquireError, FromIter, Gcra, Limiter, Rate, Reservation, TooMany, TryAcquireError,
    rate_limited, rate_limited_iter, rate_limited_stream,
};
use selvedge::timeout::{Deadline, with_timeout, within};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use support::{paused, perturbed};
use tokio::time::{Instant, sleep};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready_ok};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn second(n: usize) -> Rate {
    Rate::per_second(n.try_into().unwrap())
}

async fn collect<S: Stream>(stream: S) -> Vec<S::Item> {
    let mut stream = pin!(stream);
    let mut items = Vec::new();
    while let Some(item) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        items.push(item);
    }
    items
}

fn is<T: Send + Sync>() {}

#[test]
fn handles_travel_and_a_limiter_is_small() {
    is::<Limiter>();
    is::<Acquire<Arc<Limiter>>>();
    is::<Reservation<Arc<Limiter>>>();
    assert!(size_of::<Limiter>() <= 64, "{}", size_of::<Limiter>());
}

#[test]
fn ten_ids_at_ten_a_second_take_nine_tenths() {
    perturbed(|perturb| async move {
        // Not a whole number of the clock's ticks after its start.
        tokio::time::advance(Duration::from_nanos(1_234_567)).await;
        let start = Instant::now();
        let ids = perturb.around(collect(rate_limited(0..10, nz!(10)))).await;
        assert_eq!(ids, (0..10).collect::<Vec<_>>());
        // tokio's own grain is all that may be on top.
        assert!((ms(900)..=ms(901)).contains(&start.elapsed()), "{:?}", start.elapsed());
    });
    paused().block_on(async {
        let start = Instant::now();
        collect(rate_limited(0..10, nz!(10))).await;
        assert_eq!(start.elapsed(), ms(900));
    });
}

#[test]
fn rates_above_the_grain_of_the_clock_are_kept() {
    paused().block_on(async {
        let limiter = Limiter::per_second(nz!(100_000));
        let start = Instant::now();
        let mut grants = Vec::new();
        for _ in 0..=10_000 {
            limiter.acquire(1).await.unwrap();
            grants.push(start.elapsed());
        }
        assert_eq!(start.elapsed(), ms(100));
        // In any window of 10 ms: a tenth of them, and 1 ms of batch.
        let most = (0..grants.len())
            .map(|i| grants.partition_point(|at| *at <= grants[i] + ms(10)) - i)
            .max();
        assert!(most <= Some(limiter.most_in(ms(10)) as usize), "{most:?}");
        assert_eq!(limiter.most_in(ms(10)), 1_101);
        assert_eq!(limiter.stats().granted, 10_001);
    });
}

#[test]
fn late_timers_may_be_caught_up_with_for_longer() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(100)).catch_up(ms(1_000)).build();
        let start = Instant::now();
        limiter.acquire(1).await.unwrap();
        limiter.acquire(1).await.unwrap();
        assert_eq!(start.elapsed(), ms(10));
        // Somebody waits, and time is held up.
        let mut held_up = spawn(limiter.acquire(1));
        assert_pending!(held_up.poll());
        tokio::time::advance(ms(500)).await;
        assert_ready_ok!(held_up.poll());
        let arrears = (0..1_000).take_while(|_| limiter.try_acquire(1).is_ok()).count();
        assert_eq!(arrears, 49);
        assert_eq!(limiter.stats().granted, 52);
    });
}

#[test]
fn idle_time_is_not_caught_up_with() {
    paused().block_on(async {
        let limiter = Limiter::per_second(nz!(100_000));
        for _ in 0..50 {
            limiter.acquire(1).await.unwrap();
        }
        // In the middle of a batch: the others of it are still there.
        assert_eq!(limiter.try_acquire(1), Ok(()));
        assert_eq!(limiter.try_acquire(1), Ok(()));
        sleep(ms(1_000)).await;
        assert_eq!(limiter.try_acquire(1), Ok(()));
        assert!(limiter.try_acquire(1).is_err());
    });
}

#[test]
fn strict_spacing_is_strict() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(2_000)).strict().build();
        let start = Instant::now();
        let mut last = None;
        for _ in 0..20 {
            limiter.acquire(1).await.unwrap();
            let at = start.elapsed();
            assert!(last.is_none_or(|last| at - last >= Duration::from_micros(500)));
            last = Some(at);
        }
        assert_eq!(limiter.most_in(Duration::from_micros(499)), 1);
    });
}

#[test]
fn a_burst_is_there_when_asked_for_and_saved_up_again() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(10)).burst(nz!(5)).build();
        assert_eq!(limiter.try_acquire(5), Ok(()));
        assert_eq!(limiter.try_acquire(1), Err(TryAcquireError::NotYet(ms(100))));
        sleep(ms(10_000)).await;
        assert_eq!(limiter.try_acquire(5), Ok(()));
        assert_eq!(limiter.try_acquire(2), Err(TryAcquireError::NotYet(ms(200))));

        let empty = Limiter::builder(second(10)).burst(nz!(5)).starts_with(0).build();
        let start = Instant::now();
        empty.acquire(2).await.unwrap();
        assert_eq!(start.elapsed(), ms(200));
        assert_eq!(empty.try_acquire(0), Ok(()));

        // In whatever order it was told.
        let three = Limiter::builder(second(10)).starts_with(3).burst(nz!(5)).build();
        assert_eq!((three.try_acquire(3), three.try_acquire(1).is_err()), (Ok(()), true));
        let full = Limiter::builder(second(10)).starts_with(9).burst(nz!(5)).build();
        assert_eq!((full.try_acquire(5), full.try_acquire(1).is_err()), (Ok(()), true));
    });
}

#[test]
fn more_than_the_burst_is_an_error_and_not_a_wait() {
    let limiter = Limiter::builder(second(1)).burst(nz!(3)).build();
    let many = |asked| TooMany { asked, burst: 3 };
    assert_eq!(limiter.try_acquire(4), Err(TryAcquireError::TooMany(many(4))));
    assert_eq!(limiter.acquire_blocking(usize::MAX), Err(AcquireError::TooMany(many(usize::MAX))));
    let mut acquire = spawn(limiter.acquire(4));
    let error = tokio_test::assert_ready_err!(acquire.poll());
    assert_eq!(error.to_string(), "asked for 4 permits at once of a burst of 3");
    assert_eq!(limiter.stats().refused, 3);
    assert_eq!(limiter.try_acquire(3), Ok(()));
}

#[test]
fn rates_are_fractions() {
    assert_eq!(second(7).to_string(), "7/s");
    assert_eq!(Rate::every(Duration::from_secs(2)).to_string(), "0.5/s");
    assert_eq!(Rate::new(nz!(6_000), Duration::from_secs(60)), second(100));
    // The extremes are rates too.
    for rate in [
        Rate::new(nz!(usize::MAX), Duration::from_nanos(1)),
        Rate::new(nz!(usize::MAX), Duration::from_nanos(u64::MAX - 1)),
        Rate::every(Duration::from_nanos(u64::MAX)),
    ] {
        let limiter = Limiter::builder(rate).burst(nz!(usize::MAX)).build();
        assert_eq!(limiter.try_acquire(u32::MAX as usize), Ok(()));
        let _ = limiter.try_acquire(u32::MAX as usize);
        limiter.set_rate(second(1));
        limiter.set_rate(rate);
        let _ = limiter.try_acquire(1);
        assert!(limiter.most_in(Duration::MAX) > 0);
    }
}

#[test]
fn a_wait_inside_a_timeout_is_on_the_same_clock() {
    paused().block_on(async {
        let limiter = Limiter::per_second(nz!(2));
        limiter.acquire(1).await.unwrap();
        let start = Instant::now();
        let waited = with_timeout(limiter.acquire(1), Duration::from_secs(60)).await;
        assert_eq!(waited, Ok(Ok(())));
        assert_eq!(start.elapsed(), ms(500));
        let waited = tokio::time::timeout(Duration::from_secs(60), limiter.acquire(1)).await;
        assert!(waited.is_ok());
        assert_eq!(start.elapsed(), ms(1_000));
    });
}

/// The same with governor, which waits on a clock of its own: tokio sees an
/// idle runtime, moves its clock to the timeout, and the wait is over before
/// it began.
#[test]
fn the_peer_with_a_clock_of_its_own_times_out() {
    paused().block_on(async {
        let quota = governor::Quota::per_second(2.try_into().unwrap());
        let limiter = governor::RateLimiter::direct(quota);
        limiter.until_n_ready(2.try_into().unwrap()).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(60), limiter.until_ready()).await;
        assert!(waited.is_err());
    });
}

#[test]
fn a_deadline_that_cannot_be_met_fails_at_once() {
    paused().block_on(async {
        let limiter = Limiter::per_second(nz!(1));
        limiter.acquire(1).await.unwrap();
        let start = Instant::now();
        let late =
            with_timeout(limiter.acquire(1).by_deadline(), ms(999)).named("whole").await.unwrap();
        let Err(AcquireError::Late(late)) = late else { panic!("{late:?}") };
        assert_eq!(late.deadline.name(), "whole");
        assert_eq!(late.needs, Some(ms(1_000)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        // Who does not ask for the deadline waits, and is dropped by it.
        assert!(with_timeout(limiter.acquire(1), ms(999)).await.is_err());
        assert_eq!(start.elapsed(), ms(999));
        sleep(ms(1)).await;
        limiter.acquire(1).await.unwrap();
        // In time with nothing to spare is in time.
        assert_eq!(with_timeout(limiter.acquire(1).by_deadline(), ms(1_000)).await, Ok(Ok(())));
        // Those in line count.
        let mut first = pin!(limiter.acquire(1));
        let second = async {
            let late = with_timeout(limiter.acquire(1).by_deadline(), ms(1_999)).await.unwrap();
            assert!(matches!(late, Err(AcquireError::Late(_))));
            with_timeout(async { limiter.acquire(1).by_deadline().await }, ms(2_000)).await
        };
        let both = async { tokio::join!(first.as_mut(), second) };
        assert_eq!(both.await, (Ok(()), Ok(Ok(()))));
        assert_eq!(limiter.stats().refused, 2);
    });
}

#[test]
fn a_deadline_that_becomes_impossible_ends_the_wait() {
    paused().block_on(async {
        let limiter = Limiter::per_second(nz!(1));
        limiter.acquire(1).await.unwrap();
        // Told the deadline, and not interrupted by it.
        let deadline = Deadline::after(ms(5_000));
        let mut waiting = spawn(limiter.acquire(1).by_deadline());
        assert_pending!(within(Some(deadline), || waiting.poll()));
        limiter.set_rate(Rate::every(Duration::from_secs(100)));
        sleep(ms(1_001)).await;
        let late = tokio_test::assert_ready_err!(waiting.poll());
        assert!(matches!(late, AcquireError::Late(late) if late.needs == Some(ms(98_999))));
        // Nobody knows how long a pause is: it is waited for until the deadline.
        limiter.pause();
        let start = Instant::now();
        let deadline = Deadline::after(ms(5_000));
        let mut waiting = pin!(limiter.acquire(1).by_deadline());
        let late = poll_fn(|cx| within(Some(deadline), || waiting.as_mut().poll(cx))).await;
        assert!(matches!(late, Err(AcquireError::Late(late)) if late.needs.is_none()));
        assert_eq!(start.elapsed(), ms(5_000));
        assert_eq!(limiter.stats().waiting, 0);
    });
}

#[test]
fn a_thread_waits_under_its_deadline() {
    let limiter = Limiter::per_second(nz!(100));
    let start = std::time::Instant::now();
    for _ in 0..4 {
        limiter.acquire_blocking(1).unwrap();
    }
    assert!(start.elapsed() >= ms(29), "{:?}", start.elapsed());
    limiter.set_rate(Rate::every(Duration::from_secs(3_600)));
    let late = limiter.acquire_deadline(1, Deadline::after(ms(50)));
    assert!(matches!(late, Err(AcquireError::Late(_))));
    // Paused while it stands in line: it gives up at its deadline.
    limiter.pause();
    let late = limiter.reserve_deadline(1, Deadline::after(ms(5))).map(drop);
    assert!(matches!(late, Err(AcquireError::Late(late)) if late.needs.is_none()));
    assert_eq!(limiter.stats().waiting, 0);
}

#[test]
fn a_task_needs_no_runtime_on_the_real_clock() {
    let limiter = Limiter::per_second(nz!(1_000));
    let start = std::time::Instant::now();
    selvedge::swap::future::block_on(async {
        for _ in 0..20 {
            limiter.acquire(1).await.unwrap();
        }
    });
    assert!(start.elapsed() >= ms(18), "{:?}", start.elapsed());
}

#[test]
fn tasks_and_threads_share_a_line_on_the_real_clock() {
    let limiter = Arc::new(Limiter::per_second(nz!(2_000)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let start = std::time::Instant::now();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            std::thread::spawn(move || (0..50).for_each(|_| limiter.acquire_blocking(1).unwrap()))
        })
        .collect();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move {
                    for _ in 0..50 {
                        limiter.acquire(1).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // 300 grants: 299 intervals of half a millisecond, less the catch-up.
    assert!(start.elapsed() >= ms(148), "{:?}", start.elapsed());
    assert_eq!(limiter.stats().granted, 300);
    assert_eq!(limiter.stats().waiting, 0);
}

/// Those who give up after random times, between those who stay: at the end
/// nobody stands in line, and every permit is accounted for.
#[test]
fn a_storm_of_cancellations_strands_nobody() {
    let limiter = Arc::new(Limiter::builder(second(20_000)).burst(nz!(3)).build());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let picked_up = runtime.block_on(async {
        let tasks: Vec<_> = (0..12_u64)
            .map(|task| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move {
                    let mut picked_up = 0;
                    for round in 0..60 {
                        let n = 1 + (task + round) % 3;
                        let acquire = limiter.acquire(n as usize);
                        if task < 4 {
                            acquire.await.unwrap();
                            picked_up += n;
                        } else {
                            let patience = Duration::from_micros(task * round * 5);
                            let acquired = tokio::time::timeout(patience, acquire).await;
                            picked_up += if acquired.is_ok() { n } else { 0 };
                        }
                    }
                    picked_up
                })
            })
            .collect();
        let mut picked_up = 0;
        for task in tasks {
            picked_up += task.await.unwrap();
        }
        picked_up
    });
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.waiting), (picked_up, 0));
}

#[test]
fn a_thread_may_wait_for_a_paused_clock() {
    paused().block_on(async {
        let limiter = Arc::new(Limiter::per_second(nz!(100)));
        limiter.acquire(1).await.unwrap();
        let waiting = Arc::clone(&limiter);
        // Its thread is the runtime's, and so is its clock.
        let task = tokio::task::spawn_blocking(move || waiting.acquire_blocking(1));
        while limiter.stats().waiting == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(ms(10)).await;
        assert_eq!(task.await.unwrap(), Ok(()));
    });
}

#[test]
fn a_new_rate_plans_the_line_anew() {
    paused().block_on(async {
        let limiter = Arc::new(Limiter::per_second(nz!(1)));
        limiter.acquire(1).await.unwrap();
        let start = Instant::now();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let acquire = Limiter::acquire_owned(&limiter, 1);
                tokio::spawn(async move {
                    acquire.await.unwrap();
                    start.elapsed()
                })
            })
            .collect();
        sleep(ms(100)).await;
        // Nine tenths of a permit are owed.
        limiter.set_rate(second(10));
        let mut times = Vec::new();
        for task in tasks {
            times.push(task.await.unwrap());
        }
        assert_eq!(times, [ms(190), ms(290), ms(390)]);
        // And slower.
        let acquire = limiter.acquire(1);
        limiter.set_rate(second(2));
        acquire.await.unwrap();
        assert_eq!(start.elapsed(), ms(890));
    });
}

#[test]
fn a_pause_holds_everything_still() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(10)).burst(nz!(2)).build();
        limiter.acquire(1).await.unwrap();
        limiter.pause();
        assert_eq!(limiter.rate(), None);
        assert_eq!(limiter.try_acquire(1), Err(TryAcquireError::Paused));
        let start = Instant::now();
        let mut first = spawn(limiter.acquire(2));
        assert_pending!(first.poll());
        sleep(ms(60_000)).await;
        assert_pending!(first.poll());
        // A paused limiter takes a rate to go on with.
        limiter.set_rate(second(1));
        assert_eq!(limiter.rate(), None);
        limiter.resume();
        assert!(first.is_woken(), "to set its timer");
        assert_pending!(first.poll());
        // One was there and stays there: the other takes a second.
        first.await.unwrap();
        assert_eq!(start.elapsed(), ms(61_000));
        limiter.resume();
        assert_eq!(limiter.rate(), Some(second(1)));
    });
}

#[test]
fn first_come_first_served_whatever_the_size() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(10)).burst(nz!(5)).build();
        limiter.try_acquire(5).unwrap();
        let mut large = spawn(limiter.acquire(5));
        let mut small = spawn(limiter.acquire(1));
        assert_pending!(large.poll());
        assert_pending!(small.poll());
        sleep(ms(400)).await;
        assert_pending!(small.poll());
        // There is enough for one, and nobody barges in.
        assert_eq!(limiter.try_acquire(1), Err(TryAcquireError::NotYet(ms(300))));
        sleep(ms(100)).await;
        assert_pending!(small.poll());
        assert!(large.is_woken());
        assert_ready_ok!(large.poll());
        // Somebody who leaves holds nobody up.
        let mut large = spawn(limiter.acquire(5));
        assert_pending!(large.poll());
        let mut last = spawn(limiter.acquire(1));
        assert_pending!(last.poll());
        sleep(ms(100)).await;
        assert_ready_ok!(small.poll());
        drop(large);
        assert!(last.is_woken(), "to set its timer for an earlier turn");
        assert_pending!(last.poll());
        sleep(ms(100)).await;
        assert_ready_ok!(last.poll());
    });
}

/// The head's future is held and not polled: it is granted when the next one's
/// turn would be, which goes on an interval later.
#[test]
fn a_head_that_nobody_polls_strands_nobody() {
    paused().block_on(async {
        let limiter = Limiter::per_second(nz!(10));
        limiter.acquire(1).await.unwrap();
        let start = Instant::now();
        let mut head = spawn(limiter.acquire(1));
        assert_pending!(head.poll());
        limiter.acquire(1).await.unwrap();
        assert_eq!(start.elapsed(), ms(299));
        limiter.acquire(1).await.unwrap();
        assert_eq!(start.elapsed(), ms(399));
        assert!(head.is_woken());
        assert_ready_ok!(head.poll());
        // One that is dropped after its grant gives it back: what time has not
        // made up for.
        let mut granted = spawn(limiter.acquire(1));
        let mut other = spawn(limiter.acquire(1));
        assert_pending!(granted.poll());
        assert_pending!(other.poll());
        tokio::time::advance(ms(100)).await;
        assert_pending!(other.poll());
        assert!(granted.is_woken());
        drop(granted);
        assert!(other.is_woken());
        assert_ready_ok!(other.poll());
        assert_eq!(limiter.stats().granted, 5);
    });
}

#[test]
fn refunds_are_exact() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(10)).burst(nz!(3)).build();
        let wait = || match limiter.try_acquire(3) {
            Err(TryAcquireError::NotYet(wait)) => wait,
            other => panic!("{other:?}"),
        };
        let first = limiter.reserve(1).await.unwrap();
        sleep(ms(40)).await;
        limiter.try_acquire(1).unwrap();
        assert_eq!(wait(), ms(160));
        assert_eq!(first.permits(), 1);
        drop(first);
        // As if never taken: the bucket was full at 40.
        assert_eq!(wait(), ms(100));
        // Committed: nothing comes back.
        limiter.reserve(2).await.unwrap().commit();
        assert_eq!(wait(), ms(300));
        // Time makes up for a permit that is held: it is not given twice.
        sleep(ms(300)).await;
        let held = limiter.reserve(1).await.unwrap();
        sleep(ms(100)).await;
        limiter.try_acquire(3).unwrap();
        drop(held);
        assert_eq!(wait(), ms(300));
        // Forgotten is committed.
        sleep(ms(300)).await;
        std::mem::forget(limiter.reserve(3).await.unwrap());
        assert_eq!(wait(), ms(300));
        // In a pause as well.
        sleep(ms(300)).await;
        let held = limiter.reserve_blocking(2).unwrap();
        sleep(ms(150)).await;
        limiter.pause();
        drop(held);
        limiter.resume();
        assert_eq!(limiter.try_acquire(3), Ok(()));
    });
}

#[test]
fn refunds_know_of_each_other() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(1)).burst(nz!(3)).build();
        let one = limiter.reserve(1).await.unwrap();
        let other = limiter.reserve(1).await.unwrap();
        sleep(ms(1_000)).await;
        limiter.try_acquire(1).unwrap();
        // Time has made up for one of the two.
        drop(one);
        drop(other);
        assert_eq!(limiter.try_acquire(3), Err(TryAcquireError::NotYet(ms(1_000))));
    });
}

#[test]
fn a_refund_serves_the_line() {
    paused().block_on(async {
        let limiter = Limiter::builder(second(1)).burst(nz!(4)).build();
        let held = limiter.reserve(4).await.unwrap();
        let mut line: Vec<_> = [1, 2, 2].into_iter().map(|n| spawn(limiter.acquire(n))).collect();
        for waiting in &mut line {
            assert_pending!(waiting.poll());
        }
        drop(held);
        assert!(line[0].is_woken() && line[1].is_woken());
        assert!(line[2].is_woken(), "to set its timer for an earlier turn");
        assert_ready_ok!(line[0].poll());
        assert_ready_ok!(line[1].poll());
        assert_pending!(line[2].poll());
        let start = Instant::now();
        line.pop().unwrap().await.unwrap();
        assert_eq!(start.elapsed(), ms(1_000));
    });
}

/// A waker whose end drops a reservation of the very limiter in whose line it
/// stood: the last waker of a task drops the task.
#[test]
fn a_waker_that_holds_permits_may_be_dropped_with_its_waiter() {
    struct Holds(#[allow(dead_code, reason = "held, to be dropped")] Reservation<Arc<Limiter>>);
    impl std::task::Wake for Holds {
        fn wake(self: Arc<Self>) {}
    }
    let limiter = Arc::new(Limiter::new(Rate::every(Duration::from_secs(60))));
    let held = assert_ready_ok!(spawn(Limiter::reserve_owned(&limiter, 1)).poll());
    let waker = std::task::Waker::from(Arc::new(Holds(held)));
    let mut acquire = Box::pin(Limiter::acquire_owned(&limiter, 1));
    let mut context = std::task::Context::from_waker(&waker);
    assert!(acquire.as_mut().poll(&mut context).is_pending());
    assert!(acquire.as_mut().poll(&mut context).is_pending());
    drop(waker);
    drop(acquire);
    assert_eq!(limiter.try_acquire(1), Ok(()));
}

#[test]
fn a_waiter_that_moves_to_another_task_is_woken_there() {
    paused().block_on(async {
        let limiter = Arc::new(Limiter::builder(second(1)).burst(nz!(2)).build());
        let held = Limiter::reserve_owned(&limiter, 2).await.unwrap();
        let mut first = spawn(Limiter::acquire_owned(&limiter, 1));
        assert_pending!(first.poll());
        let moved = std::mem::replace(&mut *first, Limiter::acquire_owned(&limiter, 1));
        let mut second = spawn(moved);
        assert_pending!(second.poll());
        drop(held);
        assert!(second.is_woken() && !first.is_woken());
        assert_ready_ok!(second.poll());
    });
}

#[test]
fn a_slow_consumer_gets_no_arrears() {
    paused().block_on(async {
        let mut ids = pin!(rate_limited(0..5, nz!(10)));
        let start = Instant::now();
        let mut times = Vec::new();
        while let Some(id) = poll_fn(|context| ids.as_mut().poll_next(context)).await {
            times.push(start.elapsed());
            if id == 1 {
                sleep(ms(5_000)).await;
            }
        }
        assert_eq!(times, [0, 100, 5_100, 5_200, 5_300].map(ms));
        assert_eq!(ids.limiter().stats().granted, 5);
    });
}

#[test]
fn streams_and_iterators_may_share_a_limiter() {
    paused().block_on(async {
        let limiter = Arc::new(Limiter::per_second(nz!(10)));
        let (tx, rx) = selvedge::queue::bounded(nz!(8));
        (0..4).for_each(|n| tx.send(n).unwrap());
        drop(tx);
        let start = Instant::now();
        let a = collect(rate_limited_stream(rx.into_stream(), Arc::clone(&limiter)));
        let b = collect(rate_limited_stream(FromIter::new(0..4), Arc::clone(&limiter)));
        let (a, b) = tokio::join!(a, b);
        assert_eq!((a, b), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
        assert_eq!(start.elapsed(), ms(700));
        // An item that waits is dropped with its stream, and costs nothing.
        let mut stream = pin!(rate_limited_stream(FromIter::new(0..4), Arc::clone(&limiter)));
        poll_fn(|cx| {
            assert!(stream.as_mut().poll_next(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        assert_eq!(stream.size_hint(), (4, Some(4)));
        assert_eq!(limiter.stats().waiting, 1);
    });
    let limiter = Limiter::per_second(nz!(1_000));
    let start = std::time::Instant::now();
    assert_eq!(rate_limited_iter(0..10, limiter).sum::<u32>(), 45);
    assert!(start.elapsed() >= ms(8), "{:?}", start.elapsed());
}

/// A billion grants, most of them a thousand at a time: a loop over each would
/// take a minute unoptimised (the bench runs it).
#[test]
fn a_billion_grants_end_where_arithmetic_says() {
    for (rate, permits, period) in [
        (second(7), 7_u128, 1_000_000_000_u128),
        (Rate::new(nz!(33_333), Duration::from_secs(10)), 33_333, 10_000_000_000),
    ] {
        let due = |k: u64| u64::try_from((u128::from(k) * period).div_ceil(permits)).unwrap();
        let mut single = Gcra::new(rate, 1, 0);
        let mut now = 0;
        for k in 0..200_000 {
            if let Err(wait) = single.take(now, 1) {
                now += wait;
                single.take(now, 1).unwrap();
            }
            assert_eq!(now, due(k));
        }
        let mut schedule = Gcra::new(rate, 1_000, 0);
        let mut now = 0;
        for thousand in 0..1_000_000 {
            if let Err(wait) = schedule.take(now, 1_000) {
                now += wait;
                schedule.take(now, 1_000).unwrap();
            }
            assert_eq!(now, due(thousand * 1_000));
        }
        // The next one, and not a nanosecond sooner.
        assert_eq!(schedule.take(now, 1), Err(due(999_999_001) - now));
    }
}
