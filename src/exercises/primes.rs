//! Exercise 4: a process pool for work that keeps a core busy.

use crate::process::{Failed, Pool};

/// Whether `n` is prime, by trial division.
///
/// Takes some `sqrt(n) / 3` divisions: seconds where `n` is near 2^64.
#[must_use]
pub fn is_prime(n: u64) -> bool {
    if n < 4 {
        return n >= 2;
    }
    if n.is_multiple_of(2) || n.is_multiple_of(3) {
        return false;
    }
    // Every other prime is next to a multiple of 6.
    let mut at = 5;
    while at <= n / at {
        if n.is_multiple_of(at) || n.is_multiple_of(at + 2) {
            return false;
        }
        at += 6;
    }
    true
}

/// How many of `nums` are prime, on as many processes as there are cores.
///
/// # Errors
///
/// If workers cannot be had, or one is killed from outside.
///
/// ```
/// use selvedge::exercises::primes_count;
///
/// assert_eq!(primes_count([2, 3, 4, 5, 15, 17, 19])?, 5);
/// # Ok::<(), selvedge::process::Failed>(())
/// ```
pub fn primes_count(nums: impl IntoIterator<Item = u64>) -> Result<usize, Failed> {
    let pool = Pool::builder().build()?;
    let primes = pool.map(is_prime, nums)?;
    Ok(primes.into_iter().filter(|prime| *prime).count())
}
