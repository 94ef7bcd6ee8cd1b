//! A question to somebody who has left. (etcd#6857, from GoKer.)
//!
//! A node runs in a thread that answers questions about its status, until it is
//! told to stop.
//!
//! **The bug.** Who asks waits for an answer, and only for that: the node may
//! have stopped after the question was put.
//!
//! **Mended.** It waits for the node to have stopped as well.

use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

#[derive(Clone, Copy)]
struct State {
    asked: bool,
    answered: bool,
    stop: bool,
    done: bool,
}

struct Node {
    state: Mutex<State>,
    changed: Condvar,
}

impl Node {
    fn run(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.stop {
            if state.asked && !state.answered {
                state.answered = true;
                self.changed.notify_all();
            }
            state = self.changed.wait(state).unwrap();
        }
        state.done = true;
        self.changed.notify_all();
    }

    fn status(&self, mended: bool) -> Option<()> {
        let mut state = self.state.lock().unwrap();
        state.asked = true;
        self.changed.notify_all();
        while !(state.answered || mended && state.done) {
            state = self.changed.wait(state).unwrap();
        }
        state.answered.then_some(())
    }

    fn stop(&self) {
        self.state.lock().unwrap().stop = true;
        self.changed.notify_all();
    }
}

/// A question, while the node stops.
pub fn body(mended: bool) {
    let state = State { asked: false, answered: false, stop: false, done: false };
    let node = Arc::new(Node { state: Mutex::new(state), changed: Condvar::new() });
    let run = thread::spawn({
        let node = Arc::clone(&node);
        move || node.run()
    });
    let asks = thread::spawn({
        let node = Arc::clone(&node);
        move || node.status(mended)
    });
    node.stop();
    asks.join().unwrap();
    run.join().unwrap();
}
