//! Timeouts on tokio: the paused clock, and one look at the real one.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::async_yields_async, reason = "a task may outlive the timeout that spawned it")]

mod support;

use selvedge::cancel::Token;
use selvedge::outcome::TimedOut;
use selvedge::timeout::{
    Deadline, Graced, Overrun, current, inherit, with_deadline, with_timeout, within,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{paused, perturbed, perturbed_by, under_seed};
use tokio::time::{Instant, sleep};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_ready_future_needs_no_runtime_and_no_clock() {
    let mut ready = tokio_test::task::spawn(with_timeout(async { 1 }, Duration::ZERO));
    assert_eq!(tokio_test::assert_ready!(ready.poll()), Ok(1));
}

#[test]
fn the_clock_begins_at_the_first_poll() {
    paused().block_on(async {
        let late = with_timeout(sleep(ms(30)), ms(50));
        sleep(ms(100)).await;
        assert_eq!(late.await, Ok(()));
    });
}

#[test]
fn zero_is_one_poll_and_max_is_no_end() {
    paused().block_on(async {
        let start = Instant::now();
        assert!(with_timeout(tokio::task::yield_now(), Duration::ZERO).await.is_err());
        assert_eq!(start.elapsed(), Duration::ZERO);
        // Longer than anything that is put in place of "for ever".
        let century = Duration::from_secs(100 * 365 * 86_400);
        // (`sleep` ends after thirty.)
        let slow = tokio::time::sleep_until(start + century);
        assert_eq!(with_timeout(slow, Duration::MAX).await, Ok(()));
        let passed = with_deadline(sleep(ms(1)), Deadline::at(start)).await.unwrap_err();
        assert_eq!(passed.late_by(), century);
    });
}

#[test]
fn nested_deadlines_compose_by_minimum_and_name_the_one_that_fired() {
    perturbed(|perturb| async move {
        let start = Instant::now();
        let inner = perturb.around(with_timeout(sleep(ms(500)), ms(100)).named("inner"));
        let outer = with_timeout(inner, ms(300)).named("outer").await.unwrap();
        assert_eq!(outer.unwrap_err().deadline().name(), "inner");
        assert_eq!(start.elapsed(), ms(100));

        let inner = perturb.around(with_timeout(sleep(ms(500)), ms(400)).named("inner"));
        let told = match with_timeout(inner, ms(300)).named("outer").await {
            Ok(inside) => inside.unwrap_err(),
            Err(outside) => outside,
        };
        assert_eq!(told.deadline().name(), "outer");
        assert_eq!(start.elapsed(), ms(400));
    });
}

#[test]
fn a_spawned_task_reads_the_deadline_that_it_is_given() {
    perturbed(|perturb| async move {
        let start = Instant::now();
        let outer = with_timeout(
            async {
                let deadline = current();
                assert_eq!(deadline.unwrap().remaining(), ms(100));
                let child = async {
                    let readable = current();
                    let slow = with_timeout(sleep(ms(900)), ms(500)).named("child");
                    (readable, slow.await.unwrap_err())
                };
                let told = tokio::spawn(perturb.around(inherit(deadline, child)));
                (told, tokio::spawn(async { current() }))
            },
            ms(100),
        );
        let (told, untold) = outer.named("outer").await.unwrap();
        let (readable, elapsed) = told.await.unwrap();
        // It can read the deadline, and is not cut by it.
        assert_eq!(readable.unwrap().name(), "outer");
        assert_eq!((elapsed.deadline().name(), start.elapsed()), ("child", ms(500)));
        assert_eq!(TimedOut::from(elapsed), TimedOut::new("child", ms(500)));
        assert_eq!(untold.await.unwrap(), None);
    });
}

#[test]
fn deadlines_that_begin_in_one_poll_begin_together() {
    paused().block_on(async {
        let seen = Mutex::new(Vec::new());
        let inner = async {
            seen.lock().unwrap().push(current().unwrap().instant().unwrap());
            sleep(ms(1)).await;
            seen.lock().unwrap().push(current().unwrap().instant().unwrap());
        };
        let begin = Instant::now();
        with_timeout(with_timeout(inner, ms(70)), ms(50)).await.unwrap().unwrap();
        assert_eq!(*seen.lock().unwrap(), [begin + ms(50), begin + ms(50)]);
        assert_eq!(current(), None);
    });
}

#[test]
fn the_deadline_is_put_back_after_a_panic() {
    let panicked = std::panic::catch_unwind(|| {
        within(Some(Deadline::after(ms(5))), || {
            assert!(current().is_some());
            panic!("inside");
        });
    });
    assert!(panicked.is_err());
    assert_eq!(current(), None);
}

#[test]
fn a_value_in_the_poll_that_finds_the_timer_fired_wins() {
    paused().block_on(async {
        // Both become ready at the same instant; the future is polled first.
        assert_eq!(with_timeout(sleep(ms(50)), ms(50)).await, Ok(()));
        assert!(with_timeout(sleep(ms(51)), ms(50)).await.is_err());
    });
}

#[test]
fn a_future_that_yields_without_end_is_stopped() {
    paused().block_on(async {
        // It uses up its budget at every poll; the timer has its own. The
        // paused clock only moves when nobody has anything to do.
        tokio::time::resume();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let busy = async {
            for _ in 0..20_000_000 {
                sender.send(()).unwrap();
                receiver.recv().await.unwrap();
            }
            panic!("seconds later it was still running");
        };
        assert!(with_timeout(busy, ms(20)).await.is_err());
    });
}

#[test]
fn grace_lets_a_future_end_late_or_drops_it() {
    perturbed(|perturb| async move {
        let stop = Token::new();
        let work = {
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                sleep(ms(20)).await;
                "cleaned up"
            }
        };
        let ended = with_timeout(perturb.around(work), ms(100)).or_grace(stop, ms(50)).await;
        let Graced::Late("cleaned up", elapsed) = ended else { panic!("{ended:?}") };
        assert_eq!(elapsed.deadline().allowance(), ms(100));

        let start = Instant::now();
        let deaf = with_timeout(perturb.around(sleep(ms(900))), ms(100));
        let ended = deaf.or_grace(Token::new(), ms(50)).await;
        assert!(matches!(ended, Graced::Dropped(_)), "{ended:?}");
        assert_eq!(start.elapsed(), ms(150));
    });
}

