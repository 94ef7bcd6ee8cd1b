//! Gathers on tokio: the paused clock under perturbed schedules.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use futures_util::StreamExt;
use proptest::prelude::*;
use selvedge::cancel::Token;
use selvedge::gather::{GatherError, Interrupted, Stopped, gather, gather_stream, gather_with};
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::semaphore::Semaphore;
use selvedge::timeout::with_timeout;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{paused, perturbed};
use tokio::time::{Instant, sleep};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Counts what is alive.
#[derive(Debug, Clone, Default)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self.clone())
    }
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

struct One(Alive);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn waves_of_the_limit() {
    perturbed(|perturb| async move {
        let start = Instant::now();
        let items = (0..10).map(move |n| {
            perturb.around(async move {
                sleep(ms(100)).await;
                Ok::<_, ()>(n)
            })
        });
        let values = gather(items).limit(nz!(3)).try_collect().await.unwrap();
        assert_eq!(values, (0..10).collect::<Vec<_>>());
        assert_eq!(start.elapsed(), ms(400));
    });
}

#[test]
fn the_permit_comes_before_the_pull() {
    paused().block_on(async {
        let pulled = Arc::new(AtomicUsize::new(0));
        let endless = (0..).map({
            let pulled = Arc::clone(&pulled);
            move |n| {
                pulled.fetch_add(1, Ordering::SeqCst);
                async move {
                    sleep(ms(10)).await;
                    Ok::<_, ()>(n)
                }
            }
        });
        let mut stream = gather(endless).limit(nz!(4)).window(nz!(6)).stream();
        for taken in 0..100 {
            let next = stream.next().await.unwrap().unwrap();
            assert_eq!(next, (taken, Outcome::Ok(taken)));
            assert!(pulled.load(Ordering::SeqCst) <= taken + 1 + 6);
        }
    });
}

#[test]
fn a_source_of_ready_futures_without_end_yields_to_a_cancel() {
    paused().block_on(async {
        let token = Token::new();
        let canceller = {
            let token = token.clone();
            async move {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                token.cancel();
            }
        };
        let task = tokio::spawn(canceller);
        let endless = std::iter::repeat_with(|| async { Ok::<_, ()>(()) });
        let ended = gather(endless).token(token.clone()).collect().await;
        let why = ended.map_err(|stopped| stopped.why);
        assert!(matches!(why, Err(Interrupted::Cancelled(_))));
        task.await.unwrap();

        let in_place = gather(endless).collect_in_place();
        assert!(with_timeout(in_place, Duration::ZERO).await.is_err());
    });
}

#[test]
fn errors_and_panics_are_outcomes_in_order() {
    perturbed(|perturb| async move {
        let items = (0..4_u64).map(move |n| {
            perturb.around(async move {
                sleep(ms(40 - 10 * n)).await;
                match n {
                    1 => Err("an error"),
                    2 => panic!("a panic"),
                    3 => {
                        sleep(ms(900)).await;
                        Ok(n)
                    }
                    _ => Ok(n),
                }
            })
        });
        let outcomes = gather(items).each_within(ms(500)).collect().await.unwrap().into_vec();
        assert_eq!(outcomes[0], Outcome::Ok(0));
        assert_eq!(outcomes[1], Outcome::Err("an error"));
        assert!(matches!(&outcomes[2], Outcome::Panicked(panic) if panic.message() == "a panic"));
        assert!(matches!(&outcomes[3], Outcome::TimedOut(which) if which.deadline() == "item"));
    });
}

