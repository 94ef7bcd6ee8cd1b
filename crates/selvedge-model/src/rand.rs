//! Chance that a model has in its hands: what is random outside of one is
//! tried in every way inside.
//!
//! ```
//! # #[cfg(not(loom))] {
//! use selvedge_model::rand;
//!
//! let backoff = 10 + rand::below(5);
//! assert!((10..15).contains(&backoff));
//! # }
//! ```

use std::collections::hash_map;
use std::hash::{BuildHasher as _, Hasher as _};

/// A number below `n`: each is tried inside of a model, and outside of one is
/// as likely as another. Not for keys and passwords.
///
/// # Panics
///
/// If `n` is 0.
#[must_use]
#[track_caller]
pub fn below(n: usize) -> usize {
    assert!(n > 0, "there is no number below 0");
    #[cfg(feature = "model")]
    if crate::engine::inside() {
        let at = std::panic::Location::caller();
        let wait = crate::engine::Wait::OneOf(n);
        let pick = crate::engine::step("choose", None, wait, None, at);
        crate::engine::done(at, None, || format!("one of {n} -> {pick}"));
        return pick;
    }
    let any = hash_map::RandomState::new().build_hasher().finish();
    usize::try_from(any % n as u64).unwrap_or_default()
}

/// Heads or tails: both are tried inside of a model.
#[must_use]
#[track_caller]
pub fn coin() -> bool {
    below(2) == 1
}

/// As [`std::collections::hash_map::RandomState`], with the same keys in every
/// execution of a model, so that a map made inside of one has the same order.
///
/// ```
/// # #[cfg(not(loom))] {
/// use std::collections::HashMap;
///
/// let mut seen: HashMap<u32, &str, selvedge_model::rand::RandomState> = HashMap::default();
/// seen.insert(7, "seven");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RandomState(Option<hash_map::RandomState>);

impl RandomState {
    /// As in std.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(feature = "model")]
        if crate::engine::inside() {
            return Self(None);
        }
        Self(Some(hash_map::RandomState::new()))
    }
}

impl Default for RandomState {
    fn default() -> Self {
        Self::new()
    }
}

impl std::hash::BuildHasher for RandomState {
    type Hasher = hash_map::DefaultHasher;

    fn build_hasher(&self) -> hash_map::DefaultHasher {
        match &self.0 {
            Some(random) => random.build_hasher(),
            None => hash_map::DefaultHasher::new(),
        }
    }
}
