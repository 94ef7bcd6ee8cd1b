//! Models that fail under loom: each ends its own test, with a report, and the
//! others of the program run on.
#![cfg(loom)]

use selvedge_model::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use selvedge_model::sync::{Arc, Condvar, Mutex, RwLock};
use selvedge_model::{Model, thread};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the model's test panics with.
fn failure(model: Model, body: impl Fn() + Send + Sync + 'static) -> String {
    let failed = catch_unwind(AssertUnwindSafe(|| model.holds(body)));
    *failed.expect_err("the model fails").downcast::<String>().expect("a text")
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// Whoever drops one uses loom once more.
struct Locks(Arc<Mutex<u32>>, Arc<AtomicU32>);

impl Drop for Locks {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
        self.1.fetch_add(1, Ordering::AcqRel);
    }
}

fn locks() -> Locks {
    Locks(Arc::default(), Arc::default())
}

#[test]
fn a_lost_update_is_shown_with_its_reads() {
    let text = failure(Model::new("lost"), || {
        let hits = Arc::new(AtomicU32::new(0));
        let threads = [0, 1].map(|_| {
            let hits = Arc::clone(&hits);
            thread::spawn(move || {
                let seen = hits.load(Ordering::Relaxed);
                hits.store(seen + 1, Ordering::Relaxed);
            })
        });
        let _ = threads.map(|thread| thread.join().unwrap());
        assert_eq!(hits.load(Ordering::Relaxed), 2, "one was lost");
    });
    has(
        &text,
        &[
            "lost: main panicked at ",
            "one was lost",
            "(loom, at most 3 preemptions; failed in execution ",
            "thread 1",
            "AtomicU32#1.load(Relaxed) -> 0  loom_fails.rs:",
            "AtomicU32#1.store(1, Relaxed)  loom_fails.rs:",
            "AtomicU32#1 made at ",
            "replay: SELVEDGE_REPLAY='lost:loom:",
        ],
    );
}

#[test]
fn threads_that_wait_for_ever_are_named() {
    let text = failure(Model::new("stuck"), || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = Arc::clone(&shared);
        let _guard = locks();
        let thread = thread::spawn(move || {
            let _inside = locks();
            let mut open = other.0.lock().unwrap();
            while !*open {
                open = other.1.wait(open).unwrap();
            }
        });
        // The bug: nobody is told.
        *shared.0.lock().unwrap() = true;
        thread.join().unwrap();
    });
    has(
        &text,
        &[
            "stuck: deadlock: every thread waits",
            "main waits for a thread to end, at ",
            "thread 1 waits for Condvar#1 to be notified, at ",
        ],
    );
}

#[test]
fn two_locks_in_two_orders_are_named_with_who_has_them() {
    let text = failure(Model::new("crossed"), || {
        let (a, b) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let (c, d) = (Arc::clone(&a), Arc::clone(&b));
        let thread = thread::spawn(move || {
            let _d = d.lock().unwrap();
            let _c = c.lock().unwrap();
        });
        let first = a.lock().unwrap();
        let second = b.lock().unwrap();
        drop((first, second));
        thread.join().unwrap();
    });
    has(&text, &["crossed: deadlock", "waits for Mutex#1, which main has since ", "Mutex#2"]);
}

/// The last thread that runs ends while another waits: no operation of its own
/// meets the deadlock.
#[test]
fn a_thread_that_ends_leaves_others_waiting() {
    let text = failure(Model::new("left"), || {
        let waits = Arc::new(locks());
        let thread = thread::spawn(move || {
            let _held = Arc::clone(&waits);
            thread::park();
            thread::park();
            thread::park();
        });
        drop(thread);
    });
    has(&text, &["left: deadlock: every thread waits", "thread 1 waits to be unparked, at "]);
}

#[test]
fn a_panic_in_a_thread_fails_the_model_with_its_line() {
    let text = failure(Model::new("panics"), || {
        let flag = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&flag);
        let thread = thread::spawn(move || {
            let _held = locks();
            assert!(!shared.load(Ordering::Acquire), "it was up");
        });
        flag.store(true, Ordering::Release);
        thread.join().unwrap();
    });
    has(
        &text,
        &["panics: thread 1 panicked at ", "it was up", "AtomicBool#1.load(Acquire) -> true"],
    );
}

