//! A value per key, of any types.

use foldhash::fast::RandomState;
use hashbrown::Equivalent;
use hashbrown::hash_map::{Entry, HashMap, IntoIter};
use std::fmt;
use std::hash::Hash;

/// A value per key: a state for [`Pipeline::fold`](super::Pipeline::fold).
///
/// Keys are looked up as they stand in the line, and are copied when they are
/// new.
///
/// ```
/// use selvedge::pipeline::Groups;
///
/// let mut lengths = Groups::<String, Vec<usize>>::new();
/// for word in ["warp", "weft", "warp"] {
///     lengths.at(word).push(word.len());
/// }
/// assert_eq!(lengths.sorted(), [(&"warp".to_owned(), &vec![4, 4]), (&"weft".to_owned(), &vec![4])]);
/// ```
#[derive(Clone)]
pub struct Groups<K, A> {
    map: HashMap<K, A, RandomState>,
}

impl<K, A> Groups<K, A> {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self { map: HashMap::with_hasher(RandomState::default()) }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Every key and its value, in an order that differs from run to run.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &A)> {
        self.map.iter()
    }
}

impl<K: Eq + Hash, A> Groups<K, A> {
    /// The value of `key`, which starts from the default.
    #[inline]
    pub fn at<'q, Q>(&mut self, key: &'q Q) -> &mut A
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: From<&'q Q>,
        A: Default,
    {
        self.map.entry_ref(key).or_default()
    }

    /// The value of a key that is computed, which starts from the default.
    #[inline]
    pub fn at_key(&mut self, key: K) -> &mut A
    where
        A: Default,
    {
        self.map.entry(key).or_default()
    }

    /// The value of `key`, if it is there.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<&A>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.map.get(key)
    }

    /// Adds the keys of `other`; `merge` is for keys that are in both.
    pub fn merge(&mut self, other: Self, mut merge: impl FnMut(&mut A, A)) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for (key, value) in other.map {
            match self.map.entry(key) {
                Entry::Occupied(mut there) => merge(there.get_mut(), value),
                Entry::Vacant(free) => _ = free.insert(value),
            }
        }
    }

    /// Every key and its value, in order of the keys.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&K, &A)>
    where
        K: Ord,
    {
        let mut all: Vec<_> = self.map.iter().collect();
        all.sort_unstable_by(|a, b| a.0.cmp(b.0));
        all
    }
}

impl<K, A> Default for Groups<K, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, A> IntoIterator for Groups<K, A> {
    type Item = (K, A);
    type IntoIter = IntoIter<K, A>;

    fn into_iter(self) -> Self::IntoIter {
        self.map.into_iter()
    }
}

/// How many keys there are.
impl<K, A> fmt::Debug for Groups<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("keys", &self.len()).finish_non_exhaustive()
    }
}
