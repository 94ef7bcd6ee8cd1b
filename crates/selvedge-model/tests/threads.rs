//! What a model of threads reaches, and how it fails.
#![cfg(not(loom))]

use selvedge_model::Model;
use selvedge_model::sync::atomic::{AtomicU32, Ordering::SeqCst};
use selvedge_model::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, mpsc};
use selvedge_model::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What the model panics with.
fn failure(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("the model fails");
    payload.downcast_ref::<String>().expect("a message").clone()
}

fn lost_update() -> u32 {
    let n = Arc::new(AtomicU32::new(0));
    let threads = [0, 1].map(|_| {
        let n = Arc::clone(&n);
        thread::spawn(move || {
            let seen = n.load(SeqCst);
            n.store(seen + 1, SeqCst);
        })
    });
    let _ = threads.map(|thread| thread.join().unwrap());
    n.load(SeqCst)
}

#[test]
fn both_outcomes_of_a_lost_update_are_reached() {
    let report = Model::new("lost update").reaches([1, 2], lost_update);
    assert!(report.claim.starts_with("every schedule, one of each class"), "{}", report.claim);
}

#[test]
fn a_lost_update_is_a_table() {
    let message = failure(|| drop(Model::new("lost update").reaches([2], lost_update)));
    println!("{message}");
    assert!(message.contains("outcome 1 is not allowed (allowed: [2])"), "{message}");
    assert!(message.contains("AtomicU32#1.load() -> 0  threads.rs:22"), "{message}");
    assert!(message.contains("1 preemption,"), "{message}");
    assert!(message.contains("replay: SELVEDGE_REPLAY='lost update:shuttle:"), "{message}");
}

#[test]
fn store_buffering_reaches_what_is_sequentially_consistent() {
    Model::new("store buffering").reaches([(0, 1), (1, 0), (1, 1)], || {
        let cells = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let [a, b] = [0, 1].map(|mine| {
            let cells = Arc::clone(&cells);
            thread::spawn(move || {
                cells[mine].store(1, SeqCst);
                cells[1 - mine].load(SeqCst)
            })
        });
        (a.join().unwrap(), b.join().unwrap())
    });
}

static COUNT: AtomicU32 = AtomicU32::new(7);
static CELL: OnceLock<u32> = OnceLock::new();
static LAZY: LazyLock<Mutex<Vec<u32>>> = LazyLock::new(|| Mutex::new(vec![1]));

#[test]
fn statics_start_every_execution_afresh() {
    Model::new("statics").reaches([(9, 2, 3)], || {
        thread::scope(|scope| {
            for n in [1, 2] {
                scope.spawn(move || {
                    COUNT.fetch_add(1, SeqCst);
                    let _ = CELL.set(n);
                    LAZY.lock().unwrap().push(n);
                });
            }
        });
        assert!(CELL.get().is_some());
        (COUNT.load(SeqCst), 2, LAZY.lock().unwrap().len())
    });
    assert_eq!(COUNT.load(SeqCst), 7);
    assert_eq!(CELL.get(), None);
    assert_eq!(*LAZY.lock().unwrap(), [1]);
}

#[test]
fn a_deadlock_says_who_has_what() {
    let message = failure(|| {
        let _ = Model::new("deadlock").holds(|| {
            let locks = Arc::new([Mutex::new(0), Mutex::new(0)]);
            let threads = [0, 1].map(|first| {
                let locks = Arc::clone(&locks);
                thread::spawn(move || {
                    let _a = locks[first].lock().unwrap();
                    let _b = locks[1 - first].lock().unwrap();
                })
            });
            let _ = threads.map(|thread| thread.join().unwrap());
        });
    });
    println!("{message}");
    assert!(message.contains("deadlock: every task waits"), "{message}");
    assert!(message.contains("which thread 2 has since"), "{message}");
    assert!(message.contains("main waits for thread 1 to end"), "{message}");
}

#[test]
fn a_missed_wake_up_is_a_deadlock() {
    let message = failure(|| {
        let _ = Model::new("missed").holds(|| {
            let pair = Arc::new((Mutex::new(false), Condvar::new()));
            let waiter = thread::spawn({
                let pair = Arc::clone(&pair);
                move || {
                    if !*pair.0.lock().unwrap() {
                        let guard = pair.0.lock().unwrap();
                        drop(pair.1.wait(guard).unwrap());
                    }
                }
            });
            *pair.0.lock().unwrap() = true;
            pair.1.notify_one();
            waiter.join().unwrap();
        });
    });
    println!("{message}");
    assert!(message.contains("waits for Condvar#1 to be notified"), "{message}");
}

