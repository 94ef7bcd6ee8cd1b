//! On the paused clock: durations, bounds and stops are exact.

use super::support::{paused, perturbed};
use super::{Alive, One, ms, number, numbers};
use futures_core::Stream;
use selvedge::cancel::Token;
use selvedge::exercises::aggregate;
use selvedge::nz;
use selvedge::pipeline::{Bound, Error, Flow, Meter, Report, Stopped};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Sleeps 100 ms at each number, three at once.
fn slow(alive: &Alive, lines: impl Iterator<Item = u32> + Send + 'static) -> Flow<u32> {
    let alive = alive.clone();
    Flow::lines("numbers", numbers(lines)).tasks("sleep", nz!(3), move |line| {
        let one = alive.one();
        async move {
            let _one = one;
            sleep(ms(100)).await;
            number(&line)
        }
    })
}

/// Folds into a vector, and sees that no task is left behind.
async fn collect(flow: Flow<u32>) -> Result<Report<Vec<u32>>, Error> {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let push = |all: &mut Vec<u32>, n| {
        all.push(n);
        Ok(())
    };
    let before = tasks();
    let report = flow.fold(Vec::new(), push).await;
    // Whoever else had a task may have ended it.
    assert!(tasks() <= before, "a task is left behind");
    report
}

#[test]
fn waves_of_the_bound_in_order() {
    perturbed(|_| async move {
        let start = Instant::now();
        let report = collect(slow(&Alive::default(), 0..10)).await.unwrap();
        assert_eq!(report.totals, (0..10).collect::<Vec<_>>());
        assert_eq!((report.read.lines, report.read.bytes, report.stopped), (10, 20, None));
        assert_eq!(start.elapsed(), ms(400));
    });
}

#[test]
fn a_deadline_keeps_what_was_done() {
    perturbed(|_| async move {
        let (alive, start) = (Alive::default(), Instant::now());
        let report = collect(slow(&alive, 0..).within(ms(250))).await.unwrap();
        assert_eq!(start.elapsed(), ms(250));
        assert_eq!(alive.count(), 0, "something is left behind");
        assert_eq!(report.totals, (0..6).collect::<Vec<_>>());
        let Some(Stopped::TimedOut(timed_out)) = report.stopped else { panic!("{report:?}") };
        assert_eq!(timed_out.to_string(), "timed out: run of 250ms passed");
    });
}

#[test]
fn a_cancel_keeps_what_was_done() {
    perturbed(|_| async move {
        let (alive, token) = (Alive::default(), Token::new());
        let canceller = tokio::spawn({
            let token = token.clone();
            async move {
                sleep(ms(350)).await;
                token.cancel_because("enough");
            }
        });
        let report = collect(slow(&alive, 0..).token(token)).await.unwrap();
        assert_eq!((alive.count(), report.totals.len()), (0, 9));
        let Some(Stopped::Cancelled(cause)) = report.stopped else { panic!("{report:?}") };
        assert_eq!(cause.cause(), Some("enough"));
        canceller.await.unwrap();
    });
}

#[test]
fn a_deadline_after_the_end_is_none() {
    paused().block_on(async {
        let report = collect(slow(&Alive::default(), 0..3).within(ms(101))).await.unwrap();
        assert_eq!((report.totals.len(), report.stopped), (3, None));
        let cancelled = Token::new();
        cancelled.cancel();
        let report = collect(slow(&Alive::default(), 0..3).token(cancelled)).await.unwrap();
        assert_eq!(report.totals.len(), 0);
        assert!(report.stopped.is_some());
        let report = collect(slow(&Alive::default(), 0..).within(Duration::ZERO)).await.unwrap();
        assert_eq!((report.totals.len(), report.stopped.is_some()), (0, true));
        let report = collect(slow(&Alive::default(), 0..3).within(Duration::MAX)).await.unwrap();
        assert_eq!(report.totals.len(), 3);
    });
}

/// Nothing in it ever waits, and nothing but the clock stops it.
#[test]
fn an_endless_source_and_ready_stages_can_be_stopped() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let ready = Flow::lines("endless", std::iter::repeat("1"))
            .tasks("parse", nz!(2), |line| async move { number(&line) })
            .within(ms(20));
        let report = ready.fold(0_u64, |sum, n| {
            *sum += u64::from(n);
            Ok(())
        });
        let report = report.await.unwrap();
        assert_eq!(report.totals, report.read.lines);
        assert!(report.stopped.is_some());
    });
}

