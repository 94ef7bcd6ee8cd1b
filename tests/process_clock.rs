//! tokio's paused clock and the tasks of a process pool: it stands while a task
//! of the runtime waits for them, and moves otherwise.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]

#[path = "support/mod.rs"]
mod support;

use futures_util::StreamExt;
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::process::Pool;
use selvedge::timeout::with_timeout;
use std::time::Duration;
use support::paused;
use tokio::time::{Instant, sleep};

const MINUTE: Duration = Duration::from_secs(60);

fn nap(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(20));
    n
}

fn pool() -> Pool {
    Pool::builder().workers(nz!(3)).submit_limit(nz!(1)).build().unwrap()
}

/// A future that needs a few naps has its value in no time, and then the clock
/// moves.
async fn takes_no_time<F: Future>(what: &str, future: F) -> F::Output {
    let start = Instant::now();
    let output = with_timeout(future, MINUTE).await;
    let output = output.unwrap_or_else(|elapsed| panic!("{what}: {elapsed}"));
    assert_eq!(start.elapsed(), Duration::ZERO, "{what}");
    sleep(MINUTE).await;
    assert_eq!(start.elapsed(), MINUTE, "{what}");
    output
}

#[test]
fn a_paused_clock_stands_while_a_task_waits_for_a_process() {
    let pool = pool();
    paused().block_on(async {
        let one = takes_no_time("a handle", pool.submit(nap, 1)).await;
        assert_eq!(one.outcome, Outcome::Ok(1));
        let first = pool.submit(nap, 2);
        // The one place is taken.
        let second = takes_no_time("a place", pool.submit_async(nap, 3)).await;
        assert_eq!(takes_no_time("its handle", second).await.outcome, Outcome::Ok(3));
        assert_eq!(first.await.outcome, Outcome::Ok(2));
        let all = takes_no_time("a map", pool.map_async(nap, 0..5)).await;
        assert_eq!(all.unwrap(), [0, 1, 2, 3, 4]);
        let stream = StreamExt::map(pool.stream(nap, 0..5_u64, nz!(2)), |report| report.outcome);
        let all: Vec<_> = takes_no_time("a stream", stream.collect()).await;
        assert_eq!(all, [0, 1, 2, 3, 4].map(Outcome::Ok));
    });
}

/// Results that are there and not taken do not hold the clock, nor does a stream
/// that is not polled.
#[test]
fn a_paused_clock_moves_while_results_wait() {
    let pool = pool();
    paused().block_on(async {
        let start = Instant::now();
        let mut stream = pool.stream(nap, 0..5_u64, nz!(5));
        for n in 0..5 {
            assert_eq!(StreamExt::next(&mut stream).await.unwrap().outcome, Outcome::Ok(n));
            sleep(MINUTE).await;
            assert_eq!(start.elapsed(), MINUTE * (n as u32 + 1));
        }
        let mut handle = pool.submit(nap, 1);
        assert!(with_timeout(&mut handle, Duration::ZERO).await.is_err());
        sleep(MINUTE).await;
        assert_eq!(handle.await.outcome, Outcome::Ok(1));
    });
}

/// What was dropped is not waited for, though its task goes on.
#[test]
fn a_paused_clock_moves_when_what_waits_is_dropped() {
    let (pool, place) = (pool(), tempfile::tempdir().unwrap());
    let started = |name: &str| place.path().join(name);
    let has_started = |name: &str| {
        while !started(name).exists() {
            std::thread::yield_now();
        }
    };
    let item = |name| [started(name).into_os_string().into_string().unwrap()];
    paused().block_on(async {
        let for_ever = |path: String| -> () {
            std::fs::write(path, "").unwrap();
            loop {
                std::thread::park();
            }
        };
        let start = Instant::now();
        let [path] = item("handle");
        let mut handle = pool.submit(for_ever, path);
        assert!(with_timeout(&mut handle, Duration::ZERO).await.is_err());
        has_started("handle");
        drop(handle);
        sleep(MINUTE).await;
        let [path] = item("place");
        let submit = pool.submit_async(for_ever, path);
        assert!(with_timeout(submit, Duration::ZERO).await.is_err());
        sleep(MINUTE).await;
        let mut stream = pool.stream(for_ever, item("stream"), nz!(5));
        assert!(with_timeout(StreamExt::next(&mut stream), Duration::ZERO).await.is_err());
        has_started("stream");
        drop(stream);
        sleep(MINUTE).await;
        let mut map = Box::pin(pool.map_async(for_ever, item("map")));
        assert!(with_timeout(&mut map, Duration::ZERO).await.is_err());
        has_started("map");
        drop(map);
        sleep(MINUTE).await;
        assert_eq!(start.elapsed(), 4 * MINUTE);
    });
    let _ = pool.terminate();
}