#[test]
fn a_condition_variable_with_a_loop_wakes() {
    Model::new("woken").reaches([3], || {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let threads = [1, 2].map(|n| {
            let pair = Arc::clone(&pair);
            thread::spawn(move || {
                *pair.0.lock().unwrap() += n;
                pair.1.notify_all();
            })
        });
        let guard = pair.0.lock().unwrap();
        let sum = *pair.1.wait_while(guard, |sum| *sum < 3).unwrap();
        let _ = threads.map(|thread| thread.join().unwrap());
        sum
    });
}

#[test]
fn notify_one_picks_any_waiter() {
    Model::new("any waiter").reaches([0, 1], || {
        let state = Arc::new((Mutex::new((0, None)), Condvar::new(), Condvar::new()));
        let waiters = [0, 1].map(|me| {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let mut guard = state.0.lock().unwrap();
                guard.0 += 1;
                state.2.notify_one();
                guard = state.1.wait(guard).unwrap();
                guard.1.get_or_insert(me);
                state.1.notify_one();
            })
        });
        let guard = state.0.lock().unwrap();
        let guard = state.2.wait_while(guard, |(waiting, _)| *waiting < 2).unwrap();
        drop(guard);
        state.1.notify_one();
        let _ = waiters.map(|waiter| waiter.join().unwrap());
        let first = state.0.lock().unwrap().1;
        first.unwrap()
    });
}

#[test]
fn readers_share_and_writers_do_not() {
    Model::new("readers").holds(|| {
        let lock = Arc::new(RwLock::new((0, 0)));
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                let mut both = lock.write().unwrap();
                both.0 = 1;
                both.1 = 1;
            }
        });
        let reader = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                let both = lock.read().unwrap();
                let other = lock.try_read().map(|again| *again);
                assert_eq!(both.0, both.1);
                assert_eq!(other.ok(), Some(*both));
            }
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

// std's lock may let a waiting writer go first: then neither goes.
#[test]
fn to_read_twice_is_a_deadlock_with_a_writer() {
    let body = |twice: bool| {
        let lock = Arc::new(RwLock::new(0));
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || *lock.write().unwrap() = 1
        });
        let one = lock.read().unwrap();
        let two = twice.then(|| lock.read().unwrap());
        drop((one, two));
        writer.join().unwrap();
    };
    Model::new("once").holds(move || body(false));
    let message = failure(|| drop(Model::new("twice").holds(move || body(true))));
    assert!(message.contains("deadlock: every task waits"), "{message}");
    assert!(
        message.contains("main waits to read RwLock#1 once more, behind somebody"),
        "{message}"
    );
    assert!(message.contains("for RwLock#1, which main reads since"), "{message}");
}

// Twenty are stopped on the way to the failure, one has to be; the others have
// nothing to do with it.
#[test]
fn a_counterexample_is_told_with_the_fewest_preemptions() {
    let message = failure(|| {
        drop(Model::new("half of a pair").holds(|| {
            let pair = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let threads: Vec<_> = (0..20)
                .map(|_| {
                    let pair = Arc::clone(&pair);
                    thread::spawn(move || pair.each_ref().map(|half| half.store(1, SeqCst)))
                })
                .collect();
            let seen = pair.each_ref().map(|half| half.load(SeqCst));
            assert_eq!(seen[0], seen[1]);
            threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
        }));
    });
    assert!(message.contains("; 2 preemptions, 2 choices, "), "{message}");
    let lanes = message.lines().find(|line| line.trim_start().starts_with("main "));
    assert_eq!(lanes.map(|line| line.matches("thread").count()), Some(1), "{message}");
}

#[test]
fn a_lock_that_is_held_can_be_seen_by_a_try() {
    // The store is done under the lock: who sees it may find the lock taken.
    Model::new("try").reaches([None, Some(false), Some(true)], || {
        let state = Arc::new((Mutex::new(()), AtomicU32::new(0)));
        let holder = thread::spawn({
            let state = Arc::clone(&state);
            move || {
                let _guard = state.0.lock().unwrap();
                state.1.store(1, SeqCst);
            }
        });
        let other = thread::spawn({
            let state = Arc::clone(&state);
            move || (state.1.load(SeqCst) == 1).then(|| state.0.try_lock().is_ok())
        });
        holder.join().unwrap();
        other.join().unwrap()
    });
}

#[test]
fn channels_deliver_in_order() {
    Model::new("channel").reaches([vec![1, 2]], || {
        let (tx, rx) = mpsc::sync_channel(1);
        let sender = thread::spawn(move || {
            tx.send(1).unwrap();
            tx.send(2).unwrap();
        });
        let all = rx.iter().collect();
        sender.join().unwrap();
        all
    });
}

#[test]
fn a_rendezvous_hands_over() {
    Model::new("rendezvous").reaches([(Ok(()), Some(1)), (Err(mpsc::SendError(1)), None)], || {
        let (tx, rx) = mpsc::sync_channel(0);
        let receiver = thread::spawn(move || rx.try_recv().ok());
        let sent = tx.send(1);
        (sent, receiver.join().unwrap())
    });
}

