//! Totals per key, gathered by many workers and exact whatever their number.
//!
//! # Algorithm
//!
//! Two levels, as in the aggregation of analytical databases (Leis et al.,
//! "Morsel-driven parallelism", 2014). Each worker adds into a table of its
//! own that stays in its cache. When that is full it is poured into the shared
//! table, which is cut into shards by the top bits of the hash, each behind a
//! lock; both are in hash order, so pouring walks the shared table from one
//! end to the other. Few keys: the shared table is touched once a worker, at
//! the end. Many keys: there is still one table of them, not one a worker.
//!
//! # Invariants
//!
//! 1. *A key is in one shard*: the shard is a function of its hash.
//! 2. *Sums are exact*: no addition wraps ([`Table`] widens), and sums of
//!    integers do not depend on their order. The overflow policy is applied to
//!    the finished sums alone, so its verdict is the same for any number of
//!    workers: a partial sum that leaves the range and comes back is no error.
//! 3. *Memory*: above the shared table, a worker holds at most
//!    [`LOCAL_KEYS`] slots and [`LOCAL_ARENA`] bytes of long keys.

use super::shown::Cut;
use super::table::{Key, Table};
use crate::swap::Mutex;
use foldhash::fast::RandomState;
use std::fmt;

/// Top bits of the hash that choose the shard.
const SHARD_BITS: u32 = 6;
/// A worker's own table is poured out at this many keys: with 32 bytes a slot
/// and at most three quarters of them full, a megabyte, which is a core's
/// second-level cache.
const LOCAL_KEYS: usize = (1 << 15) / 4 * 3;
/// ... or at this many bytes of keys that do not fit their slots.
const LOCAL_ARENA: usize = 1 << 20;
/// Records that a worker gathers before it adds them.
const BATCH: usize = 32;

/// What a total that does not fit a signed 64-bit integer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The run fails, naming the first such key in byte order.
    #[default]
    Error,
    /// The nearest value that fits.
    Saturate,
    /// The exact sum, as the `i128` that all totals are given as.
    Widen,
}

/// A total per key, in no particular order.
pub struct Totals {
    shards: Vec<Table>,
    hasher: RandomState,
    overflow: Overflow,
}

impl Totals {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(Table::len).sum()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The total of `key`. Takes O(1).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<i128> {
        let hashed = Key::new(&self.hasher, key);
        self.shards[hashed.top(SHARD_BITS)].get(&hashed, key).map(|total| self.held(total))
    }

    /// Every key and its total, in an order that differs from run to run.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i128)> {
        self.shards.iter().flat_map(Table::iter).map(|(key, total)| (key, self.held(total)))
    }

    /// Every key and its total, the largest total first, equal totals in byte
    /// order of their keys. Takes O(n log n) and 32 bytes a key.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, i128)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all
    }

    /// The first `count` of [`sorted`](Self::sorted), without sorting the rest.
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<(&str, i128)> {
        let order = |a: &(&str, i128), b: &(&str, i128)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
        let mut all: Vec<_> = self.iter().collect();
        if count < all.len() {
            all.select_nth_unstable_by(count, order);
            all.truncate(count);
        }
        all.sort_unstable_by(order);
        all
    }

    fn held(&self, total: i128) -> i128 {
        match self.overflow {
            Overflow::Saturate => total.clamp(i64::MIN.into(), i64::MAX.into()),
            Overflow::Error | Overflow::Widen => total,
        }
    }
}

/// The keys that [`Totals`] shows when it is formatted.
const SHOWN: usize = 5;

/// How many keys, and the largest totals.
impl fmt::Debug for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Largest<'a>(Vec<(&'a str, i128)>);
        impl fmt::Debug for Largest<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_map().entries(self.0.iter().map(|(key, sum)| (Cut(key), sum))).finish()
            }
        }
        let mut shown = f.debug_struct("Totals");
        shown.field("keys", &self.len()).field("largest", &Largest(self.top(SHOWN)));
        if self.len() > SHOWN { shown.finish_non_exhaustive() } else { shown.finish() }
    }
}

/// The shared table and the workers' own ones.
#[derive(Debug)]
pub(super) struct Gatherer {
    shards: Vec<Mutex<Table>>,
    /// Tables that no worker is using. A worker takes one for a block at a
    /// time, so there are never more than workers.
    idle: Mutex<Vec<Table>>,
    hasher: RandomState,
}

