//! A user's program over blocks, with each of their operations one step or
//! with the steps inside of them: the same outcomes.

use selvedge::counter::SafeCounter;
use selvedge::queue;
use selvedge::swap::atomic::{AtomicUsize, Ordering};
use selvedge::swap::{Arc, thread};
use selvedge_model::{Model, Search, Time};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Mutex as Unseen;

/// The executions that one schedule of each class took, and the outcomes;
/// `None` if it was more than `most`.
fn explored<O: Ord + Debug + Send + 'static>(
    model: Model,
    most: u64,
    body: impl Fn() -> O + Send + Sync + 'static,
) -> (Option<u64>, BTreeSet<O>) {
    let seen = std::sync::Arc::new(Unseen::new(BTreeSet::new()));
    let into = std::sync::Arc::clone(&seen);
    let model = model.time(Time::Any).closed().search(Search::Classes);
    let report = model.executions(most).duration(std::time::Duration::MAX).holds(move || {
        into.lock().unwrap().insert(body());
    });
    println!("{}", report.claim);
    let ended = report.claim.starts_with("every schedule");
    (ended.then_some(report.executions), std::mem::take(&mut *seen.lock().unwrap()))
}

/// Two producers and two consumers, and what a counter of theirs was: who got
/// which item, and how many had begun by then.
fn four_on_a_queue() -> [(usize, usize); 2] {
    let shared = Arc::new((queue::bounded(selvedge::nz!(1)), AtomicUsize::new(0)));
    let producers = [1, 2].map(|item| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let ((tx, _), begun) = &*shared;
            begun.fetch_add(1, Ordering::SeqCst);
            tx.send(item).unwrap();
        })
    });
    let consumers = [(); 2].map(|()| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let ((_, rx), begun) = &*shared;
            let item = rx.recv().unwrap();
            (item, begun.load(Ordering::SeqCst))
        })
    });
    for producer in producers {
        producer.join().unwrap();
    }
    consumers.map(|consumer| consumer.join().unwrap())
}

/// At most one execution for forty. (An operation that waits is two steps, or
/// there would be fewer still.)
#[test]
fn a_trusted_queue_is_a_step_an_operation() {
    let trusted = Model::new("trust::queue").trust("queue");
    let (trusted, outcomes) = explored(trusted, 2_000, four_on_a_queue);
    let trusted = trusted.expect("every schedule of the steps outside of the queue");
    let open = Model::new("trust::open_queue").trust("queue").open("queue");
    let (open, all) = explored(open, 20_000, four_on_a_queue);
    assert_eq!(outcomes, all);
    let open = open.expect("every schedule of the steps inside of the queue");
    assert!(open >= 40 * trusted, "{open} and {trusted}");
}

/// Adds that overflow, a take and a read, beside a flag of the user's.
fn four_on_a_counter() -> (Vec<Option<u64>>, u64, u64, usize) {
    let counter = Arc::new(SafeCounter::with_value(u64::MAX - 1));
    let flag = Arc::new(AtomicUsize::new(0));
    let adders = [(); 2].map(|()| {
        let (counter, flag) = (Arc::clone(&counter), Arc::clone(&flag));
        thread::spawn(move || {
            flag.fetch_add(1, Ordering::SeqCst);
            counter.inc().ok()
        })
    });
    let taker = thread::spawn({
        let (counter, flag) = (Arc::clone(&counter), Arc::clone(&flag));
        move || (counter.take(), flag.load(Ordering::SeqCst))
    });
    let added = adders.map(|adder| adder.join().unwrap());
    let (taken, flag) = taker.join().unwrap();
    (added.to_vec(), taken, counter.value(), flag)
}

#[test]
fn a_trusted_counter_is_a_step_an_operation() {
    let trusted = Model::new("trust::counter").trust("counter");
    let (trusted, outcomes) = explored(trusted, 2_000, four_on_a_counter);
    let open = Model::new("trust::open_counter");
    let (open, all) = explored(open, 20_000, four_on_a_counter);
    assert_eq!(outcomes, all);
    let (trusted, open) = (trusted.expect("all of them"), open.expect("all of them"));
    assert!(2 * trusted <= open, "{open} and {trusted}");
}

/// What is trusted is said, and a name that nothing goes by is an error.
#[test]
#[should_panic(expected = "it trusts \"queues\", of which nothing is used")]
fn a_block_that_is_not_used_cannot_be_trusted() {
    let model = Model::new("trust::nothing").trust("queues");
    explored(model, 2_000, four_on_a_counter);
}
