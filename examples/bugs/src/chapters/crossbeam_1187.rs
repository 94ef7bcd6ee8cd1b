//! A block that is freed twice. (crossbeam#1187, RUSTSEC-2025-0024.)
//!
//! The first message that is sent through a channel makes its first block: the
//! tail is moved, then the head is told of the block. A receiver that goes away
//! discards what there is and frees the block; the channel's own end frees what
//! is left.
//!
//! **The bug.** The receiver takes the block out by a swap. If the tail says
//! that there must be one and the head does not know it yet, it waits, and then
//! it *reads* it; the head still has it at the end.
//!
//! **Mended.** It swaps there too.

use super::prim::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

const NONE: usize = 0;
const BLOCK: usize = 1;

struct Channel {
    tail: AtomicUsize,
    head: AtomicUsize,
    freed: AtomicBool,
}

impl Channel {
    fn send(&self) {
        self.tail.store(1, SeqCst);
        self.head.store(BLOCK, SeqCst);
    }

    fn free(&self, block: usize) {
        if block != NONE {
            assert!(!self.freed.swap(true, SeqCst), "the block was freed twice");
        }
    }

    fn discard(&self, mended: bool) {
        let messages = self.tail.load(SeqCst);
        let mut block = self.head.swap(NONE, SeqCst);
        while messages > 0 && block == NONE {
            thread::yield_now();
            block = if mended { self.head.swap(NONE, SeqCst) } else { self.head.load(SeqCst) };
        }
        self.free(block);
    }
}

/// A first message, while the receiver goes away.
pub fn body(mended: bool) {
    let channel = Arc::new(Channel {
        tail: AtomicUsize::new(0),
        head: AtomicUsize::new(NONE),
        freed: AtomicBool::new(false),
    });
    let sender = thread::spawn({
        let channel = Arc::clone(&channel);
        move || channel.send()
    });
    channel.discard(mended);
    sender.join().unwrap();
    channel.free(channel.head.load(SeqCst));
}
