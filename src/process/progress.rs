//! The word by which parent and worker agree on what has started.
//!
//! # Algorithm
//!
//! One atomic word in memory that both share, for each batch a worker holds.
//! The worker moves it once a task: one step says both that a task is finished
//! and that the next has started. The parent may lower the limit, or condemn
//! the task that is running; whoever changes the word first is right, and the
//! other sees it. So of every task it is certain, whatever happens to the
//! worker, that it did not start, was running, or was finished.
//!
//! # States
//!
//! `limit | condemned | started`: with `started` of `limit` tasks, the first
//! `started - 1` are finished and the next one runs; once `started` is greater
//! than `limit` all are finished.
//!
//! # Invariants
//!
//! 1. Only the worker adds to `started`; only the parent lowers `limit` or
//!    condemns; each by compare-and-swap, so no change is lost.
//! 2. `limit` is never lowered below `started`: what started stays.
//! 3. Once condemned the worker never moves the word again.
//!
//! # Progress
//!
//! No locks: a worker that dies at any point leaves a word that can be read.
//! The worker's swap fails only when the parent interfered, at most twice a
//! batch.

use crate::swap::atomic::{AtomicU32, AtomicU64, Ordering};

const CONDEMNED: u64 = 1 << 31;

/// What the word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Progress {
    /// Tasks in the batch that may run.
    pub limit: u32,
    /// Tasks that started; `limit + 1` once all are finished.
    pub started: u32,
    /// The running task was condemned.
    pub condemned: bool,
}

impl Progress {
    /// The index of the task that is running.
    #[must_use]
    pub fn running(self) -> Option<u32> {
        (1..=self.limit).contains(&self.started).then(|| self.started - 1)
    }

    /// How many tasks are finished.
    #[must_use]
    pub fn finished(self) -> u32 {
        self.started.saturating_sub(1).min(self.limit)
    }

    /// Whether nothing is left to run.
    #[must_use]
    pub fn is_over(self) -> bool {
        self.started > self.limit
    }

    fn pack(self) -> u64 {
        let condemned = if self.condemned { CONDEMNED } else { 0 };
        u64::from(self.limit) << 32 | condemned | u64::from(self.started)
    }

    fn unpack(word: u64) -> Self {
        Self {
            limit: (word >> 32) as u32,
            started: (word & (CONDEMNED - 1)) as u32,
            condemned: word & CONDEMNED != 0,
        }
    }
}

/// What the worker is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Run the task of this index.
    Run(u32),
    /// The batch is over.
    Over,
    /// The task that just ran was condemned: its result does not count, and
    /// the process is about to be killed.
    Condemned,
}

/// The shared word.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(AtomicU64);

#[allow(clippy::new_without_default, reason = "a batch of nothing is no default")]
impl Word {
    /// A word for no batch: over.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    /// Parent: a new batch of `limit` tasks. The worker does not look at the
    /// word before the message that follows.
    pub fn arm(&self, limit: u32) {
        let fresh = Progress { limit, started: 0, condemned: false };
        self.0.store(fresh.pack(), Ordering::Relaxed);
    }

    /// Either side: what is so now.
    #[must_use]
    pub fn read(&self) -> Progress {
        // ORDERING: pairs with the Release in `advance`: results of the tasks
        // that this calls finished are visible.
        Progress::unpack(self.0.load(Ordering::Acquire))
    }

    /// Worker: what was running is finished, start the next. `last` is what
    /// the previous call left, [`Progress`] of a fresh read at first.
    #[inline]
    pub fn advance(&self, last: &mut Progress) -> Next {
        loop {
            if last.condemned {
                return Next::Condemned;
            }
            if last.is_over() {
                return Next::Over;
            }
            let next = Progress { started: last.started + 1, ..*last };
            // ORDERING: Release publishes the result that was written before;
            // pairs with the Acquire in `read`, `revoke` and `condemn`.
            match self.0.compare_exchange(
                last.pack(),
                next.pack(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => *last = next,
                Err(actual) => {
                    *last = Progress::unpack(actual);
                    continue;
                }
            }
            return if next.is_over() { Next::Over } else { Next::Run(next.started - 1) };
        }
    }

    /// Parent: nothing more may start. Returns what had.
    pub fn revoke(&self) -> Progress {
        self.change(|now| {
            (now.started < now.limit).then_some(Progress { limit: now.started, ..now })
        })
        .1
    }

    /// Parent: the result of the task at `index` will not count, if it is
    /// running. Whether it was.
    pub fn condemn(&self, index: u32) -> bool {
        self.change(|now| {
            (now.running() == Some(index)).then_some(Progress { condemned: true, ..now })
        })
        .0
    }

    fn change(&self, change: impl Fn(Progress) -> Option<Progress>) -> (bool, Progress) {
        // ORDERING: Acquire as in `read`, here and where the swap fails: `now`
        // is one of the two. A swap that succeeds found what one of them did,
        // and has nothing to publish.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let now = Progress::unpack(word);
            let Some(next) = change(now) else { return (false, now) };
            match self.0.compare_exchange(word, next.pack(), Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return (true, next),
                Err(actual) => word = actual,
            }
        }
    }
}

/// The worker's sheets that the parent has still to read, a bit each: results
/// that are too large for a packet.
#[derive(Debug)]
#[repr(transparent)]
pub struct Loans(AtomicU32);

#[allow(clippy::new_without_default, reason = "made by models only: a mapping is zeroed")]
impl Loans {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Worker: those that it may not write to.
    #[must_use]
    pub fn held(&self) -> u32 {
        // ORDERING: Acquire pairs with the Release in `give_back`: what is
        // written next does not get ahead of what the parent read.
        self.0.load(Ordering::Acquire)
    }

    /// Worker: the sheet `at` is about to be sent.
    pub fn lend(&self, at: usize) {
        // ORDERING: Relaxed: the message that follows orders it.
        self.0.fetch_or(1 << at, Ordering::Relaxed);
    }

    /// Parent: the sheet of this bit was read. What is no bit is none.
    pub fn give_back(&self, at: u8) {
        if let Some(bit) = 1_u32.checked_shl(at.into()) {
            // ORDERING: Release pairs with the Acquire in `held`.
            self.0.fetch_and(!bit, Ordering::Release);
        }
    }
}
