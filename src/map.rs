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

use crate::threads::Threads;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// Where the closure runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// On threads of this process.
    #[default]
    Thread,
}

/// Every backend and its name.
const NAMES: [(Backend, &str); 1] = [(Backend::Thread, "thread")];

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
/// As [`Threads::map`].
pub fn concurrent_map<I, R, F>(
    f: F,
    xs: I,
    backend: Backend,
    max_workers: Option<NonZeroUsize>,
) -> Vec<R>
where
    I: IntoIterator<Item: Send>,
    R: Send,
    F: Fn(I::Item) -> R + Sync,
{
    match backend {
        Backend::Thread => {
            let threads = Threads::new();
            max_workers.map_or(threads, |most| threads.max_workers(most)).map(xs, f)
        }
    }
}
