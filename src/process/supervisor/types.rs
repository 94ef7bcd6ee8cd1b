//! What the supervisor is told and what it says.

/// A task of one pool, numbered from 0 as submitted.
pub(crate) type TaskId = u64;

/// Nanoseconds of the monotonic clock, which all processes share.
pub(crate) type Nanos = u64;

/// A worker process. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// Consecutive tasks at the same attempt (the first is 1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) first: TaskId,
    pub(crate) len: u32,
    pub(crate) attempt: u32,
}

impl Run {
    pub(super) fn end(&self) -> TaskId {
        self.first + u64::from(self.len)
    }

    /// Keeps the first `len` tasks and returns the rest.
    pub(super) fn split_off(&mut self, len: u32) -> Self {
        debug_assert!(len <= self.len);
        let rest =
            Self { first: self.first + u64::from(len), len: self.len - len, attempt: self.attempt };
        self.len = len;
        rest
    }
}

/// How many tasks travel together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Batch {
    /// As many as take about this long, by what the last ones took.
    Lasting(Nanos),
    /// At most so many.
    Fixed(u32),
}

/// How workers are started that are missing, see `restart.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Restarts {
    /// Workers that may be starting at a time.
    pub(crate) at_once: usize,
    /// How long starts wait after the first setback, and at most.
    pub(crate) first: Nanos,
    pub(crate) longest: Nanos,
    /// So many setbacks with no worker at work break the pool, once they have
    /// lasted for so long.
    pub(crate) setbacks: u32,
    pub(crate) patience: Nanos,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    /// Most workers.
    pub(crate) workers: usize,
    /// Batches that a worker may hold: the one it runs and the next.
    pub(crate) depth: usize,
    pub(crate) batch: Batch,
    /// Longest that one task may run.
    pub(crate) deadline: Option<Nanos>,
    /// How much longer a worker may show no progress.
    pub(crate) grace: Nanos,
    /// Tasks after which a worker is replaced.
    pub(crate) max_tasks: Option<u64>,
    /// Times that a task may be started: 1, or more if it is idempotent.
    pub(crate) attempts: u32,
    /// More crashes than this within that long break the pool.
    pub(crate) intensity: Option<(u32, Nanos)>,
    pub(crate) restarts: Restarts,
    /// Tasks are taken back from a worker that has been at one batch for this
    /// long while another has nothing to do.
    pub(crate) steal_after: Nanos,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Submit {
        first: TaskId,
        len: u32,
    },
    /// Gives up tasks: those not started never will be. `kill`: one that is
    /// running is killed with its worker.
    Cancel {
        first: TaskId,
        len: u32,
        kill: bool,
    },
    /// The worker finished its handshake and initializer.
    Ready(WorkerId),
    SpawnFailed(WorkerId),
    /// Answers `Send` if not all were: only this many of its tasks were sent. `blocked`: and
    /// the socket is full.
    Took {
        worker: WorkerId,
        seq: u64,
        tasks: u32,
        blocked: bool,
    },
    Writable(WorkerId),
    /// Every task of the batch is finished.
    Done {
        worker: WorkerId,
        seq: u64,
        elapsed: Nanos,
    },
    /// Answers `Look`: the worker started this many tasks of the batch, the
    /// last of them at `since`.
    Seen {
        worker: WorkerId,
        seq: u64,
        started: u32,
        since: Nanos,
    },
    /// Answers `Revoke`: of each batch, the worker started so many and will
    /// start no more.
    Revoked {
        worker: WorkerId,
        started: Vec<(u64, u32)>,
    },
    /// Answers `Condemn`: the task was running, and its result will not count.
    Condemned {
        worker: WorkerId,
    },
    /// Answers `Condemn`: the task was not running any more.
    Missed {
        worker: WorkerId,
    },
    /// The worker sent something that is not of the protocol.
    Garbled(WorkerId),
    /// The worker is dead, having started so many tasks of each batch.
    Exited {
        worker: WorkerId,
        started: Vec<(u64, u32)>,
    },
    Tick,
    Shutdown,
    Terminate,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Spawn(WorkerId),
    Send {
        worker: WorkerId,
        seq: u64,
        runs: Vec<Run>,
    },
    Look(WorkerId),
    Revoke(WorkerId),
    Condemn {
        worker: WorkerId,
        seq: u64,
        index: u32,
    },
    Kill(WorkerId),
    /// Asks the worker to end by itself.
    Retire(WorkerId),
    /// The next finished tasks of the batch: their results are in its slot.
    Deliver {
        worker: WorkerId,
        seq: u64,
        runs: Vec<Run>,
    },
    /// These end without a result. The run's `attempt` is how often they were
    /// started, 0 for never.
    Finish {
        run: Run,
        verdict: Verdict,
    },
    /// The pool gave up.
    Broke,
    /// No worker is left and none will come.
    Stopped,
}

/// Why a task has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// It was running when this worker died.
    Crashed(WorkerId),
    /// It ran for longer than its deadline.
    TimedOut,
    /// Given up. `started`: it was running, and its worker was killed.
    Cancelled { started: bool },
    /// The pool is broken.
    Broken,
}

/// A batch that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Dispatch {
    pub(super) seq: u64,
    pub(super) runs: Vec<Run>,
}

impl Dispatch {
    pub(super) fn tasks(&self) -> u32 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Keeps the first `len` tasks and returns the rest.
    pub(super) fn split_off(&mut self, len: u32) -> Vec<Run> {
        let mut left = len;
        let mut rest = Vec::new();
        self.runs.retain_mut(|run| {
            if left >= run.len {
                left -= run.len;
                return true;
            }
            rest.push(run.split_off(left));
            left = 0;
            run.len > 0
        });
        rest
    }

    pub(super) fn task(&self, index: u32) -> Option<TaskId> {
        let mut left = index;
        for run in &self.runs {
            if left < run.len {
                return Some(run.first + u64::from(left));
            }
            left -= run.len;
        }
        None
    }
}
