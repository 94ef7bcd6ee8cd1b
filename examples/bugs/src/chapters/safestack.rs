//! A free list that gives one element to two. (SCTBench, `misc.safestack`;
//! posted by Dmitry Vyukov as a test for checkers.)
//!
//! Threads take an element of a lock-free list, use it, and put it back. A
//! counter and a mark in each element are to keep the list safe from the ABA
//! problem.
//!
//! **The bug.** They do not, but it takes three threads and five preemptions to
//! see it.
//!
//! **Mended.** A lock.

use super::prim::sync::Mutex;
use super::prim::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

struct Stack {
    count: AtomicI32,
    head: AtomicI32,
    next: [AtomicI32; 3],
    owner: [AtomicU32; 3],
    lock: Mutex<()>,
}

impl Stack {
    fn pop(&self) -> Option<usize> {
        while self.count.load(SeqCst) > 1 {
            let head = self.head.load(SeqCst);
            let next = self.next[head as usize].swap(-1, SeqCst);
            if next < 0 {
                thread::yield_now();
                continue;
            }
            if self.head.compare_exchange(head, next, SeqCst, SeqCst).is_ok() {
                self.count.fetch_sub(1, SeqCst);
                return Some(head as usize);
            }
            self.next[head as usize].swap(next, SeqCst);
        }
        None
    }

    fn push(&self, index: usize) {
        let mut head = self.head.load(SeqCst);
        loop {
            self.next[index].store(head, SeqCst);
            match self.head.compare_exchange(head, index as i32, SeqCst, SeqCst) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.count.fetch_add(1, SeqCst);
    }

    /// Takes an element, uses it, and puts it back.
    fn turn(&self, thread: u32, mended: bool) {
        let element = {
            let _guard = mended.then(|| self.lock.lock().unwrap());
            self.pop()
        };
        if let Some(element) = element {
            self.owner[element].store(thread, SeqCst);
            let owner = self.owner[element].load(SeqCst);
            assert_eq!(owner, thread, "element {element} has two owners");
            let _guard = mended.then(|| self.lock.lock().unwrap());
            self.push(element);
        }
    }
}

/// Three elements, three threads, two turns each.
pub fn body(mended: bool) {
    let stack = Arc::new(Stack {
        count: AtomicI32::new(3),
        head: AtomicI32::new(0),
        next: [1, 2, -1].map(AtomicI32::new),
        owner: [0, 0, 0].map(AtomicU32::new),
        lock: Mutex::new(()),
    });
    let threads = [1, 2, 3].map(|thread| {
        let stack = Arc::clone(&stack);
        thread::spawn(move || {
            stack.turn(thread, mended);
            stack.turn(thread, mended);
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}