/// A destructor that waits, while a panic unwinds, for what never comes.
#[test]
fn a_destructor_that_waits_for_ever_hides_no_panic() {
    struct Joins(Option<thread::JoinHandle<()>>);
    impl Drop for Joins {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().join();
        }
    }
    let text = failure(Model::new("joins"), || {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&gate);
        let thread = thread::spawn(move || {
            let mut open = shared.0.lock().unwrap();
            while !*open {
                open = shared.1.wait(open).unwrap();
            }
        });
        let _joins = Joins(Some(thread));
        assert!(*gate.0.lock().unwrap(), "nobody opened");
    });
    has(&text, &["joins: main panicked at ", "nobody opened"]);
}

#[test]
fn a_loop_without_end_is_told() {
    let text = failure(Model::new("spins").steps(200), || {
        let flag = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&flag);
        let thread = thread::spawn(move || {
            let _held = locks();
            while !shared.load(Ordering::Acquire) {
                thread::yield_now();
            }
        });
        thread.join().unwrap();
    });
    has(&text, &["spins: no end within the steps of an execution", "AtomicBool#1.load(Acquire)"]);
}

#[test]
fn readers_and_writers_are_shown() {
    let text = failure(Model::new("rw"), || {
        let lock = Arc::new(RwLock::new(0));
        let shared = Arc::clone(&lock);
        let thread = thread::spawn(move || *shared.write().unwrap() += 1);
        assert_eq!(*lock.read().unwrap(), 0, "it was written");
        thread.join().unwrap();
    });
    has(&text, &["rw: main panicked", "it was written", "RwLock#1.write()", "RwLock#1.read()"]);
}

#[test]
fn an_outcome_that_is_not_allowed_is_told() {
    let model = Model::new("outcome");
    let failed = catch_unwind(AssertUnwindSafe(|| {
        model.reaches([2], || {
            let n = Arc::new(AtomicU32::new(0));
            let threads = [0, 1].map(|_| {
                let n = Arc::clone(&n);
                thread::spawn(move || n.store(n.load(Ordering::SeqCst) + 1, Ordering::SeqCst))
            });
            let _ = threads.map(|thread| thread.join().unwrap());
            n.load(Ordering::SeqCst)
        })
    }));
    let text = failed.expect_err("it fails").downcast::<String>().unwrap();
    has(
        &text,
        &["outcome: outcome 1 is not allowed (allowed: [2])", "AtomicU32#1.load(SeqCst) -> 0"],
    );
}

/// The replay that a failure names fails again, and alone.
#[test]
fn a_replay_fails_again() {
    if std::env::var_os("SELVEDGE_REPLAY").is_some() {
        return a_panic_of_the_replayed();
    }
    let text = failure(Model::new("again"), two_writers);
    let replay = text.split('\'').nth(1).expect("the report names the replay");
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_replay_fails_again"])
        .env("SELVEDGE_REPLAY", replay)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(!ended.status.success(), "{said}");
    has(&said, &["again: main panicked at ", replay]);
}

fn two_writers() {
    let n = Arc::new(AtomicU32::new(0));
    let shared = Arc::clone(&n);
    let thread = thread::spawn(move || shared.store(1, Ordering::Relaxed));
    assert_eq!(n.load(Ordering::Relaxed), 0, "it was first");
    thread.join().unwrap();
}

fn a_panic_of_the_replayed() {
    let _ = Model::new("again").holds(two_writers);
}

/// The failure comes after executions that passed; the table has one line for
/// each operation of the one that failed.
#[test]
fn a_table_is_of_one_execution() {
    let text = failure(Model::new("one"), || {
        let n = Arc::new(AtomicU32::new(0));
        let shared = Arc::clone(&n);
        let thread = thread::spawn(move || shared.store(1, Ordering::Relaxed));
        assert_eq!(n.load(Ordering::Relaxed), 0, "it was first");
        thread.join().unwrap();
    });
    assert!(!text.contains("failed in execution 1)"), "{text}");
    assert_eq!(text.matches(".store(1, Relaxed)").count(), 1, "{text}");
}

#[test]
#[should_panic(expected = "never equal")]
fn should_panic_is_content() {
    let _ = Model::new("should").holds(|| {
        let _held = locks();
        let thread = thread::spawn(locks);
        thread.join().unwrap();
        assert_eq!(1, 2, "never equal");
    });
}
