//! News between a look and a wait. (dashpay/platform#3641.)
//!
//! A wallet waits until a lock was seen: it looks, and if there is none it waits
//! to be notified. Who sees a lock notes it and notifies all who wait.
//!
//! **The bug.** Between the look and the wait, nobody waits.
//!
//! **Mended.** The wait is set up first, then comes the look.

use selvedge_model::sync::atomic::{AtomicBool, Ordering::SeqCst};
use selvedge_model::task::{self, sync::Notify};
use std::sync::Arc;

#[derive(Default)]
struct Locks {
    seen: AtomicBool,
    notify: Notify,
}

impl Locks {
    fn sees(&self) {
        self.seen.store(true, SeqCst);
        self.notify.notify_waiters();
    }

    async fn wait(&self, mended: bool) {
        if mended {
            let notified = self.notify.notified();
            if !self.seen.load(SeqCst) {
                notified.await;
            }
        } else if !self.seen.load(SeqCst) {
            self.notify.notified().await;
        }
    }
}

/// One sees, one waits.
pub async fn body(mended: bool) {
    let locks = Arc::new(Locks::default());
    let sees = task::spawn({
        let locks = Arc::clone(&locks);
        async move { locks.sees() }
    });
    locks.wait(mended).await;
    sees.await.unwrap();
}
