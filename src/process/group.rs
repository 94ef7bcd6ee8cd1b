//! Where the results of one call go: a queue between the shell and whoever
//! waits.

use super::error::{Fault, Report};
use super::wire::Kind;
use super::{codec, wire};
use crate::guard;
use crate::outcome::{Outcome, Panic};
use crate::rt::{self, Hold};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// Consecutive items of one call, and how they ended.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) index: u64,
    pub(super) count: u32,
    pub(super) attempt: u32,
    pub(super) ended: Ended,
}

#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// As many records in a row, from this offset on; `Results` has checked
    /// whose they are.
    Records(Arc<Vec<u8>>, usize),
    /// One item's payload by itself.
    Whole(Kind, Vec<u8>),
    /// None of them has a result.
    Lost(Outcome<std::convert::Infallible, Fault>),
}

#[derive(Debug, Default)]
struct State {
    deliveries: VecDeque<Delivery>,
    waker: Option<Waker>,
    /// On the clock of the waiter, until there is a delivery.
    hold: Option<Hold>,
}

/// The results of one call.
#[derive(Debug, Default)]
pub(super) struct Group {
    state: Mutex<State>,
    arrived: Condvar,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shell: adds to the queue. `notify` follows, without the shell's lock.
    pub(super) fn push(&self, delivery: Delivery) {
        self.lock().deliveries.push_back(delivery);
    }

    /// Wakes whoever waits.
    pub(super) fn notify(&self) {
        let (waker, hold) = {
            let mut state = self.lock();
            (state.waker.take(), state.hold.take())
        };
        self.arrived.notify_all();
        if let Some(waker) = waker {
            guard::wake(waker);
        }
        // The clock may move once the waiter knows.
        drop(hold);
    }

    /// Nobody waits any more.
    pub(super) fn leave(&self) {
        let (waker, hold) = {
            let mut state = self.lock();
            (state.waker.take(), state.hold.take())
        };
        drop(hold);
        let _ = guard::dropped(waker);
    }

    /// What there is; if there is nothing, `waker` will be woken.
    pub(super) fn take(&self, waker: Option<&Waker>) -> VecDeque<Delivery> {
        // A waker's clone and drop are foreign code: not under the lock.
        let mut waker = waker.cloned();
        let mut state = self.lock();
        if waker.is_some() && state.deliveries.is_empty() && state.hold.is_none() {
            drop(state);
            let hold = rt::hold_clock();
            state = self.lock();
            if state.deliveries.is_empty() {
                state.hold = hold;
            }
        }
        if state.deliveries.is_empty() {
            std::mem::swap(&mut state.waker, &mut waker);
        }
        let taken = std::mem::take(&mut state.deliveries);
        drop(state);
        let _ = guard::dropped(waker);
        taken
    }

    /// Waits until there is something, or until the deadline.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> VecDeque<Delivery> {
        let mut state = self.lock();
        while state.deliveries.is_empty() {
            let Some(deadline) = deadline else {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state =
                self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut state.deliveries)
    }
}

/// A delivery being taken apart, item by item.
///
/// Decoding runs code of others, which may panic: that is the item's outcome,
/// as it is where items are decoded, and the next one is the next.
#[derive(Debug)]
pub(super) struct Unpacked {
    delivery: Delivery,
    taken: u32,
    at: usize,
    /// The next item's `Deserialize` panicked.
    panicked: Option<Panic>,
}

impl Unpacked {
    pub(super) fn new(delivery: Delivery) -> Self {
        let at = match &delivery.ended {
            Ended::Records(_, at) => *at,
            _ => 0,
        };
        Self { delivery, taken: 0, at, panicked: None }
    }

    /// Takes values, up to the first item that has none or the end.
    #[inline]
    pub(super) fn values<R: codec::Portable>(&mut self, mut take: impl FnMut(R)) {
        let Ended::Records(bytes, _) = &self.delivery.ended else { return };
        let mut decoding = false;
        let all = || {
            while self.taken < self.delivery.count {
                let Ok((Kind::Value, _, body, next)) = wire::result(bytes, self.at) else { return };
                decoding = true;
                let Ok(value) = codec::decode(body) else { return };
                decoding = false;
                (self.at, self.taken) = (next, self.taken + 1);
                take(value);
            }
        };
        // One guard for all of them: one each would show.
        match guard::caught(all) {
            Ok(()) => {}
            Err(payload) if decoding => self.panicked = Some(guard::told(payload)),
            Err(payload) => payload.resume(),
        }
    }

