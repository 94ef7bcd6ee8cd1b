//! The ordered map over threads, processes or machines, chosen at run time:
//! [`selvedge::map`] with one more backend.
//!
//! ```
//! use selvedge_cluster::map::{Backend, concurrent_map};
//!
//! let backend: Backend = "thread".parse()?;
//! assert_eq!(concurrent_map(|x: i32| x + 1, [0, 1, 2], &backend, None), [1, 2, 3]);
//! assert!(matches!("nats://10.0.0.1/primes".parse()?, Backend::Cluster(_)));
//! # Ok::<(), selvedge::map::UnknownBackend>(())
//! ```

use crate::builder::Builder;
use crate::cluster::Cluster;
use crate::error::Error;
use selvedge::map::{self, UnknownBackend};
use selvedge::outcome::Outcome;
use selvedge::process::{Failed, Fault, Portable};
use std::num::NonZeroUsize;
use std::str::FromStr;

/// Where the closure runs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Backend {
    /// On threads of this process.
    #[default]
    Thread,
    /// In worker processes, started for the call.
    Process,
    /// On the workers of a cluster, which is connected to for the call.
    Cluster(Box<Builder>),
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    /// `thread`, `process`, or the URL of a cluster.
    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        if name.starts_with("nats://") || name.starts_with("tls://") {
            return Ok(Self::Cluster(Box::new(Cluster::builder(name))));
        }
        Ok(match name.parse()? {
            map::Backend::Process => Self::Process,
            _ => Self::Thread,
        })
    }
}

impl Backend {
    /// The same without a cluster.
    fn local(&self) -> Result<map::Backend, &Builder> {
        match self {
            Self::Thread => Ok(map::Backend::Thread),
            Self::Process => Ok(map::Backend::Process),
            Self::Cluster(builder) => Err(builder),
        }
    }
}

/// The results of `f` for every item, in input order, from the backend that is
/// asked for. `max_workers` is for threads and processes of this machine, and
/// defaults to one per core; a cluster has the workers that were started.
///
/// # Panics
///
/// With the message of the panic of the lowest index, whatever the backend; if
/// a task takes its process down; if workers cannot be had, or the cluster
/// cannot be reached.
pub fn concurrent_map<I, R, F>(
    f: F,
    xs: I,
    backend: &Backend,
    max_workers: Option<NonZeroUsize>,
) -> Vec<R>
where
    I: IntoIterator<Item: Portable + Send>,
    R: Portable + Send,
    F: Fn(I::Item) -> R + Copy + Send + Sync + 'static,
{
    let builder = match backend.local() {
        Ok(local) => return map::concurrent_map(f, xs, local, max_workers),
        Err(builder) => builder,
    };
    let cluster = builder.clone().connect().unwrap_or_else(|error| panic!("{error}"));
    match cluster.map(f, xs) {
        Ok(all) => all,
        Err(failed) => match failed.outcome {
            Outcome::Panicked(panic) => panic!("{}", panic.message()),
            _ => panic!("{failed}"),
        },
    }
}

/// [`concurrent_map`] of a function that may fail.
///
/// # Errors
///
/// The failure of the lowest index, the same from all backends: the function's
/// own error, or its panic. [`Fault::Broken`] if there is no cluster.
pub fn try_concurrent_map<I, R, E, F>(
    f: F,
    xs: I,
    backend: &Backend,
    max_workers: Option<NonZeroUsize>,
) -> Result<Vec<R>, Failed<E>>
where
    I: IntoIterator<Item: Portable + Send>,
    R: Portable + Send,
    E: Portable + Send,
    F: Fn(I::Item) -> Result<R, E> + Copy + Send + Sync + 'static,
{
    match backend.local() {
        Ok(local) => map::try_concurrent_map(f, xs, local, max_workers),
        Err(builder) => builder.clone().connect()?.try_map(f, xs),
    }
}

impl<E> From<Error> for Failed<E> {
    /// A call that connects for itself fails at its first item.
    fn from(error: Error) -> Self {
        let fault = Fault::Broken(error.to_string().into());
        Self { index: 0, attempt: 0, outcome: Outcome::Err(fault) }
    }
}
