//! Permits. The bug: one is leaked when a request takes too long, since it is
//! given back by a line that a cancelled future never comes to.

use selvedge_model::sync::atomic::{AtomicU32, Ordering};
use selvedge_model::time::{sleep, timeout};
use std::time::Duration;

/// At most so many requests are in flight.
#[derive(Debug)]
pub struct Pool {
    free: AtomicU32,
}

/// Gives the permit back.
struct Permit<'a>(&'a Pool);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::SeqCst);
    }
}

impl Pool {
    /// So many permits.
    pub fn new(permits: u32) -> Self {
        Self { free: AtomicU32::new(permits) }
    }

    /// What is left.
    pub fn free(&self) -> u32 {
        self.free.load(Ordering::SeqCst)
    }

    /// A request that lasts, within a limit. Whether it was done.
    pub async fn request(&self, lasts: Duration, limit: Duration) -> bool {
        timeout(limit, self.with_permit(lasts)).await.is_ok_and(|done| done)
    }

    async fn with_permit(&self, lasts: Duration) -> bool {
        let take = |free: u32| free.checked_sub(1);
        if self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            return false;
        }
        let permit = Permit(self);
        if cfg!(feature = "bugs") {
            std::mem::forget(permit);
            sleep(lasts).await;
            self.free.fetch_add(1, Ordering::SeqCst);
        } else {
            sleep(lasts).await;
            drop(permit);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_model::{model, task};
    use std::sync::Arc;

    // Requests of 4 ms with limits of 5 and of 3: with timers at any step,
    // either may be late.
    #[model(time = any, engines(shuttle))]
    async fn every_permit_comes_back() {
        let pool = Arc::new(Pool::new(1));
        let ms = Duration::from_millis(1);
        let other = task::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.request(4 * ms, 5 * ms).await }
        });
        pool.request(4 * ms, 3 * ms).await;
        other.await.unwrap();
        assert_eq!(pool.free(), 1, "a permit was leaked");
    }
}
