//! How many items to take at once: a pure policy over measured times.
//!
//! A batch should take about [`GOAL`]: long enough that its share of a lock
//! and of a clock reading is small, short enough that the workers end
//! together. Nothing is known of the items beforehand, so the first batch is
//! one item; the size then grows geometrically while batches are quick, and
//! falls to what would have met the goal as soon as one is slow.

use crate::swap::time;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// What a batch should take.
pub(super) const GOAL: Duration = Duration::from_micros(40);

/// The size of the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    size: usize,
    most: usize,
    fixed: bool,
}

impl Pace {
    /// Starts at one and adapts, up to `most`.
    pub(super) fn adaptive(most: usize) -> Self {
        Self { size: 1, most: most.max(1), fixed: false }
    }

    /// Always `size`; reads no clock.
    pub(super) fn fixed(size: NonZeroUsize) -> Self {
        Self { size: size.get(), most: size.get(), fixed: true }
    }

    /// Fixed if a size is given, adaptive up to `most` otherwise.
    pub(super) fn new(size: Option<NonZeroUsize>, most: usize) -> Self {
        size.map_or(Self::adaptive(most), Self::fixed)
    }

    /// Items to take now, at least one.
    #[inline]
    pub(super) fn size(self) -> usize {
        self.size
    }

    /// What one of `workers` should take of `left` items: the size, but if
    /// adaptive no more than leaves something for the others.
    #[inline]
    pub(super) fn share(self, left: usize, workers: usize) -> usize {
        if self.fixed {
            return self.size.min(left);
        }
        self.size.min((left / workers.saturating_mul(2)).max(1))
    }

    /// How many items to pull into a window of `depth` items that has `room`
    /// left; 0 if it is better to wait until there is more. Batches as small
    /// as the room that one small chunk left would stay small for ever.
    #[inline]
    pub(super) fn batch(self, room: usize, depth: usize) -> usize {
        let worthwhile = self.size.min((depth / 4).max(1));
        if room < worthwhile { 0 } else { self.size.min(room) }
    }

    /// Whether items are so quick that handing them to another core costs more
    /// than doing them: about 10 ns each.
    #[inline]
    pub(super) fn is_at_its_most(self) -> bool {
        !self.fixed && self.size == self.most
    }

    /// Whether a batch that began at `started` has taken far too long.
    #[inline]
    pub(super) fn is_overdue(started: Option<Instant>) -> bool {
        started.is_some_and(|started| time::since(started) > GOAL * 2)
    }

    /// The time, if this pace wants to know how long a batch takes.
    #[inline]
    pub(super) fn start(self) -> Option<Instant> {
        (!self.fixed).then(time::now)
    }

    /// A batch of `items` that began at `started` has ended.
    #[inline]
    pub(super) fn end(&mut self, items: usize, started: Option<Instant>) {
        if let Some(started) = started {
            self.record(items, time::since(started));
        }
    }

    /// A batch of `items` took so long.
    pub(super) fn record(&mut self, items: usize, took: Duration) {
        if self.fixed || items == 0 {
            return;
        }
        if took > GOAL * 2 {
            let met = items as u128 * GOAL.as_nanos() / took.as_nanos();
            self.size = usize::try_from(met).unwrap_or(usize::MAX).clamp(1, self.size);
        } else if items >= self.size && took * 2 <= GOAL {
            let by = if took * 8 <= GOAL { 4 } else { 2 };
            self.size = self.size.saturating_mul(by).min(self.most);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The size after `batches` full batches of items that take `each`.
    fn settled(each: Duration, batches: usize) -> usize {
        let mut pace = Pace::adaptive(4096);
        for _ in 0..batches {
            pace.record(pace.size(), each * u32::try_from(pace.size()).unwrap());
        }
        pace.size()
    }

    #[test]
    fn slow_items_go_one_at_a_time() {
        assert_eq!(settled(Duration::from_millis(20), 50), 1);
    }

    #[test]
    fn quick_items_reach_the_cap_in_few_batches() {
        assert_eq!(settled(Duration::from_nanos(5), 8), 4096);
    }

    #[test]
    fn microsecond_items_settle_near_the_goal() {
        let size = settled(Duration::from_micros(1), 50);
        assert!((20..=80).contains(&size), "{size}");
    }

    #[test]
    fn one_slow_batch_is_enough_to_go_back_to_one() {
        let mut pace = Pace::adaptive(4096);
        for _ in 0..20 {
            pace.record(pace.size(), Duration::from_nanos(100));
        }
        assert_eq!(pace.size(), 4096);
        pace.record(4096, Duration::from_secs(40));
        assert_eq!(pace.size(), 1);
    }

    /// Full windows are refilled by worthwhile batches, not item by item.
    #[test]
    fn a_small_room_is_left_to_grow() {
        let mut quick = Pace::adaptive(4096);
        for _ in 0..20 {
            quick.record(quick.size(), Duration::ZERO);
        }
        assert_eq!(quick.batch(1, 65_536), 0);
        assert_eq!(quick.batch(4095, 65_536), 0);
        assert_eq!(quick.batch(4096, 65_536), 4096);
        assert_eq!(quick.batch(65_536, 65_536), 4096);
        assert_eq!(quick.batch(24, 100), 0);
        assert_eq!(quick.batch(25, 100), 25);
        for window in 1..8 {
            assert_eq!(quick.batch(1, window), 1, "{window}");
            assert_eq!(quick.batch(0, window), 0, "{window}");
        }
        let slow = Pace::adaptive(4096);
        assert_eq!(slow.batch(1, 65_536), 1);
    }

    #[test]
    fn a_short_batch_does_not_raise_the_size() {
        let mut pace = Pace::adaptive(4096);
        pace.record(1, Duration::ZERO);
        assert_eq!(pace.size(), 4);
        pace.record(3, Duration::ZERO);
        assert_eq!(pace.size(), 4);
    }

    #[test]
    fn a_fixed_pace_reads_no_clock_and_stays() {
        let mut pace = Pace::new(NonZeroUsize::new(7), 4096);
        assert_eq!(pace.start(), None);
        pace.record(7, Duration::ZERO);
        pace.record(7, Duration::from_secs(1));
        assert_eq!(pace.size(), 7);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: crate::test_seeds("threads_pace"),
            ..ProptestConfig::default()
        })]
        /// An empty window is never left empty, and no batch exceeds the room.
        #[test]
        fn batches_fit_and_an_empty_window_is_filled(size in 1..10_000_usize, depth in 1..100_000_usize, room in 0..100_000_usize) {
            let pace = Pace { size, most: size, fixed: false };
            prop_assert!(pace.batch(room.min(depth), depth) <= room.min(depth));
            prop_assert!(pace.batch(depth, depth) > 0);
        }

        /// Whatever is measured, the size stays between one and the cap.
        #[test]
        fn stays_in_bounds(most in 0..10_000_usize, steps in prop::collection::vec((0..20_000_usize, any::<u64>()), 0..50)) {
            let mut pace = Pace::adaptive(most);
            for (items, nanos) in steps {
                pace.record(items, Duration::from_nanos(nanos));
                prop_assert!((1..=most.max(1)).contains(&pace.size()));
            }
        }
    }
}
