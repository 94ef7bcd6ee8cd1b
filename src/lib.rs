//! Concurrency blocks for everyday work: counters, queues, ordered maps over
//! threads and over processes, limited gather, cancellation with cleanup,
//! timeouts, rate limits, pipelines.
//!
//! Each block states what it promises. The promises are checked over schedules
//! and memory orderings by model checkers ([how far](#guarantees)), and the
//! checks are shown to fail on bugs that are put in on purpose.
//!
//! * [Which block for which need](#which-block-for-which-need)
//! * [A worked example per block](#a-worked-example-per-block)
//! * [What needs tokio](#what-needs-tokio), [features](#features)
//! * [Guarantees, and how they are checked](#guarantees)
//! * [Performance](#performance), [comparison](#comparison), [limits](#limits)
//! * [What is not here, and what to use for it](#what-is-not-here)
//! * The [cookbook]: from Python, from other crates, and recipes for
//!   whole tasks
//!
//! # Which block for which need
//!
//! | need | block | needs tokio |
//! |---|---|---|
//! | count from many threads, exactly | [`counter::SafeCounter`]: linearizable, overflow is an error | no |
//! | count from many threads, fast | [`counter::StripedCounter`]: an increment runs no locked instruction | no |
//! | hand items between threads or tasks | [`queue`]: bounded or unbounded, blocking and async ends, deadlines, batches | no |
//! | map in order over threads | [`threads`]: all results as a vector, or a lazy stream with a hard bound; closures borrow | no |
//! | map in order over processes | [`process`]: a crash costs one task, and exactly that one is blamed | no |
//! | either, chosen at run time | [`map::concurrent_map`] | no |
//! | limit how many do something at the same time | [`semaphore`] | no |
//! | run many futures, n at a time | [`gather`] | for the spawned forms |
//! | run tasks that end with their scope | [`scope`] | yes |
//! | ask work to stop | [`cancel`] | no |
//! | give up after a while | [`timeout`]: nested deadlines compose | for the clock |
//! | keep computation off the event loop | [`offload`]: bounded, with back-pressure and a flag to stop | no |
//! | n operations per second | [`rate`]: exact schedules, first come first served, refunds | no |
//! | results and errors side by side | [`outcome`] | no |
//! | read, parse, transform, aggregate | [`pipeline::Pipeline`] on threads, [`pipeline::Flow`] of tasks and threads | `Flow` only |
//!
//! # A worked example per block
//!
//! Limits, capacities and worker counts are
//! [`NonZeroUsize`](std::num::NonZeroUsize): [`nz!`] makes one from a constant,
//! and `nz!(0)` does not compile. ([Numbers from the command
//! line](cookbook::recipes#limits-from-run-time-numbers).)
//!
//! **Count**, and learn of overflow instead of wrapping:
//!
//! ```
//! use selvedge::counter::SafeCounter;
//!
//! static SERVED: SafeCounter = SafeCounter::new();
//!
//! std::thread::scope(|scope| {
//!     for _ in 0..4 {
//!         scope.spawn(|| (0..250).for_each(|_| { SERVED.inc().unwrap(); }));
//!     }
//! });
//! assert_eq!(SERVED.value(), 1000);
//! ```
//!
//! **Queue** between threads, tasks, or one of each:
//!
//! ```
//! use selvedge::{nz, queue};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (tx, rx) = queue::bounded(nz!(8));
//! let reader = std::thread::spawn(move || {
//!     for line in ["GET /", "GET /favicon.ico"] {
//!         tx.send(line)?; // blocks while the queue is full
//!     }
//!     Ok::<_, queue::SendError<_>>(()) // the last sender goes: the queue ends
//! });
//! let mut requests = Vec::new();
//! while let Ok(line) = rx.recv_async().await {
//!     requests.push(line);
//! }
//! reader.join().unwrap()?;
//! assert_eq!(requests, ["GET /", "GET /favicon.ico"]);
//! # Ok(())
//! # }
//! ```
//!
//! **Map over threads**; the results come in the order of the items:
//!
//! ```
//! use selvedge::threads::Threads;
//!
//! let pages = ["a loom", "a shuttle", "warp and weft"];
//! let words = Threads::new().map(pages, |page| page.split(' ').count());
//! assert_eq!(words, [2, 2, 3]);
//!
//! let error = Threads::new().try_map(["1", "two", "3"], str::parse::<u8>).unwrap_err();
//! assert_eq!(error.to_string(), "item 1: invalid digit found in string");
//! ```
//!
//! **Map over processes**; a task that crashes is an outcome:
//!
//! ```
//! # #[cfg(target_os = "linux")] {
//! use selvedge::{outcome::Outcome, process::Pool};
//!
//! let pool = Pool::builder().build()?;
//! assert_eq!(pool.map(|n: u64| n * n, [1, 2, 3])?, [1, 4, 9]);
//!
//! let ends = pool.map_outcomes(|n: u8| if n == 0 { std::process::abort() } else { n }, [7, 0, 9]);
//! assert_eq!(ends[0].outcome, Outcome::Ok(7));
//! assert_eq!(ends[1].outcome.to_string(), "worker process killed by signal 6");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Limit** what happens at the same time; **gather** futures, a few at a time:
//!
//! ```
//! use selvedge::{gather::gather, nz, semaphore::Semaphore};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connections = Semaphore::new(2);
//! let permit = connections.acquire().await?;
//! assert_eq!(connections.available(), 1);
//! drop(permit);
//!
//! let lookups = ["a", "bc"].map(|name| async move {
//!     if name.len() > 1 { Err(format!("no host {name}")) } else { Ok(name.len()) }
//! });
//! let outcomes = gather(lookups).limit(nz!(8)).collect().await?;
//! let (found, failed) = outcomes.halves();
//! assert_eq!(found, [(0, 1)]);
//! assert_eq!(failed[0].to_string(), "item 1: error: no host bc");
//! # Ok(())
//! # }
//! ```
//!
//! **Scope** and **cancel**: tasks that do not outlive their scope, and cleanup
//! that runs however it ends:
//!
//! ```
//! use selvedge::{cancel::Token, outcome::Outcome, scope::scope};
//!
//! # #[tokio::main] async fn main() {
//! let token = Token::new();
//! let exit = scope::<std::io::Error>()
//!     .token(&token)
//!     .on_exit("flush", async { Ok(()) })
//!     .run(|scope| async move {
//!         scope.spawn(std::future::pending()); // a child that never ends
//!         token.cancel_because("shutting down");
//!         Ok(())
//!     })
//!     .await;
//! assert!(matches!(exit.outcome, Outcome::Cancelled(why) if why.cause() == Some("shutting down")));
//! assert!(exit.cleanup[0].outcome.is_ok());
//! # }
//! ```
//!
//! **Time out**, **offload** computation, and keep to a **rate**:
//!
//! ```
//! use selvedge::offload::to_thread;
//! use selvedge::rate::{Limiter, Rate};
//! use selvedge::timeout::with_timeout;
//! use std::time::Duration;
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reply = std::future::pending::<()>(); // a server that never answers
//! let late = with_timeout(reply, Duration::from_millis(20)).named("reply").await;
//! assert_eq!(late.unwrap_err().to_string(), "timed out: reply of 20ms passed");
//!
//! let sum = to_thread(|_| (1..=1000_u64).sum::<u64>()).await;
//! assert_eq!(sum.ok(), Some(500_500));
//!
//! let limiter = Limiter::new(Rate::every(Duration::from_secs(60)));
//! limiter.acquire(1).await?; // the first immediately, the next a minute later
//! assert!(limiter.try_acquire(1).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! **Pipeline**: exact totals per key, and malformed lines as data:
//!
//! ```
//! use selvedge::pipeline::{Input, Pipeline};
//!
//! let log: &[u8] = b"alice:120\nbob:80\nnonsense\nalice:1\n";
//! let report = Pipeline::key_value().run([Input::reader("log", log)])?;
//! assert_eq!(report.totals.sorted(), [("alice", 121), ("bob", 80)]);
//! assert_eq!(report.samples[0].to_string(), "log:3: no colon: \"nonsense\"");
//! # Ok::<(), selvedge::pipeline::Error>(())
//! ```
//!
//! # What needs tokio
//!
//! A tokio runtime is needed by what spawns tasks: [`scope`], the spawned forms of
//! [`gather`] and [`pipeline::Flow`]. A tokio clock (`enable_time`) is needed by
//! what waits for a deadline: a [`timeout`] whose future is not ready in its first
//! poll, `by_deadline` of a queue, and the allowances of gathers and scopes.
//!
//! Everything else runs on any executor, and without one: counters, threads,
//! processes, blocking ends of queues, semaphores and limiters; and the futures of
//! [`queue`], [`semaphore`], [`cancel`], [`rate`], [`offload`], [`process`] and of
//! a gather that is polled in place. On tokio these give way by its budget, so that
//! one that is always ready does not starve the others.
//!
//! Under tokio's [paused clock](cookbook::recipes#testing-with-the-paused-clock)
//! every deadline and rate here is exact.
//!
//! # Features
//!
//! `model`, for `[dev-dependencies]`: inside of a `selvedge_model` model the
//! blocks' locks, tasks and deadlines are its steps, so that a test explores the
//! schedules of your program with the blocks in it; outside of one they are std's
//! and tokio's as ever. Not with `--cfg loom`: there a model over the blocks that
//! fails may end the test program.
//!
//! Otherwise the crate is compiled as a whole. It depends on tokio (`rt`,
//! `sync`, `time`, `macros`), serde, crossbeam-utils, slab and a few smaller
//! crates, and on Linux on libc, rustix and postcard for the process pool. On other
//! systems the module [`process`] does not exist.
//!
//! The minimum supported Rust version is 1.88.
//!
//! # Guarantees
//!
//! The page of each block lists what it promises. These hold for all of them:
//!
//! * **Nothing is lost in silence.** An item is delivered or given back; an input
//!   has exactly one [`Outcome`](outcome::Outcome); a line is in a total or counted
//!   as malformed; a number that does not fit is an error.
//! * **Panics are values** where work is run for a caller: in [`gather`],
//!   [`scope`], [`offload`], [`process`] and the `*_outcomes` maps. A destructor
//!   that panics stops nothing else.
//! * **A future may be dropped at any time.** What that means is in the section
//!   *Cancel safety* of each.
//! * **Memory is bounded** by numbers that the caller can set, on endless input
//!   too; `queue::unbounded` and the forms that return a vector are the
//!   exceptions.
//! * **Foreign code never runs under a lock**: no waker, destructor or closure of
//!   the caller's.
//!
//! Checked how far:
//!
//! | by | what is explored |
//! |---|---|
//! | [loom](https://docs.rs/loom) | memory orderings and wake-ups: every schedule of a small model with at most three preemptions (in some models two), less what loom leaves out |
//! | `selvedge-model`, on [shuttle](https://docs.rs/shuttle)'s stacks | schedules, deadlines and cancellation, sequentially consistent: one schedule of each class of equal ones where that ends, else all with so many preemptions and thousands sampled |
//! | a search of our own | the process pool's supervisor, over every order of events to a stated depth |
//! | property tests | order and conservation against sequential oracles, on real threads |
//! | tokio's paused clock | durations |
//! | real processes | crashes, signals, kills, forks |
//!
//! A model has two to four actors and asserts the exact set of outcomes that it may
//! reach. `loom-tests/BOUNDS.md` in the repository lists each with the number of
//! executions that were explored, and says what the checkers cannot see. That is
//! evidence and not a proof: a bug that needs more actors, more preemptions or
//! more operations than the models have is outside of what was looked at.
//!
//! # Performance
//!
//! Medians of one run per block on a shared machine with two x86-64 cores, ours
//! divided by the peer's (lower is better). `README.md` has the whole table, the
//! rows where others are faster included; `cargo bench -p selvedge-benches --bench
//! NAME` makes it.
//!
//! | block | row | ratio |
//! |---|---|---|
//! | queue | blocking, 20 rows of capacity and threads | 0.26-0.90x crossbeam-channel; up to 2.5x the best of crossfire and kanal |
//! | queue | tasks on two workers, capacity 128 / 1 | 0.45-0.62x / 1.22-1.23x tokio's channel |
//! | threads | 1 us per item | 0.99x rayon |
//! | counter | `SafeCounter`, 1, 2, 8 threads | 1.00x, 1.01x, 0.96x a bare `fetch_add` |
//! | process | trivial tasks, batched | 27 ns each: 0.39x procspawn |
//! | gather | 64 at a time, in place / spawned, one thread | 0.47x / 1.30x `buffer_unordered` |
//! | offload | 1 caller / 64 callers | 0.86-0.91x / 1.2-2.2x `spawn_blocking`, whose queue has no bound |
//! | rate | a permit without waiting | 1.05-1.08x governor on the same clock |
//! | pipeline | 200 MB, 1,000 keys, a file | 1.07x the speed of rayon, mmap and ahash by hand |
//!
//! # Comparison
//!
//! | crate | take it when | take this when |
//! |---|---|---|
//! | crossbeam | you need `select!`, rendezvous channels, or work-stealing deques | both ends may be tasks or threads; the queue must say why it ended; undelivered items must come back |
//! | rayon | you want `reduce`, `join`, parallel sorts, splitting by work stealing | results must come in order and lazily, from endless or blocking sources; closures block; errors must be those of the lowest index |
//! | tokio | you need `select!`, oneshot, watch, broadcast, I/O | a gather must be limited and give each input's outcome; cleanup must run and be waited for; blocking work needs a bound |
//! | governor | you need a limiter per key, or to keep a decision only (no waiting in line) | waiters must be served in order; unused permits must be refunded exactly; the rate changes at run time |
//! | loom, shuttle | you write lock-free code, and want to drive the checker yourself | you want one test for both, with an exact set of outcomes and a replayable table: `selvedge-model`, in this repository |
//!
//! The [cookbook](cookbook::from_rust) puts the names of these crates beside the
//! names here.
//!
//! # Limits
//!
//! * The process pool needs Linux 5.9 or later.
//! * The semaphore, the rate limiter, and callers that wait for a place in an
//!   offload or process pool are served first come first served. The queue is not
//!   fair.
//! * Cleanup cannot outlive the runtime, and nothing here runs for a value that was
//!   given to `mem::forget`.
//! * A closure on a thread cannot be killed, only asked to stop
//!   ([`offload::Work::should_stop`]); a task in a worker process can.
//! * What spins before it parks (the blocking ends of a queue, the ordered map)
//!   spins for about a microsecond; the models skip the spinning.
//!
//! # What is not here
//!
//! | you look for | use |
//! |---|---|
//! | `select!` over queues or futures | `tokio::select!`: the futures here are cancel safe. From threads: one queue of an enum |
//! | a oneshot channel | `tokio::sync::oneshot`, or `queue::bounded(nz!(1))` |
//! | a watched value | `tokio::sync::watch` |
//! | broadcast | `tokio::sync::broadcast`, or one queue per subscriber |
//! | a rendezvous (capacity 0) | `std::sync::mpsc::sync_channel(0)`, `crossbeam_channel::bounded(0)` |
//! | fork and join, reduce, parallel sort | `rayon` |
//! | a priority queue | `Mutex<BinaryHeap<_>>`, and a [`Semaphore`](semaphore::Semaphore) with one permit per item to wait on |
//! | a barrier, a latch | `std::sync::Barrier`, `tokio::sync::Barrier`; a [`cancel::Token`] is a latch |
//! | async locks | `tokio::sync::{Mutex, RwLock}`; better, do not hold a lock across an `await` |
//! | retries with back-off | a loop ([recipe](cookbook::recipes#a-crawler-limit-retry-rate-deadline)) |
//! | another runtime than tokio | nothing here; see [what needs tokio](#what-needs-tokio) |
// Under loom the examples in these docs have no model to run in: see build.rs.
#![cfg(not(all(doctest, loom)))]

