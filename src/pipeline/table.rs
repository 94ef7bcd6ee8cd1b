//! An open-addressed table from short keys to exact sums.
//!
//! A slot is 32 bytes, so a look-up touches one cache line: keys of up to 16
//! bytes stand in the slot itself, longer ones in an arena beside it. Slots are
//! ordered by hash (the home of a key is the top bits of its tag), so walking
//! one table in slot order visits another one in slot order too.
//!
//! Sums are exact: a slot's total that would leave the `i64` range moves to a
//! side table of `i128`, and the slot starts again from the new value. An
//! `i128` holds 2^63 additions of any `i64`.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// Keys up to this long stand in the slot.
const INLINE: usize = 16;
/// The smallest table.
const MIN_BITS: u32 = 4;
/// A table of up to this many bits stays in a cache that is near.
const SMALL_BITS: u32 = 12;

/// A key and what the tables need to know of it.
///
/// `meta` is the tag (the top half of the hash, made odd so that it is never
/// zero) over the length. `word` is the key itself, zero-padded, or the whole
/// hash of a long key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    word: u128,
    meta: u64,
    /// The bytes of a key that does not fit `word`; else empty.
    long: &'a [u8],
}

impl<'a> Key<'a> {
    #[inline]
    pub(super) fn new(hasher: &RandomState, key: &'a str) -> Self {
        let bytes = key.as_bytes();
        let mut state = hasher.build_hasher();
        let (word, hash, long) = if bytes.len() <= INLINE {
            let word = padded(bytes);
            state.write_u128(word);
            (word, state.finish(), &[][..])
        } else {
            state.write(bytes);
            let hash = state.finish();
            (u128::from(hash), hash, bytes)
        };
        let tag = (hash >> 32) | 1;
        let len = u32::try_from(bytes.len()).expect("a key is shorter than 4 GiB");
        Self { word, meta: tag << 32 | u64::from(len), long }
    }

    /// The top bits of the tag.
    #[inline]
    pub(super) fn top(&self, bits: u32) -> usize {
        (self.meta >> (64 - bits)) as usize
    }
}

/// Up to 16 bytes as a number, the missing ones zero.
#[inline]
fn padded(bytes: &[u8]) -> u128 {
    let len = bytes.len();
    let low = |at: usize| {
        bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().expect("8 bytes")))
    };
    let half = |at: usize| {
        bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes(b.try_into().expect("4 bytes")))
    };
    // Two loads that overlap cover every length between one and two of them.
    match len {
        16 => u128::from(low(0)) | u128::from(low(8)) << 64,
        8..16 => {
            let over = (16 - len) as u32 * 8;
            u128::from(low(0)) | (u128::from(low(len - 8)) >> over) << 64
        }
        4..8 => {
            let over = (8 - len) as u32 * 8;
            u128::from(half(0)) | (u128::from(half(len - 4)) >> over) << 32
        }
        _ => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u128::from(byte)),
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// [`Key::word`], little end first. Of a long key: its hash, then its
    /// place in the arena.
    word: [u8; INLINE],
    /// [`Key::meta`]. Zero: the slot is empty.
    meta: u64,
    total: i64,
}

impl Slot {
    fn key_len(&self) -> usize {
        self.meta as u32 as usize
    }

    #[inline]
    fn holds(&self, key: &Key<'_>, arena: &[u8]) -> bool {
        if self.meta != key.meta {
            return false;
        }
        let word = u128::from_le_bytes(self.word);
        if key.long.is_empty() {
            word == key.word
        } else {
            word as u64 == key.word as u64 && self.long(arena) == key.long
        }
    }

    /// The bytes of a long key; of a short one none.
    fn long<'t>(&self, arena: &'t [u8]) -> &'t [u8] {
        if self.key_len() <= INLINE {
            return &[];
        }
        let start = (u128::from_le_bytes(self.word) >> 64) as usize;
        &arena[start..start + self.key_len()]
    }

    fn name<'t>(&'t self, arena: &'t [u8]) -> &'t str {
        let bytes = match self.long(arena) {
            [] => &self.word[..self.key_len()],
            long => long,
        };
        std::str::from_utf8(bytes).expect("a key came as a str")
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[Slot]>,
    bits: u32,
    /// How many top bits of the tag all keys here have in common.
    skip: u32,
    len: usize,
    arena: Vec<u8>,
    /// Sums that left the slots' range; the slot's total comes on top.
    wide: HashMap<Box<str>, i128>,
}

