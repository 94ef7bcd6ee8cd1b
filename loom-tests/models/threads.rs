//! The ordered map over threads.
//!
//! Every model makes a pool of its own inside one actor, runs a map or two on
//! it, and ends the pool: the helpers are the other actors. Chunks are fixed at
//! one item, so that no clock is read.
//!
//! None of these covers: adaptive chunks, the spinning before a wait, more
//! than two helpers, a spawn that fails.

use super::kit::Drops;
use super::kit::Model;
use selvedge::swap::cell::UnsafeCell;
use selvedge::swap::{Arc, Condvar, Mutex, thread};
use selvedge::threads::{OnError, Pool, Results, Threads};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex as Unseen;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// shuttle samples: even one item and one helper have more schedules than can
/// all be tried.
fn model(name: &'static str) -> Model {
    Model::new(name)
}

/// Runs `body` in an actor with a pool of at most `helpers`.
fn on_a_pool<O: Send + 'static>(
    helpers: usize,
    body: impl FnOnce(&Pool) -> O + Send + 'static,
) -> O {
    let actor = thread::spawn(move || {
        let pool = Pool::new(helpers, None);
        body(&pool)
    });
    actor.join().unwrap()
}

/// A caller and one helper, items one at a time.
fn pair(pool: &Pool) -> Threads<'_> {
    Threads::new().on(pool).max_workers(selvedge::nz!(2)).chunk(selvedge::nz!(1))
}

/// The order in which things happened, out of the checkers' sight.
#[derive(Default)]
struct Log(Unseen<Vec<u8>>);

impl Log {
    fn add(&self, what: u8) {
        self.0.lock().unwrap().push(what);
    }

