//! Two locks for what belongs together. (SCTBench, `CS.twostage`, `_20`.)
//!
//! A writer sets the first value under its lock, then derives the second from
//! it under another. A reader that has seen the first expects the second.
//!
//! **The bug.** Each value is locked, the relation between them is not: the
//! reader comes between the stages.
//!
//! **Mended.** The writer holds the first lock until both are set.

use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

struct Stages {
    first: Mutex<i32>,
    second: Mutex<i32>,
}

impl Stages {
    fn write(&self, mended: bool) {
        let mut first = self.first.lock().unwrap();
        *first = 1;
        if !mended {
            drop(first);
            first = self.first.lock().unwrap();
        }
        *self.second.lock().unwrap() = *first + 1;
    }

    fn read(&self) {
        let first = *self.first.lock().unwrap();
        if first != 0 {
            let second = *self.second.lock().unwrap();
            assert_eq!(second, first + 1, "the second stage is missing");
        }
    }
}

fn with(writers: usize, mended: bool) {
    let stages = Arc::new(Stages { first: Mutex::new(0), second: Mutex::new(0) });
    let writers: Vec<_> = (0..writers)
        .map(|_| {
            let stages = Arc::clone(&stages);
            thread::spawn(move || stages.write(mended))
        })
        .collect();
    let reader = thread::spawn(move || stages.read());
    for thread in writers {
        thread.join().unwrap();
    }
    reader.join().unwrap();
}

/// One writer and a reader.
pub fn of_2(mended: bool) {
    with(1, mended);
}

/// Nineteen writers and a reader.
pub fn of_20(mended: bool) {
    with(19, mended);
}
