//! The ordered map over a backend that is chosen at run time.
//!
//! ```
//! use selvedge::map::{Backend, concurrent_map};
//! use selvedge::nz;
//!
//! let backend: Backend = "thread".parse()?;
//! assert_eq!(concurrent_map(|x| x + 1, [0, 1, 2], backend, Some(nz!(2))), [1, 2, 3]);
//! # Ok::<(), selvedge::map::UnknownBackend>(())
//! ```
//!
//! One function for both backends asks for what both need: a closure that
//! captures nothing and items that serde can carry. Where the backend is known
//! when the program is written, [`Threads`] takes closures that borrow, and
//! [`process::Pool`](crate::process::Pool) keeps its workers between calls.

use crate::threads::Threads;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// Where the closure runs.
///
/// serde writes and reads it by its name, as `Display` and `FromStr` do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// On threads of this process.
    #[default]
    Thread,
    /// In worker processes, started for the call. Linux only.
    Process,
}

/// Every backend and its name.
const NAMES: [(Backend, &str); 2] = [(Backend::Thread, "thread"), (Backend::Process, "process")];

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = NAMES.iter().find(|(backend, _)| backend == self).ok_or(fmt::Error)?;
        f.pad(name)
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        match NAMES.iter().find(|(_, known)| *known == name) {
            Some((backend, _)) => Ok(*backend),
            None => Err(UnknownBackend { name: name.to_owned() }),
        }
    }
}

/// No backend has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBackend {
    name: String,
}

impl UnknownBackend {
    /// The name that was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no backend is called {:?}: there is", self.name)?;
        for (at, (_, name)) in NAMES.iter().enumerate() {
            write!(f, "{} {name:?}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownBackend {}

/// The results of `f` for every item, in input order, from the backend that is
/// asked for. `max_workers` of `None` is one a core.
///
/// # Panics
///
/// With the message of the panic of the lowest index, whatever the backend.
/// With [`Backend::Process`] also if a task takes its process down, or if
/// workers cannot be had: on other systems than Linux, for instance, or where
/// the process has no descriptors left. [`try_concurrent_map`] returns all of
/// that as an error.
///
/// ```
/// use selvedge::map::{Backend, concurrent_map};
///
/// assert_eq!(concurrent_map(|x| x + 1, [0, 1, 2], Backend::Thread, None), [1, 2, 3]);
/// # #[cfg(target_os = "linux")]
/// assert_eq!(concurrent_map(|x| x * x, [2, 3, 4], Backend::Process, None), [4, 9, 16]);
/// ```
pub fn concurrent_map<I, R, F>(
    f: F,
    xs: I,
    backend: Backend,
    max_workers: Option<NonZeroUsize>,
) -> Vec<R>
where
    I: IntoIterator<Item: Serialize + DeserializeOwned + Send + 'static>,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(I::Item) -> R + Copy + Send + Sync + 'static,
{
    match backend {
        Backend::Thread => threads(max_workers).map(xs, f),
        #[cfg(all(target_os = "linux", not(loom)))]
        Backend::Process => match process::pool(max_workers).and_then(|pool| pool.map(f, xs)) {
            Ok(all) => all,
            Err(failed) => match failed.outcome {
                crate::outcome::Outcome::Panicked(panic) => panic!("{}", panic.message()),
                _ => panic!("{failed}"),
            },
        },
        #[cfg(not(all(target_os = "linux", not(loom))))]
        Backend::Process => panic!("the process backend needs Linux"),
    }
}

fn threads(max_workers: Option<NonZeroUsize>) -> Threads<'static> {
    let threads = Threads::new();
    max_workers.map_or(threads, |most| threads.max_workers(most))
}

#[cfg(all(target_os = "linux", not(loom)))]
pub use process::try_concurrent_map;

#[cfg(all(target_os = "linux", not(loom)))]
mod process {
    use super::{Backend, threads};
    use crate::outcome::Outcome;
    use crate::process::{Failed, Fault, Pool, Portable};
    use crate::threads::MapErrorKind;
    use std::num::NonZeroUsize;

    pub(super) fn pool<E>(max_workers: Option<NonZeroUsize>) -> Result<Pool, Failed<E>> {
        let builder = Pool::builder();
        let builder = match max_workers {
            Some(most) => builder.workers(most),
            None => builder,
        };
        builder.build().map_err(Failed::from)
    }

    /// [`concurrent_map`](super::concurrent_map) of a function that may fail.
    ///
    /// # Errors
    ///
    /// The failure of the lowest index, the same from both backends: the
    /// function's own error, or its panic. Only processes crash.
    ///
    /// ```
    /// use selvedge::map::{Backend, try_concurrent_map};
    /// use selvedge::{outcome::Outcome, process::Fault};
    ///
    /// for backend in [Backend::Thread, Backend::Process] {
    ///     let odd = |n: u32| if n % 2 == 0 { Ok(n / 2) } else { Err(n) };
    ///     let failed = try_concurrent_map(odd, [2, 4, 5, 7], backend, None).unwrap_err();
    ///     assert_eq!((failed.index, failed.outcome), (2, Outcome::Err(Fault::Task(5))));
    /// }
    /// ```
    pub fn try_concurrent_map<I, R, E, F>(
        f: F,
        xs: I,
        backend: Backend,
        max_workers: Option<NonZeroUsize>,
    ) -> Result<Vec<R>, Failed<E>>
    where
        I: IntoIterator<Item: Portable + Send>,
        R: Portable + Send,
        E: Portable + Send,
        F: Fn(I::Item) -> Result<R, E> + Copy + Send + Sync + 'static,
    {
        match backend {
            Backend::Process => pool(max_workers)?.try_map(f, xs),
            Backend::Thread => threads(max_workers).try_map(xs, f).map_err(|error| Failed {
                index: error.index,
                attempt: 1,
                outcome: match error.kind {
                    MapErrorKind::Error(error) => Outcome::Err(Fault::Task(error)),
                    MapErrorKind::Panicked(panic) => Outcome::Panicked(panic),
                },
            }),
        }
    }
}
