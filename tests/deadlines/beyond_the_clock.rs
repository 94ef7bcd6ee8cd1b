//! A timeout that no clock can hold is no timeout, in every place that takes
//! one; and one of nothing has passed.

use super::*;
use selvedge::pipeline::{Input, Pipeline};
use selvedge::rate::{AcquireError, Rate};

/// The largest, which no clock holds; one less; a nanosecond; nothing.
const TABLE: [(Duration, bool); 4] = [
    (Duration::MAX, true),
    (Duration::MAX.saturating_sub(Duration::from_nanos(1)), true),
    (Duration::from_nanos(1), false),
    (Duration::ZERO, false),
];

/// Whether `future` outlives a hundred years of the paused clock.
async fn lasts<F: Future>(future: F) -> bool {
    let century = Duration::from_secs(100 * 365 * 86_400);
    tokio::time::timeout_at(Instant::now() + century, future).await.is_err()
}

fn never<T>() -> std::future::Pending<T> {
    std::future::pending()
}

async fn scoped(grace: Duration, cleanup: Duration) {
    let stop = Token::new();
    stop.cancel();
    let running = scope::<()>().token(&stop).grace(grace).cleanup_within(cleanup);
    drop(running.on_exit("cleanup", never()).run(|_| never::<Result<(), ()>>()).await);
}

#[test]
fn never_passes() {
    for (allowance, for_ever) in TABLE {
        paused().block_on(async {
            let check = |what, lasted| assert_eq!(lasted, for_ever, "{what}({allowance:?})");
            let deadline = Deadline::after(allowance);
            check("with_timeout", lasts(with_timeout(never::<()>(), allowance)).await);
            check("with_deadline", lasts(with_deadline(never::<()>(), deadline)).await);
            let graced =
                with_timeout(never::<()>(), Duration::ZERO).or_grace(Token::new(), allowance);
            check("or_grace", lasts(graced).await);
            let detached = with_timeout(never::<()>(), allowance).or_detach();
            check("or_detach", lasts(detached).await);
            check("rt::sleep", lasts(selvedge::exercises::maybe_slow(allowance)).await);

            let (tx, rx) = queue::bounded::<u8>(nz!(1));
            tx.try_send(1).unwrap();
            let read = Some(deadline);
            check("send", lasts(inherit(read, tx.send_async(1).by_deadline())).await);
            rx.try_recv().unwrap();
            check("recv", lasts(inherit(read, rx.recv_async().by_deadline())).await);

            // A limiter: paused, so that nobody knows when.
            let limiter = Limiter::per_second(nz!(1));
            limiter.pause();
            check("acquire", lasts(inherit(read, limiter.acquire(1).by_deadline())).await);
            check("reserve", lasts(inherit(read, limiter.reserve(1).by_deadline())).await);

            check("scope.grace", lasts(scoped(allowance, Duration::ZERO)).await);
            check("cleanup_within", lasts(scoped(Duration::ZERO, allowance)).await);
            let each = || gather([never::<Result<(), ()>>()]).each_within(allowance);
            check("each_within", lasts(each().collect()).await);
            check("each_within", lasts(each().collect_in_place()).await);
            check("stream", lasts(each().stream().next()).await);
            let stop = Token::new();
            let graced = gather([never::<Result<(), ()>>()]).token(stop.clone()).grace(allowance);
            let stopping = async { tokio::join!(graced.collect(), async { stop.cancel() }) };
            check("gather.grace", lasts(stopping).await);

            let stage = |_| never::<Result<i32, selvedge::pipeline::Reason>>();
            let flow = Flow::lines("lines", ["a"]).tasks("wait", nz!(1), stage);
            let run = flow.within(allowance).fold(0, |_, _| Ok(()));
            check("Flow::within", lasts(run).await);

            let job = Pool::inline().run_by(deadline, |_| ()).await;
            assert_eq!(job.is_ok(), for_ever, "run_by({allowance:?}): {job:?}");
        });
    }
}

/// What blocks a thread: it is let go by the event, and not before.
#[test]
fn never_passes_for_threads() {
    for (allowance, for_ever) in TABLE {
        let (tx, rx) = queue::bounded(nz!(1));
        let semaphore = Arc::new(Semaphore::new(0));
        let stop = Token::new();
        let waiters = [
            thread::spawn(move || rx.recv_timeout(allowance).is_ok()),
            thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || semaphore.acquire_timeout(1, allowance).is_ok()
            }),
            thread::spawn({
                let stop = stop.clone();
                move || {
                    stop.wait_blocking(Instant::now().into_std().checked_add(allowance)).is_some()
                }
            }),
        ];
        if for_ever {
            thread::sleep(ms(30));
            assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "{allowance:?}");
            tx.send(1).unwrap();
            semaphore.add_permits(1);
            stop.cancel();
        }
        for (what, waiter) in ["recv", "acquire", "wait_blocking"].into_iter().zip(waiters) {
            assert_eq!(waiter.join().unwrap(), for_ever, "{what}({allowance:?})");
        }
        let (tx, rx) = queue::bounded(nz!(1));
        tx.send(1).unwrap();
        let sender = thread::spawn(move || tx.send_timeout(2, allowance).is_ok());
        if for_ever {
            thread::sleep(ms(10));
            assert_eq!(rx.recv().ok(), Some(1));
        }
        assert_eq!(sender.join().unwrap(), for_ever, "send({allowance:?})");
    }
}

