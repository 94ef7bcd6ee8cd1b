//! A destructor that panics while a panic unwinds ends the program: what it
//! says before, seen from outside.
#![cfg(not(loom))]

use selvedge_model::sync::atomic::{AtomicU32, Ordering::SeqCst};
use selvedge_model::{Model, thread};
use std::process::Command;
use std::sync::Arc;

/// Set in the program that ends.
const CHILD: &str = "SELVEDGE_MODEL_TEST_ABORTS";

struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        if thread::panicking() {
            panic!("in the destructor");
        }
    }
}

#[test]
fn a_destructor_that_panics_while_a_panic_unwinds_is_told() {
    if std::env::var_os(CHILD).is_some() {
        let _ = Model::new("double").holds(|| {
            let n = Arc::new(AtomicU32::new(0));
            let m = Arc::clone(&n);
            let thread = thread::spawn(move || {
                let _bad = Bad;
                assert_eq!(m.load(SeqCst), 0, "the first");
            });
            n.store(1, SeqCst);
            thread.join().unwrap();
        });
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let ended = Command::new(program)
        .args(["a_destructor_that_panics_while_a_panic_unwinds_is_told", "--exact"])
        .env(CHILD, "1")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success());
    assert!(said.contains("a destructor panicked while a panic unwound"), "{said}");
    assert!(said.contains("the first") && said.contains("in the destructor"), "{said}");
    assert!(said.contains("SELVEDGE_REPLAY='NAME:shuttle:"), "{said}");
    assert!(!said.contains("serializing schedule"), "{said}");
}
