//! A pool of worker processes: tasks may crash, hang or leak without harm to
//! the program that asked for them, nor to each other.
//!
//! A worker is this executable, started again; no line in `main` is needed,
//! and it works the same from binaries, tests, doctests, examples and benches.
//! Functions are `fn` items and closures that capture nothing; items and
//! results are [`Portable`]: what serde can write and read, with limits that end
//! in errors and never in another value.
//!
//! ```
//! use selvedge::{nz, outcome::{Crash, Outcome}, process::Pool};
//!
//! let pool = Pool::builder().workers(nz!(2)).build()?;
//! assert_eq!(pool.map(|n: u64| n * n, [1, 2, 3])?, [1, 4, 9]);
//!
//! // One crash costs one task.
//! let ends = pool.map_outcomes(|n: u64| if n == 2 { std::process::abort() } else { n }, [1, 2, 3]);
//! assert_eq!(ends[0].outcome, Outcome::Ok(1));
//! assert_eq!(ends[1].outcome, Outcome::Crashed(Crash::Signal(6)));
//! assert_eq!(ends[2].outcome, Outcome::Ok(3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Algorithm
//!
//! * `supervisor`: how many workers there are, who runs what and who is to
//!   blame, as a pure state machine, explored over every order of events to a stated depth.
//! * `shell`, `proc`: carry out what it says. One thread a pool waits for
//!   sockets, deaths and deadlines; callers submit without it.
//! * `hook`, `worker`, `lane`, `line`: the other process, from before its `main` to
//!   its end.
//! * `ship`: functions cross as distances in the executable, which both sides
//!   compare first.
//! * `region`, `progress`: batches of arguments and results lie in memory that
//!   a parent shares with one worker, under an atomic word that says of every
//!   task whether it started, runs or is finished.
//! * `sheet`: large arguments and results, each in memory of its own.
//! * `wire`, `socket`: messages on a private socket. `codec`, `format`: values
//!   as bytes.
//!
//! # Signals and the terminal
//!
//! A worker is in a process group of its own, in the background: Ctrl-C and
//! Ctrl-Z are for the parent. It starts with no signal blocked and none
//! ignored, whatever its parent does, but SIGPIPE, as in every Rust program,
//! and SIGTTOU and SIGTTIN: a task that writes to a terminal with
//! `stty tostop` set succeeds, and one that reads from `/dev/tty` gets an
//! error, instead of stopping for ever.
//!
//! # What is promised
//!
//! 1. Every item has exactly one outcome, in input order.
//! 2. A task is started at most once, unless the pool was told that tasks are
//!    [idempotent](Builder::idempotent); then again only if it crashed its
//!    worker.
//! 3. When a worker dies, the one task that was running in it is blamed, with
//!    the signal or exit code. Results of tasks before it in the batch are
//!    kept, tasks after it run elsewhere. If none was running, none is blamed.
//! 4. A task past its [deadline](Builder::deadline) is killed, and nothing
//!    else: that it is still running is decided by the same word.
//! 5. Workers end when the parent does, however it dies.
//! 6. No lock and no queue is shared between processes.
//! 7. Memory is bounded: by a [stream's](Pool::stream) window, a map's few
//!    megabytes under way, and the [limit](Builder::submit_limit) on submitted
//!    tasks.
//!
//! # Cancellation
//!
//! [`Handle::cancel`] kills a task that runs. Dropping a map or stream gives
//! up what has not started and leaves what runs to finish. Dropping the pool
//! kills everything.
//!
//! # Limits
//!
//! * Linux 5.9 or later (`pidfd_open`, `close_range`, sealed `memfd`). On
//!   other systems this module does not exist, and
//!   [`Backend::Process`](crate::map::Backend) panics with that explanation.
//! * A task's child processes die with its worker as long as they stay in its
//!   process group: one that calls `setsid` or `setpgid` leaves it. If parent
//!   and worker are killed in the same instant, the worker's children stay.
//! * A task that replaces its process by another program (`exec`) is ended by
//!   a signal when the parent dies, unless it has blocked or ignored
//!   `SIGRTMAX - 1` or the program is privileged (set-user-ID); children that
//!   this program started stay.
//! * Where the parent ignores SIGCHLD, or waits for children that are not its
//!   own, the signal or exit code of a crash is
//!   [`Unseen`](crate::outcome::Crash::Unseen) before Linux 6.15. Which task
//!   crashed is known all the same.
//! * A function pointer, a capturing closure, or a function in a dynamic
//!   library does not cross.
//! * A value of a type without size that stands for something else (a token
//!   that a lock is held, say) may be captured, and means nothing in the
//!   worker.
//! * A worker runs before `main`: what `main` sets up is not there (use
//!   [`Builder::initializer`]); other functions in `.init_array` may or may
//!   not have run.
//! * Where no worker can be started for as long as
//!   [`start_patience`](Builder::start_patience) says, the pool is broken. One
//!   that has some of its workers goes on with those.
//! * Under `ld.so PROGRAM` or an emulator `/proc/self/exe` is not the program;
//!   the handshake fails and the tasks end with [`Fault::Broken`].
//!
//! # Model bounds
//!
//! `supervisor/explore.rs` says what is explored and what is not; the models
//! in `loom-tests/models/process.rs` explore the progress word. Signals,
//! sockets and deaths are exercised with real processes in
//! `tests/process*.rs`.

mod builder;
mod clock;
mod codec;
mod death;
mod error;
mod format;
mod group;
mod handle;
mod hook;
mod lane;
mod line;
mod ordered;
mod outbox;
mod pool;
pub mod portable;
mod proc;
#[doc(hidden)]
pub mod progress;
mod region;
mod results;
mod settings;
mod sheet;
mod shell;
mod ship;
mod socket;
mod stack;
mod stream;
mod submit;
mod supervisor;
mod wire;
mod worker;

pub use builder::Builder;
pub use codec::Portable;
pub use error::{BuildError, Failed, Fault, NotShippable, Report};
pub use format::Described;
pub use handle::Handle;
pub use pool::Pool;
pub use stream::Stream;
pub use submit::Busy;