impl Table {
    /// An empty table, of keys whose top `skip` tag bits are the same.
    pub(super) fn new(skip: u32) -> Self {
        Self {
            slots: empty(MIN_BITS),
            bits: MIN_BITS,
            skip,
            len: 0,
            arena: Vec::new(),
            wide: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of long keys held.
    pub(super) fn arena_len(&self) -> usize {
        self.arena.len()
    }

    /// Whether there is nothing to gain from adding many records at once.
    #[inline]
    pub(super) fn is_small(&self) -> bool {
        self.bits <= SMALL_BITS
    }

    #[inline]
    fn home(&self, meta: u64) -> usize {
        ((meta << self.skip) >> (64 - self.bits)) as usize
    }

    /// Adds each value to its key's total.
    #[inline]
    pub(super) fn add_all(&mut self, records: &[(Key<'_>, i64)]) {
        // The homes are loaded first, none waiting for another: in a table
        // that is larger than the cache the misses then overlap.
        if !self.is_small() {
            let touched =
                records.iter().fold(0, |all, (key, _)| all ^ self.slots[self.home(key.meta)].meta);
            std::hint::black_box(touched);
        }
        for (key, value) in records {
            self.add(key, *value);
        }
    }

    /// Adds the value to its key's total.
    #[inline]
    pub(super) fn add(&mut self, key: &Key<'_>, value: i64) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key.meta);
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.holds(key, &self.arena) {
                match slot.total.checked_add(value) {
                    Some(total) => slot.total = total,
                    None => self.spill(at & mask, value),
                }
                return;
            }
            if slot.meta == 0 {
                return self.insert(key, value, at & mask);
            }
            at += 1;
        }
    }

    /// Moves a slot's total to the side table and starts it from `value`.
    #[cold]
    fn spill(&mut self, at: usize, value: i64) {
        let slot = &mut self.slots[at];
        let spilt = i128::from(std::mem::replace(&mut slot.total, value));
        let key = slot.name(&self.arena);
        *self.wide.entry(key.into()).or_default() += spilt;
    }

    fn insert(&mut self, key: &Key<'_>, value: i64, free: usize) {
        // Never full, so that a probe ends; and a small table is kept so sparse
        // that a probe nearly always ends where it begins, which the processor
        // can foresee.
        let quarters = if self.bits < SMALL_BITS { 1 } else { 3 };
        let free = if (self.len + 1) * 4 > self.slots.len() * quarters {
            self.grow();
            self.free_slot(key.meta)
        } else {
            free
        };
        let mut word = key.word;
        if !key.long.is_empty() {
            word |= (self.arena.len() as u128) << 64;
            self.arena.extend_from_slice(key.long);
        }
        self.slots[free] = Slot { word: word.to_le_bytes(), meta: key.meta, total: value };
        self.len += 1;
    }

    #[cold]
    fn grow(&mut self) {
        self.bits += 1;
        let old = std::mem::replace(&mut self.slots, empty(self.bits));
        for slot in old.iter().filter(|slot| slot.meta != 0) {
            let free = self.free_slot(slot.meta);
            self.slots[free] = *slot;
        }
    }

    fn free_slot(&self, meta: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.home(meta);
        while self.slots[at & mask].meta != 0 {
            at += 1;
        }
        at & mask
    }

    /// Every key with what its slot holds, in slot order.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Key<'_>, i64)> {
        self.slots.iter().filter(|slot| slot.meta != 0).map(|slot| {
            let long = slot.long(&self.arena);
            let word = u128::from_le_bytes(slot.word);
            let word = if long.is_empty() { word } else { u128::from(word as u64) };
            (Key { word, meta: slot.meta, long }, slot.total)
        })
    }

    /// Forgets every key, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::default());
        self.len = 0;
        self.arena.clear();
        self.wide.clear();
    }

    /// The sums that left the slots' range.
    pub(super) fn wide(&self) -> &HashMap<Box<str>, i128> {
        &self.wide
    }

    /// Adds to the sums that left the slots' range, for a key in a slot.
    pub(super) fn add_wide(&mut self, key: &str, amount: i128) {
        *self.wide.entry(key.into()).or_default() += amount;
    }

    /// Every key and its exact total, in slot order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i128)> {
        self.slots.iter().filter(|slot| slot.meta != 0).map(|slot| {
            let key = slot.name(&self.arena);
            (key, self.total(slot, key))
        })
    }

    /// The exact total of a key.
    pub(super) fn get(&self, key: &Key<'_>, name: &str) -> Option<i128> {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key.meta);
        loop {
            let slot = &self.slots[at & mask];
            if slot.meta == 0 {
                return None;
            }
            if slot.holds(key, &self.arena) {
                return Some(self.total(slot, name));
            }
            at += 1;
        }
    }

    fn total(&self, slot: &Slot, key: &str) -> i128 {
        let wide = if self.wide.is_empty() { None } else { self.wide.get(key) };
        i128::from(slot.total) + wide.copied().unwrap_or(0)
    }
}

fn empty(bits: u32) -> Box<[Slot]> {
    vec![Slot::default(); 1 << bits].into()
}
