//! Where outcomes are kept until they are asked for.

use crate::guard;
use crate::outcome::{Failure, Outcome};
use futures_core::Stream;
use std::collections::VecDeque;
use std::convert::Infallible;

/// What has ended and was not taken, as the consumer will want it.
pub(super) enum Kept<T, E> {
    /// For a stream in the order of the items: a slot for each from `taken` on
    /// that has ended or has an ended one behind it.
    Ordered { taken: usize, slots: VecDeque<Option<Outcome<T, E>>> },
    /// For a stream in the order in which they end.
    Unordered(VecDeque<(usize, Outcome<T, E>)>),
    /// For all outcomes at once.
    Outcomes(InOrder<Outcome<T, E>>),
    /// For all values at once, or the first failure.
    Values(InOrder<T>, Option<Failure<E>>),
}

impl<T, E> Kept<T, E> {
    pub(super) fn for_stream(ordered: bool) -> Self {
        if ordered {
            Self::Ordered { taken: 0, slots: VecDeque::new() }
        } else {
            Self::Unordered(VecDeque::new())
        }
    }

    /// For [`outcomes`](Self::outcomes).
    pub(super) fn for_outcomes_of(source: &impl Stream) -> Self {
        Self::Outcomes(InOrder::of(source))
    }

    /// For [`values`](Self::values). The first failure ends the gather.
    pub(super) fn for_values_of(source: &impl Stream) -> Self {
        Self::Values(InOrder::of(source), None)
    }

    /// Whether the consumer takes everything at the end.
    pub(super) fn is_eager(&self) -> bool {
        matches!(self, Self::Outcomes(_) | Self::Values(..))
    }

    /// Whether a failure ends the gather.
    pub(super) fn ends_at_a_failure(&self) -> bool {
        matches!(self, Self::Values(..))
    }

    /// Keeps an outcome; `true` if the stream's next is there because of it.
    /// What is not kept is given back, to be dropped without the lock.
    #[inline]
    pub(super) fn put(&mut self, index: usize, outcome: Outcome<T, E>) -> (bool, Surplus<E>) {
        let wanted = match self {
            Self::Ordered { taken, slots } => {
                let slot = index - *taken;
                if slots.len() <= slot {
                    slots.resize_with(slot + 1, || None);
                }
                slots[slot] = Some(outcome);
                slot == 0
            }
            Self::Unordered(ended) => {
                ended.push_back((index, outcome));
                true
            }
            Self::Outcomes(outcomes) => {
                outcomes.put(index, outcome);
                false
            }
            Self::Values(values, failed) => {
                match outcome.into_result() {
                    Ok(value) => values.put(index, value),
                    Err(outcome) if failed.is_some() => return (false, Some(outcome)),
                    Err(outcome) => *failed = Some(Failure::new(index, outcome)),
                }
                false
            }
        };
        (wanted, None)
    }

    /// The next for a stream that was stopped and whose lanes have ended:
    /// what is missing does not come any more.
    pub(super) fn next_left(&mut self) -> Option<(usize, Outcome<T, E>)> {
        if let Self::Ordered { taken, slots } = self {
            let gap = slots.iter().position(Option::is_some)?;
            slots.drain(..gap);
            *taken += gap;
        }
        self.next()
    }

    /// The next for a stream.
    pub(super) fn next(&mut self) -> Option<(usize, Outcome<T, E>)> {
        match self {
            Self::Ordered { taken, slots } => {
                slots.front()?.as_ref()?;
                let outcome = slots.pop_front().flatten()?;
                *taken += 1;
                Some((*taken - 1, outcome))
            }
            Self::Unordered(ended) => ended.pop_front(),
            Self::Outcomes(_) | Self::Values(..) => None,
        }
    }

    pub(super) fn outcomes(self) -> InOrder<Outcome<T, E>> {
        let Self::Outcomes(outcomes) = self else { unreachable!("kept for something else") };
        outcomes
    }

    pub(super) fn values(self) -> Result<Vec<T>, Failure<E>> {
        match self {
            Self::Values(values, None) => Ok(values.into_vec()),
            Self::Values(_, Some(failure)) => Err(failure),
            _ => unreachable!("kept for something else"),
        }
    }

    /// Drops what is kept, one by one.
    pub(super) fn discard(&mut self) {
        let _ = match self {
            Self::Ordered { slots, .. } => guard::each(slots.drain(..)),
            Self::Unordered(ended) => guard::each(ended.drain(..)),
            // They do so themselves.
            Self::Outcomes(_) | Self::Values(..) => Ok(()),
        };
    }
}

/// A failure after the first.
pub(super) type Surplus<E> = Option<Outcome<Infallible, E>>;

/// Values by their indices, each of which comes once, in any order. What is
/// ahead of a gap waits beside the others, so that nothing is moved at the end.
pub(super) struct InOrder<T> {
    values: Vec<T>,
    /// The first is the gap: it belongs at `values.len()`.
    ahead: VecDeque<Option<T>>,
}

impl<T> InOrder<T> {
    /// With room for what `source` promises. A hint is a hint: one that
    /// promises too much must not cost the memory.
    pub(super) fn of(source: &impl Stream) -> Self {
        let most = (8 << 20) / size_of::<T>().max(1);
        let values = Vec::with_capacity(source.size_hint().0.min(most));
        Self { values, ahead: VecDeque::new() }
    }

    #[inline]
    pub(super) fn put(&mut self, index: usize, value: T) {
        if self.ahead.is_empty() && index == self.values.len() {
            self.values.push(value);
        } else {
            self.put_ahead(index - self.values.len(), value);
        }
    }

    fn put_ahead(&mut self, slot: usize, value: T) {
        if self.ahead.len() <= slot {
            self.ahead.resize_with(slot + 1, || None);
        }
        self.ahead[slot] = Some(value);
        while let Some(front @ Some(_)) = self.ahead.front_mut() {
            self.values.extend(front.take());
            self.ahead.pop_front();
        }
    }

    /// All of them, if none is missing.
    pub(super) fn into_vec(mut self) -> Vec<T> {
        debug_assert!(self.ahead.is_empty(), "a value is missing");
        std::mem::take(&mut self.values)
    }

    /// Those that are there, with their indices.
    pub(super) fn into_some(mut self) -> Vec<(usize, T)> {
        let values = std::mem::take(&mut self.values);
        let gap = values.len();
        let ahead = std::mem::take(&mut self.ahead).into_iter().enumerate();
        let ahead = ahead.filter_map(|(at, value)| Some((gap + at, value?)));
        values.into_iter().enumerate().chain(ahead).collect()
    }
}

/// One by one: two destructors that panic in one drop abort the process.
impl<T> Drop for InOrder<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            let _ = guard::each(std::mem::take(&mut self.values));
            let _ = guard::each(self.ahead.drain(..));
        }
    }
}