    fn into_order(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A value in a cell whose accesses loom orders: reading it without a
/// happens-before edge from the writing is an error there.
#[allow(unsafe_code, reason = "an access that loom must see")]
mod seen {
    use super::UnsafeCell;

    pub(super) struct Seen(UnsafeCell<u8>);

    // SAFETY: what the models check.
    unsafe impl Send for Seen {}
    // SAFETY: what the models check.
    unsafe impl Sync for Seen {}

    impl Seen {
        pub(super) fn new(value: u8) -> Self {
            Self(UnsafeCell::new(value))
        }
        pub(super) fn get(&self) -> u8 {
            // SAFETY: a live cell; loom checks for writers.
            self.0.with(|at| unsafe { *at })
        }
        pub(super) fn set(&self, value: u8) {
            // SAFETY: a live cell; loom checks for other users.
            self.0.with_mut(|at| unsafe { *at = value });
        }
    }
}
use seen::Seen;

/// Two who wait for each other: both sides must be at work at once.
struct Meeting {
    here: Mutex<usize>,
    met: Condvar,
}

impl Meeting {
    fn new() -> Self {
        Self { here: Mutex::new(0), met: Condvar::new() }
    }

    fn wait_for_both(&self) {
        let mut here = self.here.lock();
        *here += 1;
        if *here == 2 {
            self.met.notify_one();
        }
        while *here < 2 {
            here = self.met.wait(here);
        }
    }
}

/// Each item is done once, results come in input order and are visible to the
/// caller, and nothing is leaked, whoever does which item first.
#[test]
fn every_item_once_and_results_in_order() {
    let model = model("threads::every_item_once_and_results_in_order").executions(70_000);
    model.reaches([vec![0, 1], vec![1, 0]], || {
        on_a_pool(1, |pool| {
            let (drops, log) = (Drops::new(), Log::default());
            let items = [drops.track(0), drops.track(1)];
            let results = pair(pool).window(selvedge::nz!(2)).map(items, |item| {
                log.add(item.value);
                drops.track(Seen::new(item.value + 10))
            });
            let values: Vec<u8> = results.iter().map(|result| result.value.get()).collect();
            assert_eq!(values, [10, 11]);
            drop(results);
            drops.assert_none_leaked();
            log.into_order()
        })
    });
}

/// The same over indices, where workers write straight into the output.
#[test]
fn indexed_every_item_once_and_results_in_order() {
    let model = model("threads::indexed_every_item_once_and_results_in_order");
    let orders = [vec![0, 1, 2], vec![1, 0, 2], vec![0, 2, 1], vec![1, 2, 0]];
    model.reaches(orders, || {
        on_a_pool(1, |pool| {
            let (drops, log) = (Drops::new(), Log::default());
            let results = pair(pool).map_range(0..3, |i| {
                let i = u8::try_from(i).unwrap();
                log.add(i);
                drops.track(Seen::new(i))
            });
            let values: Vec<u8> = results.iter().map(|result| result.value.get()).collect();
            assert_eq!(values, [0, 1, 2]);
            drop(results);
            drops.assert_none_leaked();
            log.into_order()
        })
    });
}

/// An item that panics surfaces at its index, after the results before it, and
/// nothing is leaked. The item behind it may have been started or not.
#[test]
fn a_panic_surfaces_at_its_index() {
    let model = model("threads::a_panic_surfaces_at_its_index");
    model.reaches([false, true], || {
        on_a_pool(1, |pool| {
            let (drops, started) = (Drops::new(), AtomicBool::new(false));
            let items = (0..3).map(|n| drops.track(n));
            pair(pool).window(selvedge::nz!(3)).stream(
                items,
                |item| {
                    started.fetch_or(item.value == 2, Ordering::Relaxed);
                    if item.value == 1 {
                        resume_unwind(Box::new("one"));
                    }
                    drops.track(item.value)
                },
                |mut results| {
                    assert_eq!(results.next().map(|result| result.value), Some(0));
                    let next = catch_unwind(AssertUnwindSafe(|| results.next().is_some()));
                    let payload = next.unwrap_err();
                    assert_eq!(payload.downcast_ref(), Some(&"one"));
                    assert!(results.next().is_none());
                },
            );
            drops.assert_none_leaked();
            started.into_inner()
        })
    });
}

/// The panic of the lowest index is the one that surfaces, though a later one
/// may happen before it.
#[test]
fn indexed_the_lowest_panic_wins() {
    model("threads::indexed_the_lowest_panic_wins").holds(|| {
        on_a_pool(1, |pool| {
            let drops = Drops::new();
            let mapped = catch_unwind(AssertUnwindSafe(|| {
                pair(pool).map_range(0..3, |i| {
                    if i > 0 {
                        resume_unwind(Box::new(i));
                    }
                    drops.track(i)
                })
            }));
            assert_eq!(mapped.unwrap_err().downcast_ref(), Some(&1_usize));
            drops.assert_none_leaked();
        });
    });
}

/// When the call has returned no helper is at the job any more: what the
/// closure read may be written at once. loom checks the ordering, the count the
/// schedule. The results are dropped early, or forgotten.
#[test]
fn an_early_stop_joins_every_helper() {
    model("threads::an_early_stop_joins_every_helper").holds(|| early_stop(1, false));
}

/// The same with the results forgotten, so that their destructor cannot help.
#[test]
fn an_early_stop_joins_though_the_results_are_forgotten() {
    let model = model("threads::an_early_stop_joins_though_the_results_are_forgotten");
    model.holds(|| early_stop(1, true));
}

/// The same with two helpers, both of which must be told, and by one call:
/// forgotten results do not stop the work a first time.
#[test]
fn an_early_stop_joins_two_helpers() {
    let model = model("threads::an_early_stop_joins_two_helpers").preemptions(2);
    model.holds(|| early_stop(2, true));
}

fn early_stop(helpers: usize, forget: bool) {
    on_a_pool(helpers, move |pool| {
        let shared = Seen::new(7);
        // Owned, so that a helper which outlives the call is counted as such
        // before it touches what is no longer there.
        let at_work = std::sync::Arc::new(AtomicUsize::new(0));
        let step = Arc::new(Mutex::new(()));
        let workers = std::num::NonZeroUsize::new(helpers + 1).unwrap();
        let counted = std::sync::Arc::clone(&at_work);
        pair(pool).max_workers(workers).window(selvedge::nz!(2)).stream_here(
            0_u8..,
            |n| {
                counted.fetch_add(1, Ordering::Relaxed);
                // A point at which the checkers may switch.
                drop(step.lock());
                let result = n + shared.get();
                counted.fetch_sub(1, Ordering::Relaxed);
                result
            },
            |mut results| {
                assert_eq!(results.next(), Some(7));
                if forget {
                    std::mem::forget(results);
                }
            },
        );
        assert_eq!(at_work.load(Ordering::Relaxed), 0, "a helper outlived the call");
        shared.set(0);
    });
}

/// Two items that wait for each other get two workers: an invitation reaches a
/// helper that is new, idle, or on its way back from the job before.
#[test]
fn a_helper_on_its_way_back_is_not_overlooked() {
    model("threads::a_helper_on_its_way_back_is_not_overlooked").holds(|| {
        on_a_pool(1, |pool| {
            for _ in 0..2 {
                let meeting = Meeting::new();
                pair(pool).map_range(0..2, |_| meeting.wait_for_both());
            }
            assert_eq!(pool.helpers(), 1);
        });
    });
}

/// The same through the queue of items: a helper that has done the first one
/// and waits for more is woken, for there are two that wait for each other.
#[test]
fn a_helper_that_waits_for_items_is_woken() {
    let model = model("threads::a_helper_that_waits_for_items_is_woken");
    model.holds(|| {
        on_a_pool(1, |pool| {
            let meeting = Meeting::new();
            let work = |n| {
                if n > 0 {
                    meeting.wait_for_both()
                }
            };
            assert_eq!(pair(pool).window(selvedge::nz!(3)).map(0..3, work).len(), 3);
        });
    });
}

/// An idle helper whose time is up either answers or is gone and replaced: an
/// invitation is never left with it.
#[test]
fn a_helper_that_expires_is_replaced() {
    let model =
        model("threads::a_helper_that_expires_is_replaced").executions(120_000).shuttle_only();
    model.holds(|| {
        let actor = thread::spawn(|| {
            let hour = std::time::Duration::from_secs(3_600);
            let pool = Pool::new(1, Some(hour));
            for _ in 0..2 {
                let meeting = Meeting::new();
                pair(&pool).map_range(0..2, |_| meeting.wait_for_both());
            }
        });
        actor.join().unwrap();
    });
}

/// Items that were pulled and not handed out are never more than the window.
#[test]
fn the_window_is_never_exceeded() {
    model("threads::the_window_is_never_exceeded").reaches([2], || most_outstanding(false));
}

/// The same where a helper pulls, which may come too late to pull ahead.
#[test]
fn the_window_is_never_exceeded_by_a_helper() {
    let model = model("threads::the_window_is_never_exceeded_by_a_helper").preemptions(2);
    model.reaches([1, 2], || most_outstanding(true));
}

fn most_outstanding(live: bool) -> usize {
    on_a_pool(1, move |pool| {
        let (outstanding, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let source = (0..3).inspect(|_| {
            let now = outstanding.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
        });
        let take = |results: Results<'_, usize>| {
            for (expected, n) in results.enumerate() {
                assert_eq!(n, expected);
                outstanding.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let threads = pair(pool).window(selvedge::nz!(2));
        if live {
            threads.stream(source, |n| n, take);
        } else {
            threads.stream_here(source, |n| n, take);
        }
        most.into_inner()
    })
}

/// Maps nest on a pool with a single helper: nobody waits for help that cannot
/// come.
#[test]
fn nested_maps_end() {
    let model = model("threads::nested_maps_end").executions(25_000).preemptions(2);
    model.holds(|| {
        on_a_pool(1, |pool| {
            let sums = pair(pool).map_range(0..2, |a| {
                pair(pool).map_range(0..2, |b| 10 * a + b).iter().sum::<usize>()
            });
            assert_eq!(sums, [1, 21]);
        });
    });
}

/// Two callers share one helper; each gets its own results.
#[test]
fn two_callers_share_a_helper() {
    let model = model("threads::two_callers_share_a_helper").preemptions(2);
    model.holds(|| {
        let pool = Arc::new(Pool::new(1, None));
        let callers = [0, 1].map(|me| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let mine = pair(&pool).map_range(0..2, move |i| (me, i));
                assert_eq!(mine, [(me, 0), (me, 1)]);
            })
        });
        for caller in callers {
            caller.join().unwrap();
        }
    });
}

/// Of two errors the one with the lower index is reported, in every schedule.
#[test]
fn the_first_error_in_order_does_not_depend_on_the_schedule() {
    let model = model("threads::the_first_error_in_order_does_not_depend_on_the_schedule");
    model.holds(|| {
        on_a_pool(1, |pool| {
            let drops = Drops::new();
            let items = (0..3).map(|n| drops.track(n));
            let error = pair(pool)
                .window(selvedge::nz!(3))
                .try_map(items, |item| if item.value > 0 { Err(item) } else { Ok(item) })
                .map(|values| values.len())
                .unwrap_err();
            assert_eq!((error.index, error.into_error().unwrap().value), (1, 1));
            drops.assert_none_leaked();
        });
    });
}

/// Of two errors the one that happened first is reported, and either may.
#[test]
fn the_first_error_seen_is_either() {
    model("threads::the_first_error_seen_is_either").reaches([0, 1], || {
        on_a_pool(1, |pool| {
            let mapped = pair(pool)
                .window(selvedge::nz!(2))
                .on_error(OnError::FirstSeen)
                .try_map([0_u8, 1], Err::<(), u8>);
            let error = mapped.unwrap_err();
            assert_eq!(usize::from(error.clone().into_error().unwrap()), error.index);
            error.index
        })
    });
}

/// The next item comes only when the result before it has been handed out,
/// though the window has room for it: by whoever pulls and whoever works.
#[test]
fn results_are_handed_out_while_the_source_blocks() {
    let model = model("threads::results_are_handed_out_while_the_source_blocks");
    model.preemptions(2).holds(|| handed_out_meanwhile(2, 2));
}

/// The same with a pool that can only pull.
#[test]
fn results_are_handed_out_though_no_helper_works() {
    let model = model("threads::results_are_handed_out_though_no_helper_works");
    model.preemptions(2).holds(|| handed_out_meanwhile(1, 3));
}

fn handed_out_meanwhile(helpers: usize, items: u8) {
    on_a_pool(helpers, move |pool| {
        let (handed, more) = (Mutex::new(0), Condvar::new());
        let source = (0..items).inspect(|n| {
            let mut handed = handed.lock();
            while *handed < *n {
                handed = more.wait(handed);
            }
        });
        pair(pool).window(selvedge::nz!(2)).stream(
            source,
            |n| n + 10,
            |results| {
                for (expected, n) in (10..).zip(results) {
                    assert_eq!(n, expected);
                    *handed.lock() += 1;
                    more.notify_one();
                }
            },
        );
        assert_eq!(*handed.lock(), items);
    });
}
