//! What callers do that no contract invites: destructors and wakers that panic
//! or come back to the block that runs them, iterators that lie, calls from
//! where a thread ends or unwinds.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use selvedge::counter::{SafeCounter, StripedCounter};
use selvedge::outcome::Outcome;
use selvedge::queue::{self, Receiver, RecvFuture, Sender};
use selvedge::rate::{Limiter, Rate};
use selvedge::swap::future::block_on;
use selvedge::{nz, threads::Threads};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// A hang fails instead of stopping the whole run.
fn in_time(body: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let body = thread::spawn(move || {
        let end = catch_unwind(AssertUnwindSafe(body));
        let _ = done.send(());
        end
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("no hang");
    if let Err(payload) = body.join().unwrap() {
        std::panic::resume_unwind(payload);
    }
}

fn caught<R>(body: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(body))
}

/// A value whose destructor does something.
struct AtEnd(Box<dyn FnMut() + Send>);

impl AtEnd {
    fn new(what: impl FnMut() + Send + 'static) -> Self {
        Self(Box::new(what))
    }
}

impl fmt::Debug for AtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtEnd")
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A waker that counts and does something.
struct OnWake(Box<dyn Fn() + Send + Sync>, AtomicUsize);

impl OnWake {
    fn new(what: impl Fn() + Send + Sync + 'static) -> (Arc<Self>, Waker) {
        let this = Arc::new(Self(Box::new(what), AtomicUsize::new(0)));
        (Arc::clone(&this), this.into())
    }

    fn woken(&self) -> usize {
        self.1.load(SeqCst)
    }
}

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, SeqCst);
        (self.0)();
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn both<T>() -> [(Sender<T>, Receiver<T>); 2] {
    [queue::bounded(nz!(8)), queue::unbounded()]
}

#[test]
fn items_that_panic_when_dropped_are_all_dropped() {
    in_time(|| {
        for bad in 0..5 {
            for (tx, rx) in both() {
                let dropped = Arc::new(AtomicUsize::new(0));
                for n in 0..5 {
                    let dropped = Arc::clone(&dropped);
                    let item = AtEnd::new(move || {
                        dropped.fetch_add(1, SeqCst);
                        assert_ne!(n, bad);
                    });
                    tx.send(item).unwrap();
                }
                caught(move || drop(rx)).unwrap_err();
                assert_eq!(dropped.load(SeqCst), 5);
                assert!(tx.is_closed());
                tx.send(AtEnd::new(|| ())).unwrap_err();
            }
        }
    });
}

#[test]
fn items_may_use_their_queue_when_dropped() {
    in_time(|| {
        for now in [false, true] {
            for (tx, rx) in both() {
                let dropped = Arc::new(AtomicUsize::new(0));
                for _ in 0..4 {
                    let (tx2, dropped) = (tx.clone(), Arc::clone(&dropped));
                    let item = AtEnd::new(move || {
                        assert!(tx2.is_closed() && !tx2.close());
                        assert!(tx2.close_now().is_empty());
                        tx2.send(AtEnd::new(|| ())).unwrap_err();
                        dropped.fetch_add(1, SeqCst);
                    });
                    tx.send(item).unwrap();
                }
                drop(tx); // the items hold the others
                drop(now.then(|| rx.close_now()));
                drop(rx);
                assert_eq!(dropped.load(SeqCst), 4);
            }
        }
    });
}

#[test]
fn wakers_may_use_the_queue_that_wakes_them() {
    type Act = fn(&Sender<u8>, &Receiver<u8>) -> bool;
    let acts: [Act; 7] = [
        |_, rx| rx.try_recv().is_ok(),
        |tx, _| tx.try_send(9).is_ok(),
        |tx, _| tx.close(),
        |_, rx| rx.close_now().is_empty(),
        |tx, _| tx.close_with("a cause"),
        |_, rx| poll(&mut rx.recv_async(), Waker::noop()).is_ready(),
        |tx, _| poll(&mut tx.send_async(3), Waker::noop()).is_ready(),
    ];
    for act in acts {
        in_time(move || {
            let (tx, rx) = queue::bounded(nz!(2));
            let (tx2, rx2) = (tx.clone(), rx.clone());
            let (count, waker) = OnWake::new(move || _ = act(&tx2, &rx2));
            let (mut first, mut second) = (rx.recv_async(), rx.recv_async());
            assert!(poll(&mut first, &waker).is_pending());
            assert!(poll(&mut second, &waker).is_pending());
            tx.send(1).unwrap();
            tx.close();
            assert_eq!(count.woken(), 2);
        });
    }
}

