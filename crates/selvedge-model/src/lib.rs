//! Write a concurrent test once, have every schedule tried, and read why it
//! fails.
//!
//! # Test your own code
//!
//! You have a struct of three atomics, or a service of tasks, channels and
//! deadlines, and a test that fails once a week. In five steps:
//!
//! **1. Depend on the facade**, and on the model in tests only:
//!
//! ```toml
//! [dependencies]
//! selvedge-model = "0.1"          # features = ["tokio"] for task and time
//!
//! [dev-dependencies]
//! selvedge-model = { version = "0.1", features = ["model"] }
//! ```
//!
//! (By `path` or `git` until it is on crates.io.) Who depends on `selvedge` has
//! all of it there, `selvedge = { version = "0.1", features = ["model"] }` in the
//! dev-dependencies: `selvedge::{model, sync, thread, task, time, rand, hint,
//! select, join, thread_local, reachable}` are this crate's, and the rest of it is
//! `selvedge::harness`.
//!
//! In a build without the feature `model` every name here *is* std's or
//! tokio's, and neither shuttle nor loom is compiled.
//!
//! **2. Change imports**, and nothing else: `std::sync` to
//! [`selvedge_model::sync`](sync), `std::thread` to [`selvedge_model::thread`](thread),
//! `tokio::task` and `tokio::time` to `selvedge_model::task` and
//! `selvedge_model::time`, `tokio::select!` to `selvedge_model::select!`, `std::hint::spin_loop` to [`hint::spin_loop`],
//! `std::thread_local!` to `selvedge_model::thread_local!`.
//!
//! **3. Write the test**, small: two or three actors, two or three operations
//! each, and return what somebody could see.
//!
//! ```
//! use selvedge_model::sync::{Arc, atomic::{AtomicU32, Ordering::SeqCst}};
//! use selvedge_model::{model, thread};
//!
//! #[model(outcomes = [2])]
//! fn two_hits_are_two() -> u32 {
//!     let hits = Arc::new(AtomicU32::new(0));
//!     let threads = [0, 1].map(|_| {
//!         let hits = Arc::clone(&hits);
//!         thread::spawn(move || {
//!             let seen = hits.load(SeqCst);
//!             hits.store(seen + 1, SeqCst);   // the bug
//!         })
//!     });
//!     for thread in threads {
//!         thread.join().unwrap();
//!     }
//!     hits.load(SeqCst)
//! }
//! # fn main() {}
//! ```
//!
//! **4. `cargo test`.** The attribute wrote `two_hits_are_two::stress`, on real
//! threads, and `two_hits_are_two::shuttle`, which fails, every time:
//!
//! ```text
//! two_hits_are_two: outcome 1 is not allowed (allowed: [2])
//! (shuttle, after the first schedules; failed in execution 1; 1 preemption, …)
//!
//!      main             thread 1                              thread 2
//!   1  spawn thread 1
//!   2  spawn thread 2
//!   3                   AtomicU32#1.load() -> 0  count.rs:13
//!   4                                                         AtomicU32#1.load() -> 0  count.rs:13
//!   5                                                         AtomicU32#1.store(1)  count.rs:14
//!   6                   AtomicU32#1.store(1)  count.rs:14
//!   …
//! replay: SELVEDGE_REPLAY='two_hits_are_two:shuttle:2.1-3' cargo test …
//! ```
//!
//! The schedule was made as short as it gets: `2.1-3` says that before its
//! second choice, task 2 is stopped and task 3 goes on, and everywhere else the
//! task that runs goes on (1 is the body, 2 the first that it started, called
//! thread 1; 0 is the clock). A deadlock says who waits for what, who has it, and
//! since which line.
//!
//! **5. Mend it, and look at the claim** (`cargo test -- --nocapture`):
//! `two_hits_are_two: every schedule, one of each class (5 executions)`. Or,
//! where there are too many: `every schedule with at most 2 preemptions, and
//! 12,500 sampled`. Make the model smaller rather than the budget larger, and say
//! `closed` of an async one whose tasks share nothing but what is from here: it
//! makes thousands of schedules into tens. Without `outcomes` the line ends with
//! what was reached: a way to learn the set, before you say whether it is right. The
//! checker is several times faster with
//! `[profile.dev.package."*"] opt-level = 3`.
//!
//! # The attribute
//!
//! `#[model]` is for `fn` and `async fn`, with a result or without. It takes
//!
//! | | |
//! |---|---|
//! | `outcomes = […]` | the exact set: nothing else is reached, and each is. `stress` and `paused` are held to the first half; with ordered time `stress` is not, where it waits for the real clock, which is late. The result is `Debug + PartialEq + Send` |
//! | `weak = […]` | what weak memory adds, for `loom` and `stress` |
//! | `engines(…)` | of `stress`, `paused` (async), `shuttle`, `loom`; all that fit by default |
//! | `time = any`, `time = ordered` | see [`Time`]; ordered by default |
//! | `executions = n`, `seconds = n`, `steps = n` | budgets; see [`Model`] |
//! | `preemptions = n` | no more than this, and no sampling |
//! | `reachable = ["name"]` | some execution must reach `reachable!("name")` |
//! | `panics_are_values` | a thread's panic is its `join`'s result and no failure |
//! | `closed` | tasks share nothing that this crate does not know of: see [`Model::closed`] |
//! | `crate = path` | where this crate is, if it is re-exported |
//!
//! A model that explores nothing (one schedule; nothing spawned) fails.
//! [`Model`] is the same without the attribute.
//!
//! # What each engine sees
//!
//! | engine | threads | tasks | time | memory |
//! |---|---|---|---|---|
//! | `stress` | real, up to 200 runs | tokio's, real | real | the machine's |
//! | `paused` | - | tokio's on one thread, polls put off by 64 seeds | tokio's paused clock | - |
//! | `shuttle` | modelled | modelled | ordered or any | sequentially consistent: every `Ordering` counts as `SeqCst` |
//! | `loom` (`RUSTFLAGS="--cfg loom"`) | modelled, at most five | none | stands still | the C11 orderings, less what loom leaves out |
//!
//! For loom, say `check-cfg = ["cfg(loom)"]` in `[lints.rust] unexpected_cfgs`,
//! leave what uses tasks out with `#[cfg(not(loom))]`, and run
//! `RUSTFLAGS="--cfg loom" cargo test --lib --tests` (cargo does not tell
//! rustdoc of the flag).
//!
//! An ordering that is too weak is found by `loom` alone, a deadline by
//! `shuttle` and `paused` alone: run all that fit. The engine named shuttle
//! uses shuttle's stacks; what blocks, and which schedules are tried, is decided
//! here: ten to begin with, in which all tasks are stopped at the same place, or
//! only one is; then every schedule with at most one preemption, with some
//! sampled among them; then one of each class; where that is too much, with the
//! bound on preemptions raised further; then sampled ones: partial order sampling,
//! probabilistic concurrency testing, and at random, in turn.
//!
//! `examples/bugs` of this project retells forty public bugs over this crate. Its
//! `TABLE.md` says which engine finds which, after how many executions.
//!
//! # Every schedule, without trying every schedule
//!
//! Two schedules that differ only in the order of steps which touch nothing in
//! common end the same, so one of them is enough: `one of each class` says that
//! this was done (partial-order reduction: source sets and sleep sets). A step
//! touches the objects of this crate that it uses, the thread that it unparks,
//! starts or joins, and the [`History`](kit::History) that it is recorded in.
//! Two steps are independent unless both touch the same thing and one of them
//! changes it.
//!
//! A lost update of three threads has 25,424 schedules and 36 classes; three
//! threads that each work on something of their own have one. Equal schedules
//! have the same outcomes, panics, deadlocks and `reachable!` lines.
//!
//! What is assumed: threads share nothing but what this crate gives them. A
//! counter of std's, the count of an `Arc`, and the order in which two threads
//! drop its last references are seen by nobody; if a model's outcome depends on
//! one, it is explored by one schedule of each class only.
//! `preemptions = n` asks for the plain search.
//!
//! What is told from everything, and so costs the most: `yield_now`, and, with
//! ordered time, deadlines that pass. What is not reduced: threads that spin for
//! a hundred steps, and models of async tasks, since their futures may share
//! what nobody tells of, unless [`Model::closed`] says that they do not. These
//! are searched with bounds on preemptions, and the claim says so.
//! Weak memory is loom's.
//!
//! # Rules for a body
//!
//! It runs thousands of times and must do the same on the same schedule: no
//! clock but `selvedge_model::time`, no chance but [`rand`] and [`select!`], no
//! iteration of a `HashMap` with std's random hasher, and nothing kept from one execution to the
//! next. Atomics, `OnceLock`s and `LazyLock`s in statics start every execution
//! afresh. The contents of a `static` `Mutex` or `RwLock` do not: put it in a
//! [`LazyLock`](sync::LazyLock). To collect over executions, use std's own. A
//! body that breaks this is told as such where it is seen to: when an execution
//! cannot follow its schedule, or when one schedule, run six times, does another
//! step or shows another value. A lock or a channel of std's that a task waits
//! for stops the only OS thread there is; that is told after
//! [`Model::patience`]. All tasks share one OS thread: std's
//! thread-locals are shared, those of `selvedge_model::thread_local!` are not.
//!
//! Who reads an `RwLock` already and reads it once more while somebody waits to
//! write has a deadlock: std's lock may let the writer go first.
//!
//! A spin loop is fair: after [`thread::yield_now`] or [`hint::spin_loop`], and
//! after a hundred steps in a row, all others that can run go first. The body
//! is over when it returns: async tasks are then dropped, as a runtime does, so
//! that a ticker ends; threads are waited for, and one that waits for ever is a
//! failure.
//!
//! tokio's own channels and locks may be used inside of a task, since they need
//! no runtime, but the model sees no step in them, and takes waiting for one as
//! waiting for something that it does not know. `task::sync`
//! has tokio's `Mutex`, `Semaphore` and `Notify` with steps and names.
//!
//! # The environment
//!
//! `SELVEDGE_REPLAY=test:engine:schedule` runs that schedule of that model
//! alone (for loom, the executions up to the one that failed). `SELVEDGE_SEED=n` moves where sampling starts,
//! `SELVEDGE_ENGINES=shuttle,loom` leaves the others out (what can mean none of
//! these fails),
//! `SELVEDGE_TRACE=html` writes a failure as a page with a picture too (to the
//! temporary folder, or to `SELVEDGE_TRACE_DIR`), `SELVEDGE_CLAIMS=file`
//! appends a line with the claim of each model.
//!
//! # Pieces
//!
//! [`kit::History`] checks that recorded operations are linearizable,
//! [`kit::Drops`] finds leaks and double drops,
//! [`kit::cancel_everywhere`] drops a future at each of its polls.
//!
//! # What it does not do yet
//!
//! * `compare_exchange_weak` and `Condvar::wait` do not fail or wake for no
//!   reason inside of a model; `Arc`'s counts are not modelled, nor is a cell.
//! * loom: no tasks; the time of a `wait_timeout` or a `park_timeout` is never
//!   up; constructors are not `const`; `Once`, `OnceLock` and `LazyLock` are
//!   std's. A failure is told as loom met it, not shrunk, and its OS thread and
//!   stacks are leaked. loom's own types, used without this crate's, end the
//!   program when their model fails and a destructor uses them.
//! * `LocalKey` has no destructors that make other keys' values visible to
//!   `try_with` as gone; `JoinSet` has no `spawn_on`, `LocalSet` is not there.
//! * Inside of a model, [`select!`] polls its branches from the same one on each
//!   time; which one is tried in every way. tokio draws anew for each poll.
//! * A destructor that panics while a panic unwinds ends the program, as Rust
//!   has it, after one report on the standard error.
//! * The stacks of a failed execution are leaked, some kilobytes each.
//! * Two versions of this crate in one program do not see each other.
//! * `cargo bench` and the examples of a package see its dev-dependencies'
//!   features, and so the modelled types: keep benches in a package of their
//!   own.