#[test]
fn fail_fast_joins_siblings_with_grace_for_their_cleanup() {
    perturbed(|perturb| async move {
        let (start, alive, stop) = (Instant::now(), Alive::default(), Token::new());
        let cleaned = Arc::new(AtomicUsize::new(0));
        let items = (0..20_u64).map({
            let (alive, stop, cleaned) = (alive.clone(), stop.clone(), Arc::clone(&cleaned));
            move |n| {
                let (one, stop, cleaned) = (alive.one(), stop.clone(), Arc::clone(&cleaned));
                perturb.around(async move {
                    let _one = one;
                    if n == 3 {
                        sleep(ms(50)).await;
                        return Err(n);
                    }
                    let ended = stop.run_until_cancelled(sleep(ms(900))).await;
                    if ended.is_err() && n < 3 {
                        sleep(ms(20)).await;
                        cleaned.fetch_add(1, Ordering::SeqCst);
                    } else {
                        sleep(ms(9_000)).await;
                    }
                    Ok(())
                })
            }
        });
        let ended = gather(items).limit(nz!(5)).token(stop).grace(ms(100)).try_collect().await;
        let Err(GatherError::Failed(failure)) = ended else { panic!("{ended:?}") };
        assert_eq!((failure.index(), failure.into_outcome()), (3, Outcome::Err(3)));
        assert_eq!((alive.count(), cleaned.load(Ordering::SeqCst)), (0, 3));
        assert_eq!(start.elapsed(), ms(150));
    });
}

