//! What the body may give, and what it gave.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many outcomes are listed.
const LISTED: usize = 12;

/// What is allowed, and what was seen.
#[derive(Debug)]
pub(super) struct Outcomes<O>(Arc<Mutex<Sets<O>>>);

#[derive(Debug)]
struct Sets<O> {
    allowed: Option<Vec<O>>,
    seen: Vec<O>,
}

impl<O> Clone for Outcomes<O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<O: PartialEq + Debug> Outcomes<O> {
    pub(super) fn new(allowed: Option<Vec<O>>) -> Self {
        Self(Arc::new(Mutex::new(Sets { allowed, seen: Vec::new() })))
    }

    fn sets(&self) -> MutexGuard<'_, Sets<O>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an outcome down; an error if it is not allowed.
    pub(super) fn take(&self, outcome: O) -> Result<(), String> {
        let mut sets = self.sets();
        if let Some(allowed) = &sets.allowed
            && !allowed.contains(&outcome)
        {
            return Err(format!("outcome {outcome:?} is not allowed (allowed: {allowed:?})"));
        }
        if !sets.seen.contains(&outcome) {
            sets.seen.push(outcome);
        }
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.sets().seen.len()
    }

    /// What was seen, where nothing was said to be allowed.
    pub(super) fn listed(&self) -> Option<String> {
        let sets = self.sets();
        let told = sets.allowed.is_none() && size_of::<O>() > 0 && !sets.seen.is_empty();
        told.then(|| match &sets.seen[..] {
            all if all.len() <= LISTED => format!("{all:?}"),
            all => format!("{:?} and {} more", &all[..LISTED], all.len() - LISTED),
        })
    }

    /// What is allowed and was not seen.
    #[cfg_attr(not(any(feature = "model", loom)), allow(dead_code, reason = "nothing explores"))]
    pub(super) fn missed(&self) -> Option<String> {
        let sets = self.sets();
        let missed: Vec<&O> =
            sets.allowed.iter().flatten().filter(|outcome| !sets.seen.contains(outcome)).collect();
        (!missed.is_empty()).then(|| format!("{missed:?}, reached: {:?}", sets.seen))
    }
}