/// The main job: a deadline that never passes stops nothing, and one that has
/// passed reads nothing.
#[test]
fn never_passes_for_a_pipeline() {
    for (allowance, for_ever) in TABLE {
        let lines: &[u8] = b"a:1\nb:2\na:3\n";
        let run = Pipeline::key_value().within(allowance);
        let report = run.run([Input::reader("lines", lines)]).unwrap();
        assert_eq!(report.stopped.is_none(), for_ever, "Pipeline::within({allowance:?})");
        assert_eq!(report.read.lines, if for_ever { 3 } else { 0 }, "{allowance:?}");
    }
}

/// A process's task: its own deadline, and the patience of whoever waits.
#[cfg(target_os = "linux")]
#[test]
fn never_passes_for_processes() {
    use selvedge::process::Pool;
    let nap = |millis: u64| thread::sleep(ms(millis));
    for (allowance, for_ever) in TABLE {
        let pool = Pool::builder().workers(nz!(1)).deadline(allowance).build().unwrap();
        let millis = if for_ever { 20 } else { 60_000 };
        let task = pool.submit(nap, millis).wait();
        assert_eq!(task.outcome.is_ok(), for_ever, "deadline({allowance:?}): {task:?}");
        assert_eq!(matches!(task.outcome, Outcome::TimedOut(_)), !for_ever, "{task:?}");

        let pool = Pool::builder().workers(nz!(1)).build().unwrap();
        let waited = pool.submit(nap, millis).wait_timeout(allowance);
        assert_eq!(waited.is_ok(), for_ever, "wait_timeout({allowance:?}): {waited:?}");
        if let Err(handle) = waited {
            handle.cancel();
            assert!(matches!(handle.wait().outcome, Outcome::Cancelled(_)));
        }
    }
}

/// What a limiter is told: how much it may catch up with, and over which window
/// it is asked for the most.
#[test]
fn never_passes_for_a_limiter() {
    for (allowance, for_ever) in TABLE {
        paused().block_on(async {
            let builder = Limiter::builder(Rate::per_second(nz!(1)));
            let limiter = builder.catch_up(allowance).burst(nz!(2)).build();
            assert_eq!(limiter.most_in(allowance) > 1_000_000, for_ever, "{allowance:?}");
            assert!(
                lasts(async {
                    for _ in 0..5 {
                        limiter.acquire(1).await.unwrap();
                    }
                    never::<()>().await;
                })
                .await
            );
        });
    }
}

/// Schedules are kept in 64 bits: no time beyond 146 years from the first look
/// at the clock is told from another. A deadline is compared with what is due
/// all the same.
#[test]
fn centuries_of_a_limiter() {
    let years = |n: u64| Duration::from_secs(n * 365 * 86_400);
    paused().block_on(async {
        // The second permit is there after 200 years.
        let limiter = Limiter::builder(Rate::new(nz!(1), years(200))).build();
        limiter.acquire(1).await.unwrap();
        for (allowance, in_time) in [
            (years(100), false),
            (years(150), false),
            (years(199), false),
            (years(201), true),
            (years(300), true),
            (years(1_000), true),
            (Duration::MAX, true),
        ] {
            let read = Some(Deadline::after(allowance));
            let waits = inherit(read, limiter.acquire(1).by_deadline());
            match tokio::time::timeout(ms(1), waits).await {
                Err(_) => assert!(in_time, "acquire by {allowance:?}"),
                Ok(Err(AcquireError::Late(late))) => {
                    assert!(!in_time, "acquire by {allowance:?}: {late}");
                }
                Ok(other) => panic!("acquire by {allowance:?}: {other:?}"),
            }
            let waits = inherit(read, limiter.reserve(1).by_deadline());
            let refused = tokio::time::timeout(ms(1), waits).await.is_ok();
            assert_eq!(refused, !in_time, "reserve by {allowance:?}");
        }
        // Time stands still for it; it answers.
        tokio::time::advance(years(1_000)).await;
        assert!(limiter.try_acquire(1).is_err());
        let read = Some(Deadline::after(years(10)));
        assert!(inherit(read, limiter.acquire(1).by_deadline()).await.is_err());
    });
}
