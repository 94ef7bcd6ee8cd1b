//! Models of async tasks and of time.
#![cfg(not(loom))]

use selvedge_model::sync::atomic::{AtomicU32, Ordering::SeqCst};
use selvedge_model::task::sync::{Mutex, Notify, Semaphore};
use selvedge_model::time::{Instant, error::Elapsed, interval, sleep, timeout};
use selvedge_model::{Model, Time, model, rand, select, task, thread};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// What the model panics with.
fn failure(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("the model fails");
    payload.downcast_ref::<String>().expect("a message").clone()
}

async fn send_races_deadline(send: u32, limit: u32) -> Result<u32, Elapsed> {
    let notify = Arc::new(Notify::new());
    let sender = Arc::clone(&notify);
    let task = task::spawn(async move {
        sleep(MS * send).await;
        sender.notify_one();
    });
    let result = timeout(MS * limit, notify.notified()).await;
    task.await.unwrap();
    result.map(|()| 7)
}

#[model(outcomes = [true], engines(paused, shuttle))]
async fn in_time() -> bool {
    send_races_deadline(4, 5).await.is_ok()
}

#[model(outcomes = [false], engines(paused, shuttle))]
async fn too_late() -> bool {
    send_races_deadline(6, 5).await.is_ok()
}

// A tie goes to whichever is polled first: what is there wins.
#[model(outcomes = [true, false], engines(paused, shuttle))]
async fn a_tie() -> bool {
    send_races_deadline(5, 5).await.is_ok()
}

#[model(time = any, outcomes = [true, false], engines(shuttle))]
async fn any_time() -> bool {
    send_races_deadline(4, 5).await.is_ok()
}

#[model(outcomes = [1, 2], engines(stress, shuttle))]
async fn tasks_lose_an_update() -> u32 {
    let n = Arc::new(AtomicU32::new(0));
    let mut set = task::JoinSet::new();
    for _ in 0..2 {
        let n = Arc::clone(&n);
        set.spawn(async move {
            let seen = n.load(SeqCst);
            n.store(seen + 1, SeqCst);
        });
    }
    set.join_all().await;
    n.load(SeqCst)
}

// The third tick and the fourth look are at the same time: either is first.
#[model(outcomes = [(MS * 2000, 3), (MS * 2500, 3)], engines(paused, shuttle))]
async fn a_ticker_ends_with_the_body() -> (Duration, u32) {
    let ticks = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&ticks);
    let start = Instant::now();
    let _ticker = task::spawn(async move {
        let mut interval = interval(Duration::from_secs(1));
        loop {
            interval.tick().await;
            count.fetch_add(1, SeqCst);
        }
    });
    while ticks.load(SeqCst) < 3 {
        sleep(Duration::from_millis(500)).await;
    }
    (start.elapsed(), ticks.load(SeqCst))
}

#[model(outcomes = [(true, 1)], engines(stress, paused, shuttle))]
async fn an_abort_drops_the_future() -> (bool, usize) {
    let semaphore = Arc::new(Semaphore::new(1));
    let inside = Arc::clone(&semaphore);
    let task = task::spawn(async move {
        let _permit = inside.acquire().await;
        std::future::pending::<()>().await;
    });
    task::yield_now().await;
    task.abort();
    let cancelled = task.await.is_err_and(|error| error.is_cancelled());
    (cancelled, semaphore.available_permits())
}

#[model(outcomes = [3], engines(stress, shuttle))]
async fn threads_and_tasks_in_one_engine() -> u32 {
    let n = Arc::new(AtomicU32::new(0));
    let (a, b) = (Arc::clone(&n), Arc::clone(&n));
    let thread = thread::spawn(move || a.fetch_add(1, SeqCst));
    let blocking = task::spawn_blocking(move || b.fetch_add(2, SeqCst));
    blocking.await.unwrap();
    task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    n.load(SeqCst)
}

#[test]
fn a_foreign_future_is_named_as_one() {
    let message = failure(|| {
        let _ = Model::new("foreign").holds_async(|| async {
            let task = task::spawn(std::future::pending::<()>());
            task.await.unwrap();
        });
    });
    println!("{message}");
    assert!(message.contains("waits for a future that nothing in the model knows"), "{message}");
    assert!(!message.contains("deadlock: every task waits"), "{message}");
}