/// The lines behind the first have all come when it does, and nothing in the
/// fold waits.
#[test]
fn a_fold_with_much_to_do_is_stopped_soon() {
    paused().block_on(async {
        let token = Token::new();
        let flow = Flow::lines("numbers", numbers(0..50_000))
            .tasks("wait", nz!(2), |line| async move {
                let n = number(&line)?;
                if n == 0 {
                    sleep(ms(1)).await;
                }
                Ok(n)
            })
            .window(nz!(50_000))
            .token(token.clone());
        let report = flow.fold(0, |count, _| {
            *count += 1;
            token.cancel();
            Ok(())
        });
        let report = report.await.unwrap();
        assert!(report.stopped.is_some() && report.totals < 1_000, "{}", report.totals);
    });
}

#[test]
fn a_source_that_never_gives_a_line_can_be_stopped() {
    struct Never {
        _one: One,
    }
    impl Stream for Never {
        type Item = String;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<String>> {
            Poll::Pending
        }
    }
    paused().block_on(async {
        for how in 0..3 {
            let (alive, token) = (Alive::default(), Token::new());
            let flow = Flow::stream("never", Never { _one: alive.one() })
                .tasks("parse", nz!(1), |line| async move { number(&line) })
                .threads("compute", nz!(1), Ok);
            let stopped = match how {
                0 => {
                    let cancel = async {
                        sleep(ms(5)).await;
                        token.cancel();
                    };
                    tokio::join!(collect(flow.token(token.clone())), cancel).0.unwrap().stopped
                }
                1 => collect(flow.within(ms(5))).await.unwrap().stopped,
                _ => {
                    tokio::time::timeout(ms(5), collect(flow)).await.unwrap_err();
                    while alive.count() > 0 {
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
            };
            assert_eq!((stopped.is_some(), alive.count()), (true, 0));
        }
    });
}

/// Whatever foreign code cancels it, and at whatever moment of a line.
#[test]
fn a_cancel_from_within_keeps_what_was_done() {
    for place in 0..5 {
        perturbed(|perturb| async move {
            let (alive, token) = (Alive::default(), Token::new());
            let cancel = {
                let token = token.clone();
                move |at, n| {
                    if (at, n) == (place, 9) {
                        token.cancel();
                    }
                }
            };
            let (first, work, last) = (cancel.clone(), cancel.clone(), alive.clone());
            let flow = Flow::lines("numbers", numbers((0..).inspect(move |n| first(0, *n))))
                .tasks("work", nz!(3), move |line| {
                    let n = number(&line).unwrap();
                    work(1, n);
                    let (work, one, random) = (work.clone(), last.one(), perturb.below(3));
                    async move {
                        work(2, n);
                        sleep(ms(random)).await;
                        work(3, n);
                        let _one = one;
                        Ok(n)
                    }
                })
                .token(token.clone());
            let report = flow.fold(0, |next, n| {
                assert_eq!(n, *next);
                cancel(4, n);
                *next += 1;
                Ok(())
            });
            let report = report.await.unwrap();
            assert_eq!(report.read.lines, u64::from(report.totals));
            assert_eq!((report.stopped.is_some(), alive.count()), (true, 0));
            assert!(report.stages.iter().all(|stage| stage.busy == 0), "{:?}", report.stages);
        });
    }
}

/// Polled so many times and dropped: its tasks and threads end.
#[test]
fn dropped_at_any_moment_it_leaves_nothing_behind() {
    for polls in 0..30 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let alive = Alive::default();
            let (held, first, last) = ([(); 3].map(|()| alive.one()), alive.clone(), alive.clone());
            let [source, waits, computes] = held;
            let lines = numbers((0..).inspect(move |_| {
                let _ = &source;
            }));
            let flow = Flow::lines("numbers", lines)
                .tasks("waits", nz!(3), move |_| {
                    let (_, one) = (&waits, first.one());
                    async move {
                        tokio::task::yield_now().await;
                        Ok(one)
                    }
                })
                .threads("computes", nz!(2), move |one| {
                    let _ = &computes;
                    Ok(one)
                })
                .tasks("again", Bound::new(nz!(1)).waiting(nz!(1)), move |one| {
                    let other = last.one();
                    async move {
                        tokio::task::yield_now().await;
                        Ok((one, other))
                    }
                })
                .window(nz!(2));
            let mut run = Box::pin(flow.fold((), |(), _| Ok(())));
            for _ in 0..polls {
                poll_fn(|context| {
                    assert!(run.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
                tokio::task::yield_now().await;
            }
            drop(run);
            let metrics = tokio::runtime::Handle::current().metrics();
            while alive.count() > 0 || metrics.num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}

#[test]
fn a_flow_runs_in_the_stages_of_another() {
    let sum = |k: u32| async move {
        let flow = Flow::lines("inner", numbers(0..k))
            .tasks("parse", nz!(2), |line| async move { number(&line) })
            .threads("compute", nz!(2), Ok);
        let report = flow.fold(0, |sum, n| {
            *sum += n;
            Ok(())
        });
        Ok(report.await.unwrap().totals)
    };
    paused().block_on(async move {
        let flow = Flow::lines("outer", numbers(0..20))
            .tasks("tasks", nz!(3), move |line| async move { sum(number(&line)?).await })
            .threads("threads", nz!(2), move |n| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                Ok(n + runtime.block_on(sum(3))?)
            });
        let sums = (0..20_u32).map(|k| k * k.saturating_sub(1) / 2 + 3).collect::<Vec<_>>();
        assert_eq!(collect(flow).await.unwrap().totals, sums);
    });
}

#[test]
fn no_more_lines_are_out_than_the_window() {
    perturbed(|perturb| async move {
        let (pulled, folded) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (mut most, seen) = (0, Arc::clone(&folded));
        let source = (0..40).inspect({
            let pulled = Arc::clone(&pulled);
            move |_| {
                let out = pulled.fetch_add(1, Ordering::SeqCst) + 1 - seen.load(Ordering::SeqCst);
                assert!(out <= 5, "{out} lines are out");
            }
        });
        let flow = Flow::lines("numbers", numbers(source))
            .tasks("first", Bound::new(nz!(3)).waiting(nz!(1)), move |line| {
                let random = perturb.below(30);
                async move {
                    sleep(ms(random)).await;
                    number(&line)
                }
            })
            .tasks("second", nz!(2), |n| async move {
                sleep(ms(5)).await;
                Ok(n)
            })
            .window(nz!(5));
        let report = flow.fold(0, |next, n| {
            assert_eq!(n, *next);
            *next += 1;
            most = most.max(pulled.load(Ordering::SeqCst) - folded.fetch_add(1, Ordering::SeqCst));
            Ok(())
        });
        assert_eq!(report.await.unwrap().totals, 40);
        assert_eq!(most, 5, "the window is used");
    });
}

/// The counters, in the middle of a run and after it.
#[test]
fn the_meter_shows_who_waits_for_whom() {
    paused().block_on(async {
        let meter = Meter::new();
        assert!(meter.stages().is_empty());
        let watcher = tokio::spawn({
            let meter = meter.clone();
            async move {
                sleep(ms(150)).await;
                meter.stages()
            }
        });
        let flow = slow(&Alive::default(), 0..12)
            .tasks("halve", nz!(1), |n| async move {
                sleep(ms(200)).await;
                Ok(n / 2)
            })
            .meter(&meter);
        let report = collect(flow).await.unwrap();
        let names = |stages: &[selvedge::pipeline::StageCounts]| {
            stages.iter().map(|it| (it.name, it.items, it.waiting, it.busy)).collect::<Vec<_>>()
        };
        let middle = watcher.await.unwrap();
        assert_eq!(
            names(&middle),
            [("source", 12, 0, 0), ("sleep", 3, 6, 3), ("halve", 0, 2, 1), ("aggregate", 0, 0, 0)]
        );
        assert_eq!(
            names(&report.stages),
            [
                ("source", 12, 0, 0),
                ("sleep", 12, 0, 0),
                ("halve", 12, 0, 0),
                ("aggregate", 12, 0, 0)
            ]
        );
        assert_eq!(report.stages, meter.stages());
        let [_, sleeps, halves, _] = report.stages[..] else { panic!("four stages") };
        assert_eq!((sleeps.most_busy, sleeps.busy_for), (3, ms(1200)));
        assert_eq!((halves.most_busy, halves.busy_for), (1, ms(2400)));
        assert_eq!(
            halves.to_string(),
            "halve: 12 done, 0 waiting, 0 in hand (most 1), 2.4s of work"
        );
    });
}

/// Exercise 12: 200 lines, 64 at a time, a millisecond each.
#[test]
fn the_exercise_fans_out() {
    perturbed(|perturb| async move {
        let start = Instant::now();
        let lines: Vec<_> = (0..200).map(|n| format!("k{}:{n}", n % 3)).collect();
        let mut expected = std::collections::HashMap::new();
        for n in 0..200 {
            *expected.entry(format!("k{}", n % 3)).or_insert(0) += 2 * n;
        }
        let totals = perturb.around(aggregate(lines)).await;
        assert_eq!(totals, expected);
        assert_eq!(start.elapsed(), ms(4));
    });
}

/// Dropped at any moment, it lets go of everything.
#[test]
fn a_dropped_run_leaves_nothing_behind() {
    perturbed(|perturb| async move {
        let alive = Alive::default();
        let run = collect(slow(&alive, 0..));
        let after = ms(perturb.below(500));
        assert!(tokio::time::timeout(after, run).await.is_err());
        while alive.count() > 0 {
            tokio::task::yield_now().await;
        }
    });
}
