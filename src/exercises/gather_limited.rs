//! Exercises 5 and 7: limited concurrency, and errors as results.

use crate::gather::gather;
use crate::outcome::Outcome;
use crate::rt;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

/// Simulates I/O by sleeping for 10 to 30 ms, then returns `i`.
pub async fn fetch_one(i: usize) -> usize {
    let random = RandomState::new().hash_one(i) % 20_000;
    rt::sleep(Duration::from_micros(10_000 + random)).await;
    i
}

/// The results of [`fetch_one`] for `0..n`, in that order, at most `limit` of
/// them at a time.
///
/// # Panics
///
/// Outside of a runtime, or if that is shut down.
pub async fn gather_limited(n: usize, limit: NonZeroUsize) -> Vec<usize> {
    let fetches = (0..n).map(|i| async move { Ok::<_, Infallible>(fetch_one(i).await) });
    let fetched = gather(fetches).limit(limit).try_collect().await;
    fetched.unwrap_or_else(|interrupted| panic!("{interrupted}"))
}

/// What [`boom`] raises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeError(pub &'static str);

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for RuntimeError {}

/// Returns 1.
///
/// # Errors
///
/// None.
pub async fn ok() -> Result<i32, RuntimeError> {
    Ok(1)
}

/// Fails.
///
/// # Errors
///
/// Always, with "x".
pub async fn boom() -> Result<i32, RuntimeError> {
    Err(RuntimeError("x"))
}

/// The outcomes of [`ok`] and [`boom`]: the error is a result.
///
/// # Panics
///
/// Outside of a runtime, or if that is shut down.
pub async fn run_mixed() -> Vec<Outcome<i32, RuntimeError>> {
    type Task = Pin<Box<dyn Future<Output = Result<i32, RuntimeError>> + Send>>;
    let tasks: [Task; 2] = [Box::pin(ok()), Box::pin(boom())];
    let outcomes = gather(tasks).collect().await;
    outcomes.unwrap_or_else(|interrupted| panic!("{interrupted}")).into_vec()
}