#[test]
fn a_panicking_waker_leaves_the_queue_usable() {
    in_time(|| {
        let (tx, rx) = queue::bounded(nz!(2));
        let (_, bad) = OnWake::new(|| panic!("waker"));
        let (count, good) = OnWake::new(|| ());
        let (mut first, mut second) = (rx.recv_async(), rx.recv_async());
        assert!(poll(&mut first, &bad).is_pending());
        assert!(poll(&mut second, &good).is_pending());
        // The panic stops at the waker: the sender has sent, and is not to blame.
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        assert_eq!(count.woken(), 1);
        assert!(matches!(poll(&mut second, &good), Poll::Ready(Ok(1))));
        assert!(matches!(poll(&mut first, &good), Poll::Ready(Ok(2))));
    });
}

#[test]
fn a_value_that_panics_when_dropped_does_not_keep_the_wake_up() {
    in_time(|| {
        let (tx, rx) = queue::bounded(nz!(1));
        tx.send(AtEnd::new(|| ())).unwrap();
        let (count, waker) = OnWake::new(|| ());
        let mut first = tx.send_async(AtEnd::new(|| panic!("value")));
        let mut second = tx.send_async(AtEnd::new(|| ()));
        assert!(poll(&mut first, Waker::noop()).is_pending());
        assert!(poll(&mut second, &waker).is_pending());
        drop(rx.recv().unwrap());
        assert_eq!(count.woken(), 0, "it was the first one's");
        caught(move || drop(first)).unwrap_err();
        assert_eq!(count.woken(), 1);
        assert!(poll(&mut second, &waker).is_ready());
    });
}

/// Polls whoever is woken until nobody is; how many got ready.
fn run_woken<F: Future + Unpin>(all: &mut [(F, Arc<OnWake>, Waker)]) -> usize {
    let mut seen = vec![0; all.len()];
    let mut ready = 0;
    loop {
        let mut idle = true;
        for ((future, count, waker), seen) in all.iter_mut().zip(&mut seen) {
            if count.woken() > *seen {
                *seen = count.woken();
                idle = false;
                ready += usize::from(poll(future, waker).is_ready());
            }
        }
        if idle {
            return ready;
        }
    }
}

fn waiting<F: Future + Unpin>(mut future: F) -> (F, Arc<OnWake>, Waker) {
    let (count, waker) = OnWake::new(|| ());
    assert!(poll(&mut future, &waker).is_pending());
    (future, count, waker)
}

#[test]
fn a_batch_wakes_as_many_as_it_serves() {
    in_time(|| {
        let (tx, rx) = queue::bounded(nz!(3));
        let mut receivers: Vec<(RecvFuture<'_, u8>, _, _)> =
            (0..3).map(|_| waiting(rx.recv_async())).collect();
        tx.send_many(&mut VecDeque::from([1, 2, 3])).unwrap();
        assert_eq!(run_woken(&mut receivers), 3);

        tx.send_many(&mut VecDeque::from([1, 2, 3])).unwrap();
        let mut senders: Vec<_> = (4..7).map(|n| waiting(tx.send_async(n))).collect();
        let mut into = Vec::new();
        assert_eq!(rx.recv_many(&mut into, NonZeroUsize::MAX).unwrap(), 3);
        assert_eq!(run_woken(&mut senders), 3);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [4, 5, 6]);
    });
}

