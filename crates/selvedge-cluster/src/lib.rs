//! Maps over several machines: [`selvedge::process::Pool`], with workers that
//! are anywhere, over a [NATS](https://nats.io) server with JetStream.
//!
//! ```no_run
//! use selvedge_cluster::Cluster;
//!
//! let cluster = Cluster::builder("nats://10.0.0.1/primes").workers(2).connect()?;
//! let squares = cluster.map(|n: u64| n * n, 0..1_000_000)?;
//! assert_eq!(squares[3], 9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Workers
//!
//! A worker is the same executable, started on another machine with one
//! variable; no line in `main` is needed:
//!
//! ```sh
//! SELVEDGE_CLUSTER=nats://10.0.0.1/primes ./program
//! ```
//!
//! It never reaches its `main`. It runs tasks in a process pool, so that a
//! crash costs one task there too, takes tasks only from callers of its own
//! build, and on SIGTERM finishes what it has begun and gives back the rest.
//! `?workers=N` at the URL's end says how many processes it runs, one per core
//! by default. [`work`] does the same for programs that want to say it in
//! another way.
//!
//! The executable needs a build id, which `cc` puts into it where the
//! distribution says so (Debian, Fedora and others do; else
//! `-C link-arg=-Wl,--build-id`): copies of it are then the same build.
//!
//! # What is promised
//!
//! 1. Every item has exactly one outcome, in input order: the first that came.
//! 2. A task is executed **at least once**: it may be executed several times, on
//!    several machines, if a worker is lost or a message is. At most once cannot
//!    be had over a network. Tasks should not mind.
//! 3. Outcomes and errors are those of the process pool. A panic, an error or a
//!    crash of a task's process is its outcome, and is not tried again.
//! 4. A worker that dies, stops, or loses its network for longer than the
//!    [lease](Builder::lease) loses its tasks to others. Nothing that it says
//!    later is taken twice.
//! 5. The server may be killed and started again, and every connection may
//!    break and come back: calls go on.
//! 6. When a caller dies, workers kill what they run of it within a lease, and
//!    take nothing more of it; what it left on the server is taken away by the
//!    next caller's workers, or by the server after
//!    [some time](Builder::keep).
//! 7. What is under way is bounded, and what is beyond a limit is refused with
//!    an error or waits; nothing is dropped.
//!
//! # Algorithm
//!
//! * `ledger`: what the caller knows of its items, as a pure state machine,
//!   and when a worker may speak, both explored over every order of loss,
//!   duplication, deaths and restarts to a stated depth.
//! * `run`, `reports`, `link`: the caller: fills batches, publishes them to a
//!   stream that is a queue of work, takes results, and asks the server about
//!   what is overdue.
//! * `worker`: pulls batches, has a pool run them, says the results to the
//!   caller, and then acknowledges the batch.
//! * `wire`, `beat`, `place`, `setup`: messages, signs of life, names, and what
//!   is made on the server.
//!
//! Results travel over plain subjects, which lose what nobody reads. That is
//! no loss: a batch whose message the server has no more, and whose results did
//! not come, is sent again.
//!
//! # On the server
//!
//! The stream `SELVEDGE_JOB` (subjects `selvedge.JOB.tasks.>`) has a consumer
//! for each build; the bucket `SELVEDGE_JOB` of the object store is made when an
//! item or a result is first too large for a message. Signs of life and results
//! are plain messages below `selvedge.JOB.`. The stream stays when its callers
//! leave, and is empty then.
//!
//! # Trust
//!
//! Who may publish below `selvedge.JOB.` may have workers run any function that
//! the program [names](selvedge::process::portable) for its clusters, on any
//! bytes, and may answer for workers. Give each job's users a permission for
//! `selvedge.JOB.>`, `$JS.API.>` and `_INBOX.>`, and use TLS where the network
//! is not yours. A worker looks at nothing of a message before the mark, the
//! version and the build in its head, checks every length against what is
//! there, and runs no code but functions that bear a mark in the executable.
//! Nothing of a URL but host and job is ever printed.
//!
//! # Limits
//!
//! * Linux only, as the process pool.
//! * One NATS account; the server is 2.9 or later.
//! * A worker that is killed with a batch in hand ten times over is taken for
//!   the batch's doing: its items are then sent one by one, and one that does it
//!   again ends as [`Crashed`](selvedge::outcome::Outcome::Crashed).

#![cfg(all(target_os = "linux", not(loom)))]

mod beat;
mod builder;
mod clock;
mod cluster;
mod error;
mod hook;
mod ledger;
mod link;
pub mod map;
mod place;
mod reports;
mod run;
mod setup;
mod status;
mod wire;
mod worker;

pub use builder::Builder;
pub use cluster::{Cluster, Worker};
pub use error::Error;
pub use reports::{Handle, Stream};
pub use status::{Status, status};
pub use worker::work;
