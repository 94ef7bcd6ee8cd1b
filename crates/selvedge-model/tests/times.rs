//! The clocks agree: what tokio's paused clock reaches over many orders of
//! polls is what `Time::Ordered` reaches over every schedule, and all of it is
//! among what `Time::Any` reaches.
#![cfg(not(loom))]

use selvedge_model::sync::atomic::{AtomicU32, Ordering::SeqCst};
use selvedge_model::task::{self, sync::Notify, sync::Semaphore};
use selvedge_model::time::{Instant, interval, sleep, sleep_until, timeout};
use selvedge_model::{Engine, Model, Time};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// What the body reaches.
fn reached<F>(model: Model, body: impl Fn() -> F + Send + Sync + 'static) -> BTreeSet<String>
where
    F: Future<Output = String> + Send + 'static,
{
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let body = Arc::new(body);
    let into = Arc::clone(&seen);
    let _ = model.holds_async(move || {
        let (into, body) = (Arc::clone(&into), Arc::clone(&body));
        async move {
            // Two more, so that there is more than one schedule.
            let others = [(); 2].map(|()| task::spawn(async {}));
            let outcome = body().await;
            for other in others {
                other.await.unwrap();
            }
            into.lock().unwrap().insert(outcome);
        }
    });
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty());
    seen
}