#[test]
fn the_longest_timeout_waits() {
    in_time(|| {
        let (tx, rx) = queue::bounded(nz!(1));
        let receiver = thread::spawn(move || {
            (0..3).map(|_| rx.recv_timeout(Duration::MAX).unwrap()).collect::<Vec<_>>()
        });
        (1..4).for_each(|n| tx.send_timeout(n, Duration::MAX).unwrap());
        assert_eq!(receiver.join().unwrap(), [1, 2, 3]);
    });
}

fn workers(n: usize) -> Threads<'static> {
    Threads::new().max_workers(NonZeroUsize::new(n).unwrap()).chunk(nz!(1))
}

/// Every form of the map, errors and panics included.
fn maps_work(n: usize) {
    let (threads, double) = (workers(n), |x: usize| x * 2);
    let wanted: Vec<usize> = (0..40).map(double).collect();
    assert_eq!(threads.map(0..40, double), wanted);
    assert_eq!(threads.map_range(0..40, double), wanted);
    assert_eq!(threads.stream(0..40, double, |results| results.collect::<Vec<_>>()), wanted);
    let error = threads.try_map(0..40, |x| if x < 7 { Ok(x) } else { Err(x) }).unwrap_err();
    assert_eq!((error.index, error.into_error()), (7, Some(7)));
    let ends = threads.map_outcomes(0..2, |x| if x == 1 { panic!("one") } else { Ok::<_, ()>(x) });
    assert!(matches!(ends[..], [Outcome::Ok(0), Outcome::Panicked(_)]));
    caught(|| threads.map(0..40, |x| assert_ne!(x, 5))).unwrap_err();
}

fn maps_at_end(n: usize) -> (AtEnd, Arc<AtomicBool>) {
    let ran = Arc::new(AtomicBool::new(false));
    let ran2 = Arc::clone(&ran);
    let end = AtEnd::new(move || {
        maps_work(n);
        ran2.store(true, SeqCst);
    });
    (end, ran)
}

#[test]
fn maps_work_while_their_caller_unwinds() {
    in_time(|| {
        for n in [1, 4] {
            let (end, ran) = maps_at_end(n);
            let unwound = caught(move || {
                let _end = end;
                panic!("outer");
            });
            assert!(unwound.is_err() && ran.load(SeqCst));
        }
    });
}

#[test]
fn maps_work_where_a_thread_ends() {
    thread_local! { static END: Mutex<Option<AtEnd>> = const { Mutex::new(None) } }
    in_time(|| {
        for n in [1, 4] {
            let (end, ran) = maps_at_end(n);
            thread::spawn(|| END.with(|place| *place.lock().unwrap() = Some(end))).join().unwrap();
            assert!(ran.load(SeqCst));
        }
    });
}

#[test]
fn payloads_that_panic_when_dropped_leave_the_pool_working() {
    in_time(|| {
        for n in [1, 2, 4] {
            let dropped = Arc::new(AtomicUsize::new(0));
            let ends = workers(n).map_outcomes(0..50, |x| {
                let dropped = Arc::clone(&dropped);
                if x % 3 == 1 {
                    panic_any(AtEnd::new(move || {
                        dropped.fetch_add(1, SeqCst);
                        panic!("payload");
                    }));
                }
                Ok::<_, ()>(x)
            });
            assert_eq!(ends.iter().filter(|end| !end.is_ok()).count(), 17);
            assert_eq!(dropped.load(SeqCst), 17);
            maps_work(n);
        }
    });
}

#[test]
fn a_source_is_not_pulled_after_its_end() {
    in_time(|| {
        for n in [1, 4] {
            let pulls = std::cell::Cell::new(0);
            let source = || {
                pulls.set(0);
                std::iter::from_fn(|| {
                    pulls.set(pulls.get() + 1);
                    Some(pulls.get()).filter(|n| n % 4 != 0)
                })
            };
            assert_eq!(workers(n).map(source(), |x| x), [1, 2, 3]);
            assert_eq!(pulls.get(), 4);
            workers(n).stream_here(
                source(),
                |x| x,
                |mut results| {
                    assert_eq!(results.by_ref().collect::<Vec<_>>(), [1, 2, 3]);
                    assert_eq!(results.next(), None);
                },
            );
            assert_eq!(pulls.get(), 4);
        }
    });
}