#[test]
fn barriers_and_onces_hold_for_all() {
    Model::new("barrier").reaches([(1, 1)], || {
        let shared = Arc::new((Barrier::new(2), Once::new(), AtomicU32::new(0)));
        let threads = [0, 1].map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.1.call_once(|| shared.2.store(shared.2.load(SeqCst) + 1, SeqCst));
                u32::from(shared.0.wait().is_leader())
            })
        });
        let leaders = threads.map(|thread| thread.join().unwrap()).into_iter().sum();
        (leaders, shared.2.load(SeqCst))
    });
}

#[test]
fn park_takes_the_token() {
    Model::new("park").holds(|| {
        let flag = Arc::new(AtomicU32::new(0));
        let parked = thread::spawn({
            let flag = Arc::clone(&flag);
            move || {
                while flag.load(SeqCst) == 0 {
                    thread::park();
                }
            }
        });
        flag.store(1, SeqCst);
        parked.thread().unpark();
        parked.join().unwrap();
    });
}

#[test]
fn a_timeout_may_pass_before_what_was_waited_for() {
    use selvedge_model::Time;
    for time in [Time::Ordered, Time::Any] {
        let outcomes = if time == Time::Any { vec![true, false] } else { vec![true] };
        Model::new("recv_timeout").time(time).reaches(outcomes, || {
            let (tx, rx) = mpsc::channel();
            let sender = thread::spawn(move || {
                thread::sleep(Duration::from_millis(4));
                let _ = tx.send(1);
            });
            let got = rx.recv_timeout(Duration::from_millis(5));
            sender.join().unwrap();
            got.is_ok()
        });
    }
}

#[test]
fn deadlines_that_are_equal_pass_in_every_order() {
    Model::new("ties").reaches([vec![0, 1], vec![1, 0]], || {
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads = [0, 1].map(|me| {
            let order = Arc::clone(&order);
            thread::spawn(move || {
                thread::sleep(Duration::from_secs(1));
                order.lock().unwrap().push(me);
            })
        });
        let _ = threads.map(|thread| thread.join().unwrap());
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    });
}

#[test]
fn a_loop_that_spins_lets_others_run() {
    Model::new("spin").duration(Duration::from_secs(3)).holds(|| {
        let flag = Arc::new(AtomicU32::new(0));
        let spinner = thread::spawn({
            let flag = Arc::clone(&flag);
            move || while flag.load(SeqCst) == 0 {}
        });
        flag.store(1, SeqCst);
        spinner.join().unwrap();
    });
}

#[test]
fn a_loop_without_end_is_told() {
    let message = failure(|| {
        let _ = Model::new("endless").steps(300).holds(|| {
            let flag = Arc::new(AtomicU32::new(0));
            let spinner = thread::spawn(move || {
                while flag.load(SeqCst) == 0 {
                    thread::yield_now();
                }
            });
            spinner.join().unwrap();
        });
    });
    assert!(message.contains("no end after 300 steps"), "{message}");
}

#[test]
fn a_panic_of_a_thread_is_told_with_its_line() {
    let message = failure(|| {
        let _ = Model::new("panics").holds(|| {
            let n = Arc::new(AtomicU32::new(0));
            let m = Arc::clone(&n);
            let thread = thread::spawn(move || assert_eq!(m.load(SeqCst), 0, "it was early"));
            n.store(1, SeqCst);
            thread.join().unwrap();
        });
    });
    println!("{message}");
    assert!(message.contains("thread 1 panicked at crates/selvedge-model/tests/threads.rs:"));
    assert!(message.contains("it was early"), "{message}");
}

#[test]
fn a_panic_can_be_the_result_of_a_join() {
    Model::new("panics are values").panics_are_values().reaches([(true, true)], || {
        let lock = Arc::new(Mutex::new(0));
        let other = Arc::clone(&lock);
        let thread = thread::spawn(move || {
            let _guard = other.lock().unwrap();
            panic!("with the lock");
        });
        AtomicU32::new(0).store(1, SeqCst);
        let joined = thread.join().is_err();
        (joined, lock.is_poisoned())
    });
}

#[test]
fn destructors_that_use_the_model_while_a_panic_unwinds_do_no_harm() {
    struct Last(Arc<Mutex<u32>>, Arc<Condvar>);
    impl Drop for Last {
        fn drop(&mut self) {
            *self.0.lock().unwrap_or_else(|p| p.into_inner()) += 1;
            self.1.notify_all();
        }
    }
    let message = failure(|| {
        let _ = Model::new("unwinds").holds(|| {
            let lock = Arc::new(Mutex::new(0));
            let last = Last(Arc::clone(&lock), Arc::new(Condvar::new()));
            let holder = thread::spawn(move || {
                let _guard = lock.lock().unwrap();
                thread::yield_now();
            });
            let _last = last;
            thread::yield_now();
            if !holder.is_finished() {
                panic!("while the other has the lock");
            }
            holder.join().unwrap();
        });
    });
    assert!(message.contains("while the other has the lock"), "{message}");
}