/// Holds the clocks to each other, and the ordered ones to `outcomes`.
fn agree<F>(name: &str, outcomes: &[&str], body: impl Fn() -> F + Copy + Send + Sync + 'static)
where
    F: Future<Output = String> + Send + 'static,
{
    let model = || Model::new(name);
    let outcomes: BTreeSet<String> = outcomes.iter().map(|text| (*text).to_owned()).collect();
    // Each run of this engine is 64 orders.
    let paused: BTreeSet<String> = (0..6)
        .flat_map(|run| reached(model().engine(Engine::Paused).seed(1_000 * run), body))
        .collect();
    let ordered = reached(model(), body);
    assert_eq!(paused, outcomes, "{name}: the paused clock");
    assert_eq!(ordered, outcomes, "{name}: Time::Ordered");
    let any = reached(model().time(Time::Any).executions(5_000), body);
    assert!(any.is_superset(&ordered), "{name}: Time::Any: {any:?}");
}

async fn sent(after: u32, limit: u32) -> String {
    let notify = Arc::new(Notify::new());
    let sender = Arc::clone(&notify);
    let task = task::spawn(async move {
        sleep(MS * after).await;
        sender.notify_one();
    });
    let result = timeout(MS * limit, notify.notified()).await;
    task.await.unwrap();
    if result.is_ok() { "sent" } else { "late" }.to_owned()
}

#[test]
fn sent_before_the_limit() {
    agree("before", &["sent"], || sent(4, 5));
}

#[test]
fn sent_after_the_limit() {
    agree("after", &["late"], || sent(6, 5));
}

#[test]
fn sent_at_the_limit() {
    agree("tie", &["late", "sent"], || sent(5, 5));
}

#[test]
fn of_two_limits_the_shorter_ends() {
    agree("nested", &["inner"], || async {
        let task = task::spawn(sleep(MS));
        let work = timeout(MS * 3, sleep(MS * 4));
        let result = timeout(MS * 5, work).await;
        task.await.unwrap();
        match result {
            Ok(Ok(())) => "done",
            Ok(Err(_)) => "inner",
            Err(_) => "outer",
        }
        .to_owned()
    });
}

#[test]
fn of_two_equal_limits_the_inner_is_asked_first() {
    agree("equal", &["inner"], || async {
        let task = task::spawn(sleep(MS));
        let result = timeout(MS * 3, timeout(MS * 3, sleep(MS * 4))).await;
        task.await.unwrap();
        if matches!(result, Ok(Err(_))) { "inner" } else { "outer" }.to_owned()
    });
}

async fn in_turn(after: [u32; 3]) -> String {
    let order = Arc::new(Mutex::new(String::new()));
    let start = Instant::now();
    let tasks = after.map(|after| {
        let order = Arc::clone(&order);
        task::spawn(async move {
            sleep_until(start + MS * after).await;
            // A step, so that others may come between.
            task::yield_now().await;
            order.lock().unwrap().push_str(&after.to_string());
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    order.lock().unwrap().clone()
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    agree("sleepers", &["123"], || in_turn([3, 1, 2]));
}

/// What was found by one who tried this crate: two wake together, and neither
/// has run before the other's time has come.
#[test]
fn equal_deadlines_pass_together() {
    agree("together", &["1 2", "2 1", "2 2"], || async {
        let count = Arc::new(AtomicU32::new(0));
        let tasks = [(); 2].map(|()| {
            let count = Arc::clone(&count);
            task::spawn(async move {
                sleep(MS * 10).await;
                count.fetch_add(1, SeqCst);
                task::yield_now().await;
                count.load(SeqCst).to_string()
            })
        });
        let mut seen = Vec::new();
        for task in tasks {
            seen.push(task.await.unwrap());
        }
        seen.join(" ")
    });
}

#[test]
fn an_interval_grants_at_its_rate() {
    agree("rate", &["0 10 20"], || async {
        let start = Instant::now();
        let task = task::spawn(async move {
            let mut interval = interval(MS * 10);
            let mut grants = Vec::new();
            for _ in 0..3 {
                interval.tick().await;
                grants.push(start.elapsed().as_millis().to_string());
            }
            grants.join(" ")
        });
        sleep(MS * 15).await;
        task.await.unwrap()
    });
}

/// A bucket that gets a permit every 10 ms; so many were taken in `limit`.
async fn taken(limit: u32) -> String {
    let bucket = Arc::new(Semaphore::new(1));
    let fill = Arc::clone(&bucket);
    let _filler = task::spawn(async move {
        for _ in 0..4 {
            sleep(MS * 10).await;
            fill.add_permits(1);
        }
    });
    let mut taken = 0;
    let take = async {
        loop {
            bucket.acquire().await.unwrap().forget();
            taken += 1;
        }
    };
    let ended: Result<(), _> = timeout(MS * limit, take).await;
    assert!(ended.is_err());
    taken.to_string()
}

#[test]
fn a_bucket_gives_what_was_in_it_and_its_rate() {
    agree("bucket", &["3"], || taken(25));
}

#[test]
fn a_bucket_that_is_filled_at_the_limit_gives_or_not() {
    agree("brim", &["2", "3"], || taken(20));
}

#[test]
fn a_permit_is_given_back_before_the_limit() {
    agree("permit", &["got it"], || async {
        let permits = Arc::new(Semaphore::new(1));
        let held = permits.clone().acquire_owned().await.unwrap();
        let task = task::spawn(async move {
            sleep(MS * 3).await;
            drop(held);
        });
        let got = timeout(MS * 4, permits.acquire()).await.is_ok();
        task.await.unwrap();
        if got { "got it" } else { "late" }.to_owned()
    });
}

/// Attempts at 0, 1, 3 and 7 ms, each after twice the wait of the last.
async fn attempts(limit: u32) -> String {
    let count = Arc::new(Mutex::new(0));
    let attempts = Arc::clone(&count);
    let retry = async move {
        for wait in [1, 2, 4, 8] {
            *attempts.lock().unwrap() += 1;
            sleep(MS * wait).await;
        }
        std::future::pending().await
    };
    let task = task::spawn(sleep(MS * 2));
    let ended: Result<(), _> = timeout(MS * limit, retry).await;
    assert!(ended.is_err());
    task.await.unwrap();
    let count = *count.lock().unwrap();
    count.to_string()
}

#[test]
fn a_retry_backs_off() {
    agree("backoff", &["3"], || attempts(6));
}

#[test]
fn a_heartbeat_that_stops_is_noticed_after_its_grace() {
    agree("heartbeat", &["at 13"], || async {
        let beat = Arc::new(Notify::new());
        let beats = Arc::clone(&beat);
        let start = Instant::now();
        let heart = task::spawn(async move {
            for _ in 0..2 {
                sleep(MS * 4).await;
                beats.notify_one();
            }
        });
        while timeout(MS * 5, beat.notified()).await.is_ok() {}
        heart.await.unwrap();
        format!("at {}", start.elapsed().as_millis())
    });
}
