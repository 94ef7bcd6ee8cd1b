#![cfg_attr(not(all(doctest, loom)), doc = include_str!("front_page.md"))]
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
pub mod swap;
pub mod threads;
pub mod timeout;
mod wait;

/// The harness: `Model`, its kit, and the page "test your own code".
#[doc(no_inline)]
pub use selvedge_model as harness;
/// A test that is tried over schedules: see [`harness`]. With the feature
/// `model`.
#[cfg(feature = "model")]
#[doc(no_inline)]
pub use selvedge_model::model_of_selvedge as model;
#[doc(no_inline)]
pub use selvedge_model::{hint, reachable, sync, thread, thread_local};
#[cfg(not(loom))]
#[doc(no_inline)]
pub use selvedge_model::{join, rand, select, task, time, try_join};

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