impl Gatherer {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..1 << SHARD_BITS).map(|_| Mutex::new(Table::new(SHARD_BITS))).collect(),
            idle: Mutex::new(Vec::new()),
            hasher: RandomState::default(),
        }
    }

    /// A place to add records, for one worker and one block.
    pub(super) fn adder(&self) -> Adder<'_> {
        let table = self.idle.lock().pop().unwrap_or_else(|| Table::new(0));
        Adder { to: self, table }
    }

    /// Pours a worker's table into the shared one.
    fn pour(&self, table: &mut Table) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut open = None;
        for record in table.slots() {
            let shard = record.0.top(SHARD_BITS);
            if open != Some(shard) || batch.len() == BATCH {
                self.add(open, &mut batch);
                open = Some(shard);
            }
            batch.push(record);
        }
        self.add(open, &mut batch);
        for (name, &amount) in table.wide() {
            let shard = Key::new(&self.hasher, name).top(SHARD_BITS);
            self.shards[shard].lock().add_wide(name, amount);
        }
        table.clear();
    }

    fn add(&self, shard: Option<usize>, batch: &mut Vec<(Key<'_>, i64)>) {
        if let Some(shard) = shard {
            self.shards[shard].lock().add_all(batch);
            batch.clear();
        }
    }

    /// The totals of everything added. Every adder must be done.
    ///
    /// # Errors
    ///
    /// Under [`Overflow::Error`], the first key in byte order whose total does
    /// not fit, and that total.
    pub(super) fn finish(self, overflow: Overflow) -> Result<Totals, (String, i128)> {
        for mut table in std::mem::take(&mut *self.idle.lock()) {
            self.pour(&mut table);
        }
        let Self { shards, hasher, .. } = self;
        let shards = shards.into_iter().map(Mutex::into_inner).collect();
        let totals = Totals { shards, hasher, overflow };
        if overflow == Overflow::Error
            && let Some((key, total)) = totals.first_out_of_range()
        {
            return Err((key.to_owned(), total));
        }
        Ok(totals)
    }
}

impl Totals {
    fn first_out_of_range(&self) -> Option<(&str, i128)> {
        self.shards
            .iter()
            .flat_map(|shard| shard.wide().keys())
            .filter_map(|key| self.get(key).map(|total| (&**key, total)))
            .filter(|&(_, total)| i64::try_from(total).is_err())
            .min()
    }
}

/// A worker's hold on its own table.
#[derive(Debug)]
pub(super) struct Adder<'g> {
    to: &'g Gatherer,
    table: Table,
}

impl Adder<'_> {
    /// A batch to gather records in.
    pub(super) fn batch<'a>() -> Vec<(Key<'a>, i64)> {
        Vec::with_capacity(BATCH)
    }

    /// Adds `value` to the total of `key`, some time before the batch is
    /// [`flush`](Self::flush)ed.
    #[inline]
    pub(super) fn add<'a>(&mut self, batch: &mut Vec<(Key<'a>, i64)>, key: &'a str, value: i64) {
        let key = Key::new(&self.to.hasher, key);
        if self.table.is_small() {
            return self.table.add(&key, value);
        }
        batch.push((key, value));
        if batch.len() == BATCH {
            self.flush(batch);
        }
    }

    /// Adds `value` to the total of `key` at once.
    pub(super) fn add_now(&mut self, key: &str, value: i64) {
        if self.table.len() >= LOCAL_KEYS || self.table.arena_len() > LOCAL_ARENA {
            self.to.pour(&mut self.table);
        }
        self.table.add(&Key::new(&self.to.hasher, key), value);
    }

    /// Adds what is in the batch.
    pub(super) fn flush(&mut self, batch: &mut Vec<(Key<'_>, i64)>) {
        if self.table.len() + batch.len() > LOCAL_KEYS || self.table.arena_len() > LOCAL_ARENA {
            self.to.pour(&mut self.table);
        }
        self.table.add_all(batch);
        batch.clear();
    }

    /// Hands the table back with what was added to it.
    pub(super) fn done(mut self, mut batch: Vec<(Key<'_>, i64)>) {
        self.flush(&mut batch);
        self.to.idle.lock().push(self.table);
    }
}
