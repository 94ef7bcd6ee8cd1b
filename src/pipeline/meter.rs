//! What the stages of a run have done and are doing.

use super::shown::Plain;
use crate::rt::{self, Instant};
use crate::shown::Few;
use crate::swap::unmodelled::{AtomicU64, Mutex, Ordering};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A stage at some moment.
///
/// An item is a line in a [`Flow`](super::Flow), and a block of lines in a
/// [`Pipeline`](super::Pipeline).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageCounts {
    /// What the stage is called.
    pub name: &'static str,
    /// Items that it is done with.
    pub items: u64,
    /// Items that the stage before is done with and this one has not begun.
    pub waiting: u64,
    /// Items that it is at.
    pub busy: u64,
    /// The most that it has been at, at once.
    pub most_busy: u64,
    /// How long it was at each item, added up over all of them.
    pub busy_for: Duration,
}

impl fmt::Display for StageCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, items, waiting, busy, most_busy, busy_for } = self;
        write!(
            f,
            "{name}: {items} done, {waiting} waiting, {busy} in hand \
             (most {most_busy}), {busy_for:.1?} of work"
        )
    }
}

/// A window on a run, to be looked through from any thread while it runs and
/// after. Clones show the same run: the last one that was given it.
#[derive(Clone, Default)]
pub struct Meter(Arc<Mutex<Vec<Arc<Gauge>>>>);

/// What the stages have done.
impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = self.stages();
        let stages: Vec<_> = stages.iter().map(Plain).collect();
        f.debug_tuple("Meter").field(&Few::<_, 5>(&stages)).finish()
    }
}

impl Meter {
    /// A meter that shows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The stages from the source on. While the run goes on, counts of
    /// different stages are of slightly different moments.
    #[must_use]
    pub fn stages(&self) -> Vec<StageCounts> {
        counts(&self.gauges())
    }

    fn gauges(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Gauge>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn show(&self, gauges: &[Arc<Gauge>]) {
        *self.gauges() = gauges.to_vec();
    }
}

pub(super) fn counts(gauges: &[Arc<Gauge>]) -> Vec<StageCounts> {
    let mut before = None;
    let count = |gauge: &Arc<Gauge>| {
        let now = gauge.counts(before);
        before = Some(now.items);
        now
    };
    gauges.iter().map(count).collect()
}

/// One stage's counters.
#[derive(Debug)]
pub(super) struct Gauge {
    name: &'static str,
    begun: AtomicU64,
    /// Finished, or dropped in the middle.
    left: AtomicU64,
    items: AtomicU64,
    most_busy: AtomicU64,
    nanos: AtomicU64,
}

impl Gauge {
    pub(super) fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            begun: AtomicU64::new(0),
            left: AtomicU64::new(0),
            items: AtomicU64::new(0),
            most_busy: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The stage begins an item.
    pub(super) fn begin(&self) -> Busy<'_> {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let busy = begun.saturating_sub(self.left.load(Ordering::Relaxed));
        self.most_busy.fetch_max(busy, Ordering::Relaxed);
        Busy { gauge: self, since: rt::now() }
    }

    /// An item goes through the stage without being looked at.
    pub(super) fn pass(&self) {
        for count in [&self.begun, &self.left, &self.items] {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self, before: Option<u64>) -> StageCounts {
        // What grows first is read last, so that no difference is negative
        // but by what happens in between.
        let items = self.items.load(Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed);
        let begun = self.begun.load(Ordering::Relaxed);
        StageCounts {
            name: self.name,
            items,
            waiting: before.map_or(0, |before| before.saturating_sub(begun)),
            busy: begun.saturating_sub(left),
            most_busy: self.most_busy.load(Ordering::Relaxed),
            busy_for: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

/// A stage at an item, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy<'g> {
    gauge: &'g Gauge,
    since: Instant,
}

impl Busy<'_> {
    /// The item is done.
    pub(super) fn done(self) {
        self.gauge.items.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let nanos = rt::now().saturating_duration_since(self.since).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.gauge.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.gauge.left.fetch_add(1, Ordering::Relaxed);
    }
}