#[test]
fn adds_that_fail_are_never_seen() {
    in_time(|| {
        let start = u64::MAX - 5;
        for too_much in [6, 1 << 32, (1 << 32) + 1, u64::MAX] {
            let (counter, start_line) = (SafeCounter::with_value(start), Barrier::new(3));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        start_line.wait();
                        (0..5_000).for_each(|_| assert!(counter.inc_by(too_much).is_err()));
                    });
                }
                start_line.wait();
                (0..1_000).for_each(|_| assert_eq!(counter.value(), start));
                // Room for five is room for five, whatever else fails.
                (1..=5).for_each(|n| assert_eq!(counter.inc(), Ok(start + n)));
                (0..1_000).for_each(|_| assert_eq!(counter.inc().unwrap_err().value, u64::MAX));
            });
        }
    });
}

#[test]
fn totals_beyond_64_bits_are_never_torn() {
    in_time(|| {
        const ADDS: u128 = 50_000;
        let (counter, running) = (StripedCounter::new(), AtomicUsize::new(3));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    (0..ADDS).for_each(|_| counter.inc_by(u64::MAX));
                    running.fetch_sub(1, SeqCst);
                });
            }
            while running.load(SeqCst) > 0 {
                assert_eq!(counter.value() % u128::from(u64::MAX), 0);
            }
        });
        assert_eq!(counter.take(), 3 * ADDS * u128::from(u64::MAX));
    });
}

/// What comes after the panic of a waker is granted, by the destructor of a
/// reservation and by the thread of the timers.
#[test]
fn a_panicking_waker_strands_nobody_at_a_limiter() {
    in_time(|| {
        for bad in 0..4 {
            let limiter = Limiter::builder(Rate::per_second(nz!(1))).burst(nz!(4)).build();
            let held = limiter.reserve_blocking(4).unwrap();
            let mut all: Vec<_> = (0..4)
                .map(|n| {
                    let (count, waker) = OnWake::new(move || assert_ne!(n, bad, "waker"));
                    let mut waits = limiter.acquire(1);
                    assert!(poll(&mut waits, &waker).is_pending());
                    (waits, count)
                })
                .collect();
            let _ = caught(|| drop(held));
            for (waits, count) in &mut all {
                assert_eq!(count.woken(), 1, "{bad}");
                assert!(poll(waits, Waker::noop()).is_ready());
            }
            assert_eq!((limiter.stats().granted, limiter.stats().waiting), (4, 0));
        }
        let limiter = Limiter::per_second(nz!(200));
        let (count, waker) = OnWake::new(|| panic!("waker"));
        limiter.try_acquire(1).unwrap();
        let mut first = limiter.acquire(1);
        assert!(poll(&mut first, &waker).is_pending());
        limiter.acquire_blocking(1).unwrap();
        assert!(poll(&mut first, Waker::noop()).is_ready());
        assert!(count.woken() > 0);
        block_on(limiter.acquire(1)).unwrap();
        assert_eq!((limiter.stats().granted, limiter.stats().waiting), (4, 0));
    });
}