#[test]
fn a_futurelock_says_who_waits_for_the_lock() {
    let message = failure(|| {
        let _ = Model::new("futurelock").holds_async(|| async {
            let lock = Arc::new(Mutex::new(()));
            let other = Arc::clone(&lock);
            let task = task::spawn(async move {
                let _guard = other.lock().await;
                sleep(MS).await;
            });
            sleep(MS / 2).await;
            let mut first = Box::pin(lock.lock());
            // The first future is in the line, and is not polled any more.
            if timeout(MS * 5, sleep(MS / 4)).await.is_ok() {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(first.as_mut().poll(context).is_ready())
                });
                if !polled.await {
                    drop(lock.lock().await);
                }
            }
            task.await.unwrap();
        });
    });
    println!("{message}");
    assert!(message.contains("deadlock"), "{message}");
    assert!(message.contains("Mutex::lock"), "{message}");
}

#[test]
fn a_panic_of_a_task_fails_the_model_unless_it_is_a_value() {
    let body = || async {
        let task = task::spawn(async {
            task::yield_now().await;
            panic!("in a task");
        });
        AtomicU32::new(0).store(1, SeqCst);
        matches!(task.await, Err(error) if error.is_panic())
    };
    let message = failure(|| drop(Model::new("panics").holds_async(body)));
    assert!(message.contains("task 1 panicked at") && message.contains("in a task"), "{message}");
    Model::new("panics").panics_are_values().reaches_async([true], body);
}

#[test]
fn ordered_time_is_within_any_time() {
    for time in [Time::Ordered, Time::Any] {
        let outcomes = if time == Time::Any { vec![1, 2] } else { vec![1] };
        Model::new("within").time(time).reaches_async(outcomes, || async {
            let first = Arc::new(AtomicU32::new(0));
            let mut set = task::JoinSet::new();
            for n in [1, 2] {
                let first = Arc::clone(&first);
                set.spawn(async move {
                    sleep(MS * n).await;
                    let _ = first.compare_exchange(0, n, SeqCst, SeqCst);
                });
            }
            set.join_all().await;
            first.load(SeqCst)
        });
    }
}

// To make the future is what `notify_waiters` sees: a step of its own.
#[test]
fn a_notification_between_a_look_and_a_wait_is_lost() {
    let message = failure(|| {
        drop(Model::new("look and wait").holds_async(|| async {
            let shared = Arc::new((AtomicU32::new(0), Notify::new()));
            let sees = task::spawn({
                let shared = Arc::clone(&shared);
                async move {
                    shared.0.store(1, SeqCst);
                    shared.1.notify_waiters();
                }
            });
            if shared.0.load(SeqCst) == 0 {
                shared.1.notified().await;
            }
            sees.await.unwrap();
        }));
    });
    assert!(message.contains("in Notify::notified"), "{message}");
}

/// Each branch that may be polled first is, and so either is taken where both
/// are ready; a biased one takes the first.
#[test]
fn select_takes_any_branch_that_is_ready() {
    async fn both(other: Option<u32>) -> u32 {
        let task = task::spawn(async {});
        let got = select! {
            one = std::future::ready(1) => one,
            Some(two) = std::future::ready(other) => { two }
            three = std::future::ready(3), if other.is_none() => three,
            else => 9,
        };
        task.await.unwrap();
        got
    }
    Model::new("any").reaches_async([1, 2], || both(Some(2)));
    Model::new("guarded").reaches_async([1, 3], || both(None));
    Model::new("biased").reaches_async([1], || async {
        let tasks = [(); 2].map(|()| task::spawn(async {}));
        let got = select! {
            biased;
            one = std::future::ready(1) => one,
            two = std::future::ready(2) => two,
        };
        for task in tasks {
            task.await.unwrap();
        }
        got
    });
}

#[test]
fn chance_is_tried_in_every_way() {
    Model::new("dice").reaches_async([0, 1, 2, 10, 11, 12], || async {
        let heads = task::spawn(async { rand::coin() });
        let dice = rand::below(3);
        dice + if heads.await.unwrap() { 10 } else { 0 }
    });
    let threads = Model::new("threads").reaches([(0, 0), (0, 1), (1, 0), (1, 1)], || {
        let other = selvedge_model::thread::spawn(|| rand::below(2));
        (rand::below(2), other.join().unwrap())
    });
    // Neither touches what the other does: one order of each pair.
    assert!(threads.claim.starts_with("every schedule"), "{}", threads.claim);
}

#[test]
fn a_map_has_the_same_order_in_every_execution() {
    static FIRST: std::sync::OnceLock<Vec<u32>> = std::sync::OnceLock::new();
    let report = Model::new("map").holds_async(|| async {
        let tasks = [(); 2].map(|()| task::spawn(async {}));
        let mut map: std::collections::HashMap<u32, u32, rand::RandomState> =
            std::collections::HashMap::default();
        map.extend((0..20).map(|n| (n, n)));
        let keys: Vec<u32> = map.into_keys().collect();
        assert_eq!(FIRST.get_or_init(|| keys.clone()), &keys);
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert!(report.executions > 1);
}