#[test]
fn a_body_that_does_other_things_is_told() {
    static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let message = failure(|| {
        let _ = Model::new("other").holds(|| {
            let n = Arc::new(AtomicU32::new(0));
            let m = Arc::clone(&n);
            let thread = thread::spawn(move || m.fetch_add(1, SeqCst));
            for _ in 0..RUNS.fetch_add(1, SeqCst) % 3 {
                n.fetch_add(1, SeqCst);
            }
            n.fetch_add(1, SeqCst);
            thread.join().unwrap();
        });
    });
    assert!(message.contains("the body does other things on the same schedule"), "{message}");
}

#[test]
fn a_model_that_explores_nothing_fails() {
    let message = failure(|| drop(Model::new("alone").holds(|| AtomicU32::new(0).load(SeqCst))));
    assert!(message.contains("nothing runs beside the body"), "{message}");
}

#[test]
fn an_outcome_that_is_never_reached_fails() {
    let message = failure(|| drop(Model::new("never").reaches([1, 2, 3], lost_update)));
    assert!(message.contains("outcomes that no execution reached: [3]"), "{message}");
}

#[test]
#[should_panic(expected = "unrelated")]
fn a_panic_outside_of_a_model_is_itself() {
    Model::new("before").reaches([1, 2], lost_update);
    panic!("unrelated");
}

selvedge_model::thread_local! {
    static MINE: std::cell::Cell<u32> = const { std::cell::Cell::new(5) };
}

#[test]
fn thread_locals_belong_to_the_models_threads() {
    Model::new("locals").reaches([(6, 6, 5)], || {
        let add = || {
            MINE.set(MINE.get() + 1);
            thread::yield_now();
            MINE.get()
        };
        let [a, b] = [thread::spawn(add), thread::spawn(add)];
        (a.join().unwrap(), b.join().unwrap(), MINE.get())
    });
}

#[test]
fn outside_of_a_model_everything_is_std() {
    assert!([1, 2].contains(&lost_update()));
    let (tx, rx) = mpsc::sync_channel(0);
    let sum = thread::scope(|scope| {
        scope.spawn(move || (1..=100).for_each(|n| tx.send(n).unwrap()));
        scope.spawn(move || rx.iter().sum::<u32>()).join().unwrap()
    });
    assert_eq!(sum, 5050);
}

#[test]
fn a_line_that_is_never_reached_fails() {
    let message = failure(|| {
        let _ = Model::new("line").reaches_line("third").reaches([1, 2], lost_update);
    });
    assert!(message.contains("no execution reached reachable!(\"third\")"), "{message}");
}

#[test]
fn a_history_that_no_order_explains_is_printed() {
    use selvedge_model::kit::History;
    // A counter that is read and written apart: two adds may give the same.
    let message = failure(|| {
        let _ = Model::new("history").holds(|| {
            let (n, history) = (Arc::new(AtomicU32::new(0)), History::new());
            let threads = [0, 1].map(|_| {
                let (n, history) = (Arc::clone(&n), history.clone());
                thread::spawn(move || {
                    history.record("add", || {
                        let seen = n.load(SeqCst);
                        n.store(seen + 1, SeqCst);
                        seen
                    })
                })
            });
            let _ = threads.map(|thread| thread.join().unwrap());
            history.assert_linearizable(0, |n, _| {
                *n += 1;
                *n - 1
            });
        });
    });
    assert!(message.contains("not linearizable:"), "{message}");
    assert!(message.contains("\"add\" -> 0"), "{message}");
}

#[test]
fn a_leak_is_told_with_the_line_that_made_it() {
    use selvedge_model::kit::Drops;
    let message = failure(|| {
        let drops = Drops::new();
        std::mem::forget(drops.track(1));
        drops.assert_none_leaked();
    });
    assert!(message.contains("threads.rs:") && message.contains("was never dropped"), "{message}");
}

#[test]
fn models_that_run_beside_each_other_share_no_static() {
    static SHARED: AtomicU32 = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                Model::new("beside").reaches([2], || {
                    let threads = [0, 1].map(|_| thread::spawn(|| SHARED.fetch_add(1, SeqCst)));
                    let _ = threads.map(|thread| thread.join().unwrap());
                    SHARED.load(SeqCst)
                })
            });
        }
    });
    assert_eq!(SHARED.load(SeqCst), 0);
}