#[cfg(all(test, not(loom)))]
extern crate self as selvedge;

pub mod cancel;
#[cfg(any(doc, doctest))]
pub mod cookbook;
pub mod counter;
pub mod exercises;
#[cfg(not(loom))]
pub mod gather;
#[cfg(loom)]
#[doc(hidden)]
pub mod gather {
    pub mod ready;
}
mod fork;
mod guard;
pub mod map;
#[cfg(not(loom))]
pub mod offload;
pub mod outcome;
#[cfg(not(loom))]
pub mod pipeline;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod process;
#[cfg(all(target_os = "linux", loom))]
#[doc(hidden)]
pub mod process {
    pub mod progress;
}
pub mod queue;
pub mod rate;
#[doc(hidden)]
pub mod rt;
#[cfg(not(loom))]
pub mod scope;
pub mod semaphore;
mod shown;
#[doc(hidden)]
pub mod sync;
pub mod threads;
pub mod timeout;
mod wait;

/// A [`NonZeroUsize`](std::num::NonZeroUsize) from a constant, checked at
/// compile time: limits, capacities and worker counts are never zero.
///
/// ```
/// let workers = selvedge::nz!(4);
/// assert_eq!(workers.get(), 4);
/// ```
///
/// ```compile_fail
/// let workers = selvedge::nz!(0);
/// ```
#[macro_export]
macro_rules! nz {
    ($n:expr) => {
        const { ::std::num::NonZeroUsize::new($n).expect("a limit of zero") }
    };
}

/// Where this crate's proptest runs keep the seeds of failures.
#[cfg(all(test, not(loom)))]
fn test_seeds(name: &str) -> Option<Box<dyn proptest::test_runner::FailurePersistence>> {
    let path = format!("{}/proptest-regressions/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    Some(Box::new(proptest::test_runner::FileFailurePersistence::Direct(path.leak())))
}

/// The models of `loom-tests/`, run here by the harness.
#[cfg(all(test, not(loom)))]
#[path = "../loom-tests/models/mod.rs"]
mod models;

/// The programs in the README are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
