//! A counter of hits. The bug: an update is lost.

use selvedge_model::sync::atomic::{AtomicU32, Ordering};

/// Counts.
#[derive(Debug, Default)]
pub struct Hits(AtomicU32);

impl Hits {
    /// One more.
    pub fn hit(&self) {
        if cfg!(feature = "bugs") {
            let seen = self.0.load(Ordering::SeqCst);
            self.0.store(seen + 1, Ordering::SeqCst);
        } else {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// So many.
    pub fn total(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_model::sync::Arc;
    use selvedge_model::{model, thread};

    #[model(outcomes = [2], engines(shuttle, loom))]
    fn two_hits_are_two() -> u32 {
        let hits = Arc::new(Hits::default());
        let threads = [0, 1].map(|_| {
            let hits = Arc::clone(&hits);
            thread::spawn(move || hits.hit())
        });
        for thread in threads {
            thread.join().unwrap();
        }
        hits.total()
    }
}
