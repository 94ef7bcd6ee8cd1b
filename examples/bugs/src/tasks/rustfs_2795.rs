//! One who waits, for ever counted. (rustfs#2795.)
//!
//! A readers-writer lock for tasks lets no reader in while a writer waits, and
//! counts who waits.
//!
//! **The bug.** The writer counts itself out when it has got the lock. If it is
//! cancelled before, it stays counted, and no reader gets in any more.
//!
//! **Mended.** A guard counts it out, however it ends.

use selvedge_model::sync::atomic::{AtomicU32, Ordering::SeqCst};
use selvedge_model::task;
use selvedge_model::time::{sleep, timeout};
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
struct Lock {
    readers: AtomicU32,
    waiting: AtomicU32,
}

struct Counted<'a>(&'a Lock);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

const MS: Duration = Duration::from_millis(1);

impl Lock {
    async fn write(&self, mended: bool) {
        self.waiting.fetch_add(1, SeqCst);
        let counted = Counted(self);
        if mended {
            self.wait_for_readers().await;
            drop(counted);
        } else {
            std::mem::forget(counted);
            self.wait_for_readers().await;
            self.waiting.fetch_sub(1, SeqCst);
        }
    }

    async fn wait_for_readers(&self) {
        while self.readers.load(SeqCst) > 0 {
            sleep(MS).await;
        }
    }

    async fn read(&self) {
        while self.waiting.load(SeqCst) > 0 {
            sleep(MS).await;
        }
        self.readers.fetch_add(1, SeqCst);
    }

    fn done_reading(&self) {
        self.readers.fetch_sub(1, SeqCst);
    }
}

/// A reader, a writer that does not wait for long, and a reader.
pub async fn body(mended: bool) {
    let lock = Arc::new(Lock::default());
    lock.read().await;
    let writer = task::spawn({
        let lock = Arc::clone(&lock);
        async move { timeout(3 * MS, lock.write(mended)).await.is_ok() }
    });
    sleep(3 * MS).await;
    lock.done_reading();
    writer.await.unwrap();
    let read = timeout(20 * MS, lock.read()).await;
    assert!(read.is_ok(), "nobody holds the lock, and nobody gets it");
}
