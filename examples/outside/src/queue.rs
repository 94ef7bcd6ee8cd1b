//! A queue that waits. The bug: a wake-up is missed, since the queue is looked
//! at under one lock, and waited for under the next.

use selvedge_model::sync::{Condvar, Mutex};
use std::collections::VecDeque;

/// A queue of numbers.
#[derive(Debug, Default)]
pub struct Queue {
    items: Mutex<VecDeque<u32>>,
    pushed: Condvar,
}

impl Queue {
    /// Puts an item in.
    pub fn push(&self, item: u32) {
        self.items.lock().unwrap().push_back(item);
        self.pushed.notify_one();
    }

    /// Takes one out, once there is one.
    pub fn pop(&self) -> u32 {
        loop {
            let mut items = self.items.lock().unwrap();
            if let Some(item) = items.pop_front() {
                return item;
            }
            if cfg!(feature = "bugs") {
                drop(items);
                items = self.items.lock().unwrap();
            }
            drop(self.pushed.wait(items).unwrap());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_model::sync::Arc;
    use selvedge_model::{model, thread};

    #[model(outcomes = [7], engines(shuttle, loom))]
    fn what_is_pushed_is_popped() -> u32 {
        let queue = Arc::new(Queue::default());
        let popper = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.pop()
        });
        queue.push(7);
        popper.join().unwrap()
    }
}