    /// The next item's report.
    #[inline]
    pub(super) fn next<R: codec::Portable>(&mut self) -> Option<Report<R>> {
        if self.taken == self.delivery.count {
            return None;
        }
        let index = (self.delivery.index + u64::from(self.taken)) as usize;
        self.taken += 1;
        let panicked = self.panicked.take();
        let outcome = match &mut self.delivery.ended {
            Ended::Records(bytes, _) => match wire::result(bytes, self.at) {
                Ok((kind, _, body, next)) => {
                    self.at = next;
                    match (kind, panicked) {
                        (Kind::Value, Some(panic)) => Outcome::Panicked(panic),
                        (Kind::Value, None) => value(|| codec::decode(body)),
                        _ => lost(kind, body),
                    }
                }
                Err(garbled) => Outcome::Err(Fault::Decode(garbled.0.into())),
            },
            Ended::Whole(Kind::Value, bytes) => value(|| codec::from_vec(std::mem::take(bytes))),
            Ended::Whole(kind, bytes) => lost(*kind, bytes),
            Ended::Lost(outcome) => super::error::widen(outcome.clone()),
        };
        Some(Report { index, attempt: self.delivery.attempt, outcome })
    }
}

#[inline]
fn value<R>(decode: impl FnOnce() -> Result<R, String>) -> Outcome<R, Fault> {
    match guard::guarded(decode) {
        Ok(Ok(value)) => Outcome::Ok(value),
        Ok(Err(why)) => Outcome::Err(Fault::Decode(format!("the result: {why}").into())),
        Err(panic) => Outcome::Panicked(panic),
    }
}

fn lost<R>(kind: Kind, body: &[u8]) -> Outcome<R, Fault> {
    let text = String::from_utf8_lossy(body);
    match kind {
        Kind::Panic => {
            let (place, message) = text.split_once('\n').unwrap_or(("", &text));
            Outcome::Panicked(Panic::new(message, Some(place).filter(|place| !place.is_empty())))
        }
        Kind::Undecoded => Outcome::Err(Fault::Decode(format!("the item: {text}").into())),
        Kind::Unencoded => Outcome::Err(Fault::Encode(format!("the result: {text}").into())),
        Kind::Value | Kind::Elsewhere => Outcome::Err(Fault::Decode("a misplaced record".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Deserializer, Serialize};

    /// 1 panics where it is read.
    #[derive(Debug, PartialEq, Serialize)]
    struct ReadsBadly(u32);

    impl<'de> Deserialize<'de> for ReadsBadly {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            match u32::deserialize(deserializer)? {
                1 => panic!("reading 1"),
                n => Ok(Self(n)),
            }
        }
    }

    /// Of values that are taken many at a time, the one whose `Deserialize`
    /// panics ends so, and the next one is the next.
    #[test]
    fn a_panic_among_many_values_is_its_items_outcome() {
        let mut bytes = Vec::new();
        for number in 0..3_u32 {
            let body = postcard::to_allocvec(&number).expect("a number");
            bytes.extend(wire::result_head(Kind::Value, body.len(), number));
            bytes.extend(body);
        }
        let ended = Ended::Records(Arc::new(bytes), 0);
        let mut unpacked = Unpacked::new(Delivery { index: 0, count: 3, attempt: 1, ended });
        let mut values = Vec::new();
        unpacked.values::<ReadsBadly>(|value| values.push(value));
        assert_eq!(values, [ReadsBadly(0)]);
        let report = unpacked.next::<ReadsBadly>().expect("the second");
        assert_eq!(report.index, 1);
        assert!(
            matches!(&report.outcome, Outcome::Panicked(panic) if panic.message() == "reading 1")
        );
        unpacked.values::<ReadsBadly>(|value| values.push(value));
        assert_eq!(values, [ReadsBadly(0), ReadsBadly(2)]);
        assert!(unpacked.next::<ReadsBadly>().is_none());
    }
}