#[test]
fn the_stop_of_the_whole_is_never_an_element() {
    perturbed(|perturb| async move {
        let (alive, token) = (Alive::default(), Token::new());
        let items = (0..8).map({
            let (alive, perturb) = (alive.clone(), perturb.clone());
            move |_| {
                let one = alive.one();
                perturb.around(async move {
                    let _one = one;
                    sleep(ms(100)).await;
                    Ok::<_, ()>(())
                })
            }
        });
        let whole = tokio::spawn(perturb.around(gather(items).token(token.clone()).collect()));
        sleep(ms(perturb.below(150))).await;
        let cancelled = token.cancel_because("enough");
        match whole.await.unwrap().map_err(|stopped| stopped.why) {
            Ok(outcomes) => assert!(cancelled && outcomes.iter().all(Outcome::is_ok)),
            Err(Interrupted::Cancelled(cause)) => assert_eq!(cause.cause(), Some("enough")),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn dropped_at_any_await_it_leaks_no_permit() {
    perturbed(|perturb| async move {
        let permits = Arc::new(Semaphore::new(3));
        let items = (0..9).map({
            let (permits, perturb) = (Arc::clone(&permits), perturb.clone());
            move |_| {
                let permits = Arc::clone(&permits);
                perturb.around(async move {
                    let _permit = Semaphore::acquire_owned(&permits, 1).await;
                    sleep(ms(30)).await;
                    Ok::<_, ()>(())
                })
            }
        });
        let whole = gather(items).limit(nz!(5)).collect();
        drop(with_timeout(whole, ms(perturb.below(120))).await);
        // The lanes end a little later: a drop cannot wait.
        drop(permits.acquire_many(3).await.unwrap());
        tokio::task::yield_now().await;
        assert_eq!(permits.available(), 3);
    });
}

/// omicron#9259: a future that was started, holds a lock and is not polled
/// any more. Polled in place it hangs; spawned it does not.
#[test]
fn futurelock_hangs_in_place_and_not_when_spawned() {
    fn lockers(
        lock: &Arc<tokio::sync::Mutex<()>>,
    ) -> Vec<impl Future<Output = Result<(), ()>> + use<>> {
        let lock = |_| {
            let lock = Arc::clone(lock);
            async move {
                let _held = lock.lock().await;
                sleep(ms(10)).await;
                Ok(())
            }
        };
        (0..2).map(lock).collect()
    }
    paused().block_on(async {
        // Naive: one poll in place, then wait for the lock oneself.
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        let mut naive = Box::pin(gather(lockers(&lock)).collect_in_place());
        assert!(with_timeout(naive.as_mut(), Duration::ZERO).await.is_err());
        let stuck = with_timeout(lock.lock(), ms(60_000)).await;
        assert!(stuck.is_err(), "the naive form is expected to hang");

        let lock = Arc::new(tokio::sync::Mutex::new(()));
        let mut spawned = Box::pin(gather(lockers(&lock)).collect());
        assert!(with_timeout(spawned.as_mut(), Duration::ZERO).await.is_err());
        drop(with_timeout(lock.lock(), ms(60_000)).await.expect("somebody else lets go"));
        assert!(spawned.await.is_ok());
    });
}

/// futures-rs#2387: while the consumer works on one result, nobody polls the
/// others, and an item that waits for the consumer's next step never ends.
#[test]
fn a_busy_consumer_does_not_stall_the_stream() {
    /// The items' ends, as the consumer of a naive buffer sees them.
    async fn consume(items: usize, busy: Duration, ended: &AtomicUsize) -> usize {
        sleep(busy).await;
        ended.load(Ordering::SeqCst).min(items)
    }
    paused().block_on(async {
        for naive in [true, false] {
            let ended = Arc::new(AtomicUsize::new(0));
            let items = (0..3).map({
                let ended = Arc::clone(&ended);
                move |n| {
                    let ended = Arc::clone(&ended);
                    async move {
                        sleep(ms(10 * (n + 1))).await;
                        ended.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, ()>(n)
                    }
                }
            });
            let seen = if naive {
                // It polls them only while somebody asks for the next.
                let mut buffered = futures_util::stream::iter(items).buffered(3);
                assert_eq!(buffered.next().await, Some(Ok(0)));
                consume(3, ms(1_000), &ended).await
            } else {
                let mut stream = gather(items).limit(nz!(3)).stream();
                assert!(stream.next().await.unwrap().is_ok());
                consume(3, ms(1_000), &ended).await
            };
            assert_eq!(seen, if naive { 1 } else { 3 });
        }
    });
}

#[test]
fn a_panicking_source_or_hook_interrupts_and_joins() {
    perturbed(|perturb| async move {
        let alive = Alive::default();
        let items = (0..5).map({
            let alive = alive.clone();
            move |n| {
                assert!(n != 3, "the source is out");
                let one = alive.one();
                perturb.around(async move {
                    let _one = one;
                    sleep(ms(100)).await;
                    Ok::<_, ()>(())
                })
            }
        });
        let ended = gather(items.clone()).collect().await;
        assert!(
            matches!(ended, Err(Stopped { why: Interrupted::Panicked(p), .. }) if p.message() == "the source is out")
        );
        assert_eq!(alive.count(), 0);
        let ended = gather(items.clone()).collect_in_place().await;
        assert!(matches!(ended, Err(Stopped { why: Interrupted::Panicked(_), .. })));
        assert_eq!(alive.count(), 0);
        let ended = gather(items.take(3)).on_progress(|_| panic!("hook")).collect().await;
        assert!(
            matches!(ended, Err(Stopped { why: Interrupted::Panicked(p), .. }) if p.message() == "hook")
        );
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn a_future_that_panics_while_it_is_dropped_is_an_outcome() {
    struct Bomb(bool);
    impl Future for Bomb {
        type Output = Result<(), ()>;
        fn poll(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), ()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "in drop");
        }
    }
    paused().block_on(async {
        let ended = gather((0..9).map(|n| Bomb(n == 5))).collect().await;
        for (n, outcome) in ended.unwrap().into_iter().enumerate() {
            assert_eq!(matches!(outcome, Outcome::Panicked(_)), n == 5, "{n}: {outcome:?}");
        }
    });
}

#[test]
fn a_runtime_that_goes_away_interrupts() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let items = (0..3).map(|_| async {
        sleep(ms(60_000)).await;
        Ok::<_, ()>(())
    });
    let mut stream = {
        let _inside = runtime.enter();
        gather(items).stream()
    };
    runtime.shutdown_background();
    let ended = selvedge::swap::future::block_on(stream.next());
    assert_eq!(ended, Some(Err(Interrupted::Shutdown)));
}

#[test]
fn one_future_that_never_yields_holds_up_its_lane_only() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let items = (0..20).map(move |n| {
        let blocked = (n == 0).then(|| Arc::clone(&blocked));
        async move {
            if let Some(blocked) = blocked {
                blocked.lock().unwrap().recv().unwrap();
            }
            Ok::<_, ()>(n)
        }
    });
    runtime.block_on(async {
        let mut stream = gather(items).limit(nz!(2)).window(nz!(20)).unordered().stream();
        for _ in 1..20 {
            assert!(stream.next().await.unwrap().unwrap().0 != 0);
        }
        release.send(()).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().0, 0);
        assert!(stream.next().await.is_none() && stream.next().await.is_none());
    });
}

#[test]
fn borrowed_futures_that_are_not_send() {
    paused().block_on(async {
        let total = &Cell::new(0);
        let numbers = vec![1, 2, 3];
        let adding = gather_with(&numbers, |n: &i32| async move {
            tokio::task::yield_now().await;
            total.set(total.get() + n);
            Ok::<_, ()>(())
        });
        assert!(adding.limit(NonZeroUsize::MAX).collect_in_place().await.is_ok());
        assert_eq!(total.get(), 6);
        let failing =
            gather(numbers.iter().map(|n| async move { if *n > 1 { Err(n) } else { Ok(n) } }));
        let ended = failing.try_collect_in_place().await;
        assert!(matches!(ended, Err(GatherError::Failed(failure)) if failure.index() == 1));
        assert!(
            gather(Vec::<std::future::Ready<Result<(), ()>>>::new())
                .collect()
                .await
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn a_stream_as_source_and_the_progress_of_it() {
    perturbed(|perturb| async move {
        let (sender, receiver) = tokio::sync::mpsc::channel::<u64>(1);
        let feeding = tokio::spawn(perturb.around(async move {
            for n in 0..6 {
                sleep(ms(10)).await;
                sender.send(n).await.unwrap();
            }
        }));
        let mut receiver = Some(receiver);
        let source = tokio_stream(move |context| {
            let polled = receiver.as_mut().unwrap().poll_recv(context);
            polled.map(|next| {
                next.map(|n| async move {
                    sleep(ms(25)).await;
                    if n == 4 { Err(n) } else { Ok(n) }
                })
            })
        });
        let last = Arc::new(Mutex::new(None));
        let hook = {
            let last = Arc::clone(&last);
            move |progress| *last.lock().unwrap() = Some(progress)
        };
        let (values, failures) =
            gather_stream(source).limit(nz!(2)).on_progress(hook).partition().await.unwrap();
        assert_eq!(values, [(0, 0), (1, 1), (2, 2), (3, 3), (5, 5)]);
        assert_eq!(failures[0].index(), 4);
        let last = last.lock().unwrap().unwrap();
        assert_eq!((last.started, last.done, last.failed), (6, 6, 1));
        feeding.abort();
    });
}

/// A stream from a closure.
fn tokio_stream<T>(
    poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
) -> impl futures_core::Stream<Item = T> {
    struct FromFn<F>(F);
    impl<T, F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin>
        futures_core::Stream for FromFn<F>
    {
        type Item = T;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            (self.0)(context)
        }
    }
    FromFn(poll)
}

#[derive(Debug, Clone)]
enum End {
    Value,
    Error,
    Panic,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: Some(Box::new(
            prop::test_runner::FileFailurePersistence::Direct(concat!(
                env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/gather.txt"
            )),
        )),
        ..ProptestConfig::default()
    })]
    /// Whatever the limit, the delays, the failures and the form, the
    /// outcomes are those of running one after the other.
    #[test]
    fn ordered_gather_equals_sequential_evaluation(
        items in prop::collection::vec((0..30_u64, prop_oneof![
            8 => Just(End::Value), 1 => Just(End::Error), 1 => Just(End::Panic)
        ]), 0..40),
        limit in 1..12_usize,
        window in 1..20_usize,
    ) {
        let expected: Vec<Outcome<usize, usize>> = items.iter().enumerate().map(|(n, (_, end))| match end {
            End::Value => Outcome::Ok(n),
            End::Error => Outcome::Err(n),
            End::Panic => Outcome::Panicked(selvedge::outcome::Panic::new("as asked", None)),
        }).collect();
        let futures = items.into_iter().enumerate().map(|(n, (delay, end))| async move {
            sleep(ms(delay)).await;
            match end {
                End::Value => Ok(n),
                End::Error => Err(n),
                End::Panic => panic!("as asked"),
            }
        });
        let limit = NonZeroUsize::new(limit).unwrap();
        let gathered = || gather(futures.clone()).limit(limit);
        paused().block_on(async {
            assert_eq!(gathered().collect().await.unwrap().into_vec(), expected);
            assert_eq!(gathered().collect_in_place().await.unwrap().into_vec(), expected);
            for tried in [gathered().try_collect().await, gathered().try_collect_in_place().await] {
                match tried {
                    Ok(values) => {
                        let values: Vec<_> = values.into_iter().map(Outcome::Ok).collect();
                        assert_eq!(values, expected);
                    }
                    Err(GatherError::Failed(failure)) => {
                        let outcome: Outcome<usize, usize> = failure.outcome().clone().widen();
                        assert_eq!(outcome, expected[failure.index()]);
                    }
                    Err(GatherError::Interrupted(why)) => panic!("{why}"),
                }
            }
            let mut stream = gathered().window(NonZeroUsize::new(window).unwrap()).stream();
            for (n, expected) in expected.iter().enumerate() {
                assert_eq!(stream.next().await.unwrap().unwrap(), (n, expected.clone()));
            }
            assert_eq!(stream.next().await, None);
            let mut stream = gathered().unordered().stream();
            let mut seen = vec![false; expected.len()];
            while let Some(next) = stream.next().await {
                let (n, outcome) = next.unwrap();
                assert_eq!((&outcome, std::mem::replace(&mut seen[n], true)), (&expected[n], false));
            }
            assert!(seen.iter().all(|seen| *seen));
        });
    }
}

/// Of eight items in flight the even ones have ended when the gather is
/// stopped: each form gives them, and then what stopped it.
#[test]
fn a_stop_throws_no_outcome_away() {
    let evens = || (0..8_u32).filter(|n| n % 2 == 0).map(|n| (n as usize, Outcome::Ok(n)));
    for way in ["token", "source"] {
        perturbed(|perturb| async move {
            let token = Token::new();
            let items = || {
                let perturb = perturb.clone();
                (0..9_u32).map(move |n| {
                    assert!(n != 8 || way != "source", "the source is out");
                    perturb.around(async move {
                        if n % 2 == 1 {
                            std::future::pending::<()>().await;
                        }
                        Ok::<_, ()>(n)
                    })
                })
            };
            let stop = |token: &Token| {
                let token = token.clone();
                tokio::spawn(async move {
                    sleep(ms(50)).await;
                    token.cancel_because("enough");
                })
            };
            let limit = nz!(16);
            let whole = |token: &Token| {
                let items = items().take(if way == "source" { 9 } else { 8 });
                gather(items).limit(limit).window(nz!(16)).token(token.clone())
            };
            let stopped = |why: &Interrupted| match way {
                "token" => {
                    matches!(why, Interrupted::Cancelled(by) if by.cause() == Some("enough"))
                }
                _ => matches!(why, Interrupted::Panicked(p) if p.message() == "the source is out"),
            };
            let check = |form: &str,
                         mut ended: Vec<(usize, Outcome<u32, ()>)>,
                         why: &Interrupted| {
                assert!(stopped(why), "{way}, {form}: {why:?}");
                if form == "unordered" {
                    ended.sort_by_key(|(index, _)| *index);
                }
                // A source that panics may do so before the last have ended.
                if way == "token" {
                    assert_eq!(ended, evens().collect::<Vec<_>>(), "{way}, {form}");
                } else {
                    let all: Vec<_> = evens().collect();
                    assert!(ended.iter().all(|one| all.contains(one)), "{way}, {form}: {ended:?}");
                }
            };
            for form in ["collect", "in place", "ordered", "unordered"] {
                let token = token.child();
                if way == "token" {
                    drop(stop(&token));
                }
                match form {
                    "collect" => {
                        let Stopped { why, ended } = whole(&token).collect().await.unwrap_err();
                        check(form, ended, &why);
                    }
                    "in place" => {
                        let ran = whole(&token).collect_in_place().await;
                        let Stopped { why, ended } = ran.unwrap_err();
                        check(form, ended, &why);
                    }
                    _ => {
                        let whole = whole(&token);
                        let whole = if form == "unordered" { whole.unordered() } else { whole };
                        let mut stream = whole.stream();
                        // All that ended lie in the window by then.
                        sleep(ms(100)).await;
                        let (mut ended, mut why) = (Vec::new(), None);
                        while let Some(next) = stream.next().await {
                            assert!(why.is_none(), "something after the end");
                            match next {
                                Ok(one) => ended.push(one),
                                Err(interrupted) => why = Some(interrupted),
                            }
                        }
                        check(form, ended, &why.unwrap());
                    }
                }
            }
        });
    }
}
