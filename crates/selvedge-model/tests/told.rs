//! What a user does wrong is told, and by its name.
#![cfg(not(loom))]

use selvedge_model::sync::Arc;
use selvedge_model::sync::atomic::{AtomicU32, Ordering::SeqCst};
use selvedge_model::{Model, thread};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

/// What the model's test panics with.
fn failure(run: impl FnOnce()) -> String {
    let failed = catch_unwind(AssertUnwindSafe(run));
    *failed.expect_err("the model fails").downcast::<String>().expect("a text")
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// An import that was forgotten: the only OS thread waits for itself.
#[test]
fn a_lock_of_std_that_is_waited_for_is_told() {
    let text = failure(|| {
        let _ = Model::new("forgotten").patience(Duration::from_secs(1)).holds(|| {
            let shared = Arc::new((std::sync::Mutex::new(()), AtomicU32::new(0)));
            let threads = [0, 1].map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let _guard = shared.0.lock().unwrap();
                    shared.1.fetch_add(1, SeqCst);
                })
            });
            for thread in threads {
                thread.join().unwrap();
            }
        });
    });
    has(&text, &["forgotten: no step of the model for 1s", "a lock or a channel of std's"]);
}

/// An order of hashes that changes values alone: each step is the same.
#[test]
fn an_order_of_hashes_is_told_by_the_step_that_differs() {
    let text = failure(|| {
        let _ = Model::new("hashes").holds(|| {
            let keys: HashMap<u32, ()> = (1..7).map(|n| (n, ())).collect();
            let n = Arc::new(AtomicU32::new(0));
            let shared = Arc::clone(&n);
            let thread = thread::spawn(move || shared.load(SeqCst));
            for key in keys.into_keys() {
                n.store(key, SeqCst);
            }
            thread.join().unwrap();
        });
    });
    has(&text, &["hashes: the body does other things on the same schedule: step ", "store("]);
}

/// The tests of this program that the environment may reach.
fn run_with(variable: &str, value: &str) -> (bool, String) {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_model_that_passes"])
        .env(variable, value)
        .output()
        .unwrap();
    (ended.status.success(), String::from_utf8_lossy(&ended.stdout).into_owned())
}

#[test]
fn a_model_that_passes() {
    let _ = Model::new("passes").reaches([2], || {
        let n = Arc::new(AtomicU32::new(0));
        let threads = [0, 1].map(|_| {
            let n = Arc::clone(&n);
            thread::spawn(move || n.fetch_add(1, SeqCst))
        });
        for thread in threads {
            thread.join().unwrap();
        }
        n.load(SeqCst)
    });
}

/// A word that is mistyped would leave every model out, and all would be green.
#[test]
fn what_the_environment_cannot_mean_is_refused() {
    for (variable, value, says) in [
        ("SELVEDGE_ENGINES", "shutle", "\"shutle\" is no engine"),
        ("SELVEDGE_ENGINES", "shuttle,", "\"\" is no engine"),
        ("SELVEDGE_REPLAY", "passes", "expected test:engine:schedule"),
        ("SELVEDGE_REPLAY", "passes:shutle:default", "expected test:engine:schedule"),
        ("SELVEDGE_REPLAY", "passes:shuttle:2.1", "is no schedule"),
        ("SELVEDGE_TRACE", "htm", "html is what there is"),
    ] {
        let (passed, said) = run_with(variable, value);
        assert!(!passed, "{variable}={value} passed");
        has(&said, &[says]);
    }
    for (variable, value) in [
        ("SELVEDGE_ENGINES", "stress, loom"),
        ("SELVEDGE_REPLAY", "passes:shuttle:default"),
        ("SELVEDGE_REPLAY", "another:shuttle:default"),
        ("SELVEDGE_TRACE", "html"),
    ] {
        let (passed, said) = run_with(variable, value);
        assert!(passed, "{variable}={value}: {said}");
    }
}
