//! Parts of what `Debug` shows: short, whatever there is.

use std::fmt;

/// The first `N` of a list, and how many more there are.
pub(crate) struct Few<'a, T, const N: usize>(pub(crate) &'a [T]);

impl<T: fmt::Debug, const N: usize> fmt::Debug for Few<'_, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        list.entries(self.0.iter().take(N));
        let more = self.0.len().saturating_sub(N);
        if more > 0 { list.entry(&format_args!("and {more} more")).finish() } else { list.finish() }
    }
}