#[test]
fn wakers_may_use_the_limiter_that_wakes_them() {
    in_time(|| {
        let limiter = Arc::new(Limiter::builder(Rate::per_second(nz!(1))).burst(nz!(2)).build());
        let held = Limiter::reserve_owned(&limiter, 1);
        let held = block_on(held).unwrap();
        limiter.try_acquire(1).unwrap();
        let other = Arc::new(Mutex::new(None));
        let (count, waker) = OnWake::new({
            let (limiter, other) = (Arc::clone(&limiter), Arc::clone(&other));
            move || {
                assert!(format!("{limiter:?}").contains("waiting: 1"));
                limiter.pause();
                limiter.try_acquire(1).unwrap_err();
                limiter.resume();
                limiter.set_rate(Rate::per_second(nz!(2)));
                drop(other.lock().unwrap().take());
            }
        });
        let mut first = Limiter::acquire_owned(&limiter, 1);
        assert!(poll(&mut first, &waker).is_pending());
        let mut second = Limiter::acquire_owned(&limiter, 1);
        assert!(poll(&mut second, Waker::noop()).is_pending());
        *other.lock().unwrap() = Some(second);
        drop(held);
        assert!(count.woken() > 0 && poll(&mut first, &waker).is_ready());
        assert_eq!((limiter.stats().granted, limiter.stats().waiting), (2, 0));
    });
}

/// Whoever is forgotten at the head is granted in its turn, by others.
#[test]
fn forgotten_waiters_strand_nobody_at_a_limiter() {
    in_time(|| {
        let limiter = Arc::new(Limiter::per_second(nz!(500)));
        limiter.try_acquire(1).unwrap();
        for _ in 0..3 {
            let mut waits = Limiter::acquire_owned(&limiter, 1);
            assert!(poll(&mut waits, Waker::noop()).is_pending());
            std::mem::forget(waits);
        }
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| limiter.acquire_blocking(1).unwrap());
                scope.spawn(|| block_on(limiter.acquire(1)).unwrap());
            }
        });
        assert_eq!((limiter.stats().granted, limiter.stats().waiting), (8, 0));
    });
}

#[test]
fn a_runtime_that_ends_strands_nobody_at_a_limiter() {
    in_time(|| {
        for paused in [false, true] {
            let limiter = Arc::new(Limiter::per_second(nz!(500)));
            limiter.try_acquire(1).unwrap();
            let runtime = |paused| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_time().start_paused(paused).build().unwrap()
            };
            let (first, second) = (runtime(paused), runtime(false));
            for _ in 0..3 {
                let limiter = Arc::clone(&limiter);
                first.spawn(async move { while limiter.acquire(1).await.is_ok() {} });
            }
            let theirs: Vec<_> =
                (0..3).map(|_| second.spawn(Limiter::acquire_owned(&limiter, 1))).collect();
            let look = || async {
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
            };
            first.block_on(look());
            second.block_on(look());
            drop(first);
            second.block_on(async {
                for it in theirs {
                    it.await.unwrap().unwrap();
                }
            });
            assert_eq!(limiter.stats().waiting, 0);
        }
    });
}

/// The rate changes and stops under threads, tasks and some who give up.
#[test]
fn a_storm_of_rates_strands_nobody() {
    in_time(|| {
        let limiter = Limiter::builder(Rate::per_second(nz!(1_000))).burst(nz!(3)).build();
        let century = Rate::every(Duration::from_secs(100 * 365 * 86_400));
        thread::scope(|scope| {
            for n in 0..3 {
                let limiter = &limiter;
                scope.spawn(move || {
                    for k in 0..20 {
                        limiter.acquire_blocking(1 + (n + k) % 3).unwrap();
                    }
                });
                scope.spawn(move || {
                    for k in 0..20 {
                        let permits = block_on(limiter.reserve(1 + (n + k) % 3)).unwrap();
                        if k % 2 == 0 {
                            permits.commit();
                        }
                        let mut quits = limiter.acquire(2);
                        let _ = poll(&mut quits, Waker::noop());
                    }
                });
            }
            for k in 1..400_usize {
                match k * 7 % 5 {
                    0 => limiter.pause(),
                    1 => limiter.resume(),
                    2 => limiter.set_rate(century),
                    _ => limiter.set_rate(Rate::per_second((k * 100).try_into().unwrap())),
                }
                assert!(limiter.stats().waiting <= 6, "{limiter:?}");
            }
            limiter.set_rate(century);
            limiter.pause();
            limiter.set_rate(Rate::per_second(nz!(50_000)));
            limiter.resume();
        });
        assert_eq!(limiter.stats().waiting, 0);
    });
}
