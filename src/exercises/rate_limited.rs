//! Exercise 11: a rate limit.

use crate::rate::{self, FromIter, RateLimited};
use std::num::NonZeroUsize;

/// The ids, at most `per_second` of them a second.
pub fn rate_limited<I: IntoIterator>(
    ids: I,
    per_second: NonZeroUsize,
) -> RateLimited<FromIter<I::IntoIter>> {
    rate::rate_limited(ids, per_second)
}
