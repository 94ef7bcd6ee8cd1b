//! Functions and values as numbers and bytes: what is needed to have a pool's
//! tasks come from another machine.
//!
//! A program that runs on several machines names a function by a [`Function`],
//! sends its [token](Function::token) and the [encoded](encode) items, and runs
//! them there with [`Pool::stream_encoded`]. The executables must be the same:
//! compare [`identity`] before anything else.
//!
//! ```
//! use selvedge::process::{Pool, portable};
//!
//! // Here.
//! let token = portable::Function::new(|n: u64| n * n)?.token();
//! let items = [portable::encode(&3_u64)?, portable::encode(&4_u64)?];
//!
//! // There, after a look at `identity()`.
//! let function = portable::Function::from_token(token).expect("the same build");
//! let pool = Pool::builder().build()?;
//! let squares = pool.stream_encoded(function, items, selvedge::nz!(2));
//!
//! // Here again.
//! let squares = squares.filter_map(|report| report.outcome.ok());
//! let squares = squares.map(|square| portable::decode(&square));
//! assert_eq!(squares.collect::<Result<Vec<u64>, _>>()?, [9, 16]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a token is worth
//!
//! A token is a place in the executable. [`Function::from_token`] looks for a
//! mark there which only functions have that were named by [`Function::new`]
//! somewhere in the program, so that any other number is refused. It does not
//! say who sent it: those who may send tokens may run every function that
//! the program names so.

use super::codec::{self, Portable};
use super::error::{Fault, NotShippable};
use super::pool::Pool;
use super::ship::{self, Job};
use super::stream::Stream;
use std::num::NonZeroUsize;

/// A function of this program that another process of the same build can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Function {
    token: u64,
    entry: u64,
}

impl Function {
    /// Names a function, or a closure that captures nothing.
    ///
    /// # Errors
    ///
    /// If the function is not part of the main program.
    pub fn new<A, R, F>(f: F) -> Result<Self, NotShippable>
    where
        A: Portable,
        R: Portable,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let (token, job) = ship::signed(f)?;
        Ok(Self { token, entry: job.entry })
    }

    /// What names it in every process of this build.
    #[must_use]
    pub fn token(self) -> u64 {
        self.token
    }

    /// The function that a token names. `None`: no function that
    /// [`new`](Self::new) named in this program.
    #[must_use]
    pub fn from_token(token: u64) -> Option<Self> {
        Some(Self { token, entry: ship::find_signed(token)? })
    }
}

/// The same for two processes if they run the same executable.
///
/// Where the linker leaves a build id in it (`--build-id`, which most
/// distributions ask for), copies on several machines are the same; without
/// one, each file is its own.
#[must_use]
pub fn identity() -> u64 {
    ship::identity()
}

/// Whether this process is the worker of a pool.
#[must_use]
pub fn is_worker() -> bool {
    super::hook::is_worker()
}

/// A value as it crosses to a worker. See [`Portable`].
///
/// # Errors
///
/// [`Fault::Encode`].
pub fn encode<T: Portable>(value: &T) -> Result<Vec<u8>, Fault> {
    codec::encode_to_vec(value).map_err(|error| Fault::Encode(error.into_text()))
}

/// A value of its bytes, all of them. See [`Portable`].
///
/// # Errors
///
/// [`Fault::Decode`].
pub fn decode<T: Portable>(bytes: &[u8]) -> Result<T, Fault> {
    codec::decode(bytes).map_err(|why| Fault::Decode(why.into()))
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// [`stream`](Self::stream) of a [`Function`] over encoded items: each
    /// outcome has the encoded result.
    pub fn stream_encoded<I>(
        &self,
        function: Function,
        xs: I,
        window: NonZeroUsize,
    ) -> Stream<I::IntoIter, Vec<u8>>
    where
        I: IntoIterator<Item = Vec<u8>>,
    {
        let job = Job::<Vec<u8>, Vec<u8>>::of(function.entry);
        Stream::new(self.ordered(Ok(job), xs.into_iter(), Some(window)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(n: u32) -> u32 {
        2 * n
    }

    #[test]
    fn a_token_is_found_again_and_no_other_number_is() {
        let function = Function::new(double).unwrap();
        assert_eq!(Function::from_token(function.token()), Some(function));
        for off in 1..4_096_u64 {
            for token in [function.token().wrapping_add(off), function.token().wrapping_sub(off)] {
                let found = Function::from_token(token);
                assert!(found.is_none_or(|found| found.token.is_multiple_of(8)), "{token:#x}");
                assert!(off % 8 == 0 || found.is_none(), "{token:#x}");
            }
        }
        for token in [0, 1, u64::MAX, u64::MAX / 2, function.entry] {
            assert!(Function::from_token(token).is_none(), "{token:#x}");
        }
    }
}
