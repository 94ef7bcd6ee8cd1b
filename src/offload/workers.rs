//! The queue and the threads that serve it.

use super::task::{Refusal, Task};
use super::{Stats, closed};
use crate::outcome::Crash;
use crate::semaphore::Semaphore;
use crate::swap::{Arc, Condvar, Mutex, local_key, thread};
use std::cell::Cell;
use std::collections::VecDeque;

/// What a pool, its threads and its jobs share.
pub(super) struct Shared {
    /// The process whose threads they are.
    process: u32,
    pub(super) room: Arc<Semaphore>,
    pub(super) workers: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// With ascending numbers.
    queue: VecDeque<(u64, Box<dyn Task>)>,
    numbered: u64,
    threads: usize,
    idle: usize,
    running: usize,
    abandoned: usize,
    abandoned_ever: u64,
    closed: bool,
}

local_key! {
    /// The address of what the pool shares to which this thread belongs.
    static HERE: Cell<usize> = Cell::new(0)
}

impl Shared {
    pub(super) fn new(workers: usize, backlog: usize) -> Self {
        let room = Arc::new(Semaphore::new(workers.saturating_add(backlog)));
        let process = std::process::id();
        Self { process, room, workers, state: Mutex::default(), work: Condvar::new() }
    }

    /// Why a closure that was queued here is not run, in a process that was
    /// forked since: the threads are not there. Looks at no lock, which one of
    /// them may have held.
    pub(super) fn left_behind(&self) -> Option<Crash> {
        (self.process != std::process::id()).then(|| {
            let why = format!(
                "the closure was submitted in process {}, from which this one was forked",
                self.process
            );
            Crash::NoThread(why.into())
        })
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether the caller is on a thread of this pool.
    pub(super) fn is_here(&self) -> bool {
        HERE.with(Cell::get) == self.address()
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.state.lock();
        Stats {
            running: state.running,
            queued: state.queue.len(),
            abandoned: state.abandoned,
            abandoned_ever: state.abandoned_ever,
        }
    }

    /// Counts a closure that starts.
    pub(super) fn begin(&self) {
        self.state.lock().running += 1;
    }

    /// Counts a closure that has ended.
    pub(super) fn end(&self, abandoned: bool) {
        let mut state = self.state.lock();
        state.running -= 1;
        state.abandoned -= usize::from(abandoned);
    }

    /// Counts a closure that runs and that nobody waits for any more.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        state.abandoned += 1;
        state.abandoned_ever += 1;
    }

    /// Queues a task; its number.
    pub(super) fn push(self: &Arc<Self>, task: Box<dyn Task>) -> Option<u64> {
        let (number, notify, grow) = {
            let mut state = self.state.lock();
            if state.closed {
                drop(state);
                task.refuse(Refusal::Closed(closed()));
                return None;
            }
            state.numbered += 1;
            let number = state.numbered;
            state.queue.push_back((number, task));
            let grow = state.idle < state.queue.len() && state.threads < self.workers;
            state.threads += usize::from(grow);
            (number, state.idle > 0, grow)
        };
        if grow {
            let shared = Arc::clone(self);
            let name = "selvedge-offload".to_owned();
            if let Err(why) = thread::Builder::new().name(name).spawn(move || shared.serve()) {
                self.without_a_thread(&why);
            }
        }
        if notify {
            self.work.notify_one();
        }
        Some(number)
    }

    /// A thread that was counted could not be started. Others will come to
    /// what is queued; if there are none, no thread will, and all of it ends
    /// here: whoever queued it beside this caller counted on this thread.
    #[cold]
    fn without_a_thread(&self, why: &std::io::Error) {
        let stuck = {
            let mut state = self.state.lock();
            state.threads -= 1;
            if state.threads == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() }
        };
        for (_, task) in stuck {
            task.refuse(Refusal::NoThread(Crash::NoThread(why.to_string().into())));
        }
    }

    /// Takes a task out of the queue, if no thread has.
    pub(super) fn take(&self, number: u64) -> Option<Box<dyn Task>> {
        let mut state = self.state.lock();
        let at = state.queue.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        state.queue.remove(at).map(|(_, task)| task)
    }

    pub(super) fn close(&self) {
        self.room.close();
        let queue = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        self.work.notify_all();
        // Unlocked: dropping a closure runs what it holds.
        for (_, task) in queue {
            task.refuse(Refusal::Closed(closed()));
        }
    }

    /// A thread's life.
    fn serve(&self) {
        HERE.with(|here| here.set(self.address()));
        let mut state = self.state.lock();
        loop {
            if let Some((_, task)) = state.queue.pop_front() {
                drop(state);
                task.run();
                state = self.state.lock();
            } else if state.closed {
                state.threads -= 1;
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state);
                state.idle -= 1;
            }
        }
    }
}