#[cfg(all(feature = "model", not(loom)))]
mod engine;
pub mod kit;
#[cfg(loom)]
mod loom_engine;
mod macros;
mod model;
#[cfg(any(loom, feature = "model"))]
mod page;
#[cfg(not(loom))]
pub mod rand;
pub mod sync;
#[cfg(any(loom, feature = "model"))]
mod table;
#[cfg(all(feature = "tokio", not(loom)))]
pub mod task;
pub mod thread;
#[cfg(all(feature = "tokio", not(loom)))]
pub mod time;

pub use model::{Engine, Model, Report, Search, Time};
#[cfg(feature = "model")]
pub use selvedge_macros::{model, model_of_selvedge};

/// As tokio's; it decides nothing by chance.
#[cfg(all(feature = "tokio", not(loom)))]
pub use tokio::{join, try_join};

/// std's, a model's step.
pub mod hint {
    /// As [`std::hint::spin_loop`]. Inside of a model, others run first.
    #[inline]
    #[track_caller]
    pub fn spin_loop() {
        #[cfg(all(feature = "model", not(loom)))]
        crate::thread::spin();
        #[cfg(loom)]
        ::loom::hint::spin_loop();
        #[cfg(not(any(loom, feature = "model")))]
        std::hint::spin_loop();
    }
}

#[doc(hidden)]
pub mod private;
