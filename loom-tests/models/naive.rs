//! What goes wrong without the blocks, and that the kit sees it.
//!
//! These models are the reason to believe the others: each one is a bug that
//! every learner writes once, and the checker reaches it.

use super::kit::Drops;
use super::kit::History;
use super::kit::Model;
use selvedge::swap::Arc;
use selvedge::swap::atomic::{AtomicU64, Ordering};
use selvedge::swap::thread;

/// Two threads increment by load and store: sometimes one increment is lost.
///
/// Does not cover: more than two threads.
#[test]
fn load_then_store_loses_an_increment() {
    Model::new("naive::load_then_store_loses_an_increment").reaches([1, 2], || {
        let cell = Arc::new(AtomicU64::new(0));
        let actors = [0, 1].map(|_| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                let seen = cell.load(Ordering::SeqCst);
                cell.store(seen + 1, Ordering::SeqCst);
            })
        });
        for actor in actors {
            actor.join().unwrap();
        }
        cell.load(Ordering::SeqCst)
    });
}

/// Two threads store to one cell each and then look at the other's: with
/// `Release`/`Acquire` both may see nothing. This is how a wake-up is lost by
/// "announce myself, then check" without `SeqCst`, and shuttle, whose every
/// atomic is sequentially consistent, cannot show it.
#[test]
fn store_then_load_may_miss_each_other() {
    let model = Model::new("naive::store_then_load_may_miss_each_other").loom_only();
    model.reaches([(false, false), (false, true), (true, false), (true, true)], || {
        dekker(Ordering::Release, Ordering::Acquire)
    });
}

/// The same with `SeqCst`: at least one sees the other. This is what the
/// facade's mended `SeqCst` accesses are for.
#[test]
fn seqcst_store_then_load_sees_one_at_least() {
    let model = Model::new("naive::seqcst_store_then_load_sees_one_at_least");
    model.reaches([(false, true), (true, false), (true, true)], || {
        dekker(Ordering::SeqCst, Ordering::SeqCst)
    });
}

fn dekker(store: Ordering, load: Ordering) -> (bool, bool) {
    let cells = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let [left, right] = [0, 1].map(|mine| {
        let cells = Arc::clone(&cells);
        thread::spawn(move || {
            cells[mine].store(1, store);
            cells[1 - mine].load(load) == 1
        })
    });
    (left.join().unwrap(), right.join().unwrap())
}

/// The linearizability search accepts a right history and rejects a wrong one:
/// a read that returns a value before the increment that made it was called.
#[test]
fn linearizability_search_tells_right_from_wrong() {
    let add = |total: &mut u64, n: &u64| {
        *total += n;
        *total
    };
    let right = History::new();
    right.record(1, || 1);
    right.record(0, || 1);
    assert!(right.is_linearizable(0, add));
    let wrong = History::new();
    wrong.record(0, || 1);
    wrong.record(1, || 1);
    assert!(!wrong.is_linearizable(0, add));
}

/// The drop tracker sees a leak.
#[test]
#[should_panic(expected = "leaked")]
fn drop_tracker_sees_a_leak() {
    let drops = Drops::new();
    std::mem::forget(drops.track(()));
    drops.assert_none_leaked();
}

/// The drop tracker sees a double drop.
#[test]
#[should_panic(expected = "a value was dropped 2 times")]
#[allow(unsafe_code, reason = "the bug itself")]
fn drop_tracker_sees_a_double_drop() {
    let drops = Drops::new();
    let value = drops.track(());
    // SAFETY: none; both copies are dropped, which is what must be noticed.
    // Nothing is freed twice: the account is kept alive by a forgotten clone.
    let copy = unsafe { std::ptr::read(&value) };
    std::mem::forget(drops.clone());
    std::mem::forget(drops.clone());
    drop(copy);
    drop(value);
}