#[test]
fn an_acquired_resource_is_not_thrown_away_at_the_deadline() {
    perturbed(|perturb| async move {
        // Handed back as it was: it goes on where it stood.
        let start = Instant::now();
        let work = Box::pin(perturb.around(async {
            sleep(ms(80)).await;
            "resource"
        }));
        let detached = with_timeout(work, ms(50)).or_detach().await.unwrap_err();
        assert_eq!(start.elapsed(), ms(50));
        assert_eq!(detached.future.await, "resource");
        assert_eq!(start.elapsed(), ms(80));
    });
}

#[test]
fn a_poll_that_overruns_is_reported() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let seen = Arc::new(Mutex::new(Vec::<Overrun>::new()));
        let hook = {
            let seen = Arc::clone(&seen);
            move |overrun| seen.lock().unwrap().push(overrun)
        };
        let hog = async { std::thread::sleep(ms(30)) };
        assert_eq!(with_timeout(hog, ms(5)).on_overrun(hook).await, Ok(()));
        let reports = std::mem::take(&mut *seen.lock().unwrap());
        assert!(reports.len() == 1 && reports[0].ready && reports[0].by >= ms(20), "{reports:?}");

        let hog = async {
            tokio::task::yield_now().await;
            std::thread::sleep(ms(30));
            sleep(ms(1_000)).await;
        };
        let late = with_timeout(hog, ms(5)).await.unwrap_err();
        assert!(late.late_by() >= ms(20), "{late:?}");
    });
}

#[test]
fn ten_thousand_timeouts_fire_at_once() {
    perturbed_by(3, |perturb| async move {
        let start = Instant::now();
        let sleep = |_| perturb.around(with_timeout(sleep(ms(10_000)), ms(100)));
        let tasks: Vec<_> = (0..10_000).map(|n| tokio::spawn(sleep(n))).collect();
        for task in tasks {
            assert!(task.await.unwrap().is_err());
        }
        assert_eq!(start.elapsed(), ms(100));
    });
}

/// What the perturbed tests rest on: a seed is a schedule, the same each time,
/// and another seed is another schedule.
#[test]
fn a_seed_replays_its_schedule() {
    let trace = |seed| {
        let trace = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&trace);
        under_seed(seed, |perturb| async move {
            let tasks = [0, 1, 2].map(|task| {
                let into = Arc::clone(&into);
                tokio::spawn(perturb.around(async move {
                    for step in 0..4 {
                        into.lock().unwrap().push((task, step));
                        sleep(ms(10)).await;
                    }
                }))
            });
            for task in tasks {
                task.await.unwrap();
            }
        });
        Arc::try_unwrap(trace).unwrap().into_inner().unwrap()
    };
    let traces: Vec<_> = (0..50).map(trace).collect();
    assert_eq!(traces, (0..50).map(trace).collect::<Vec<_>>());
    let different = traces.iter().collect::<HashSet<_>>().len();
    assert!(different > 40, "{different} schedules of 50 seeds");
}
