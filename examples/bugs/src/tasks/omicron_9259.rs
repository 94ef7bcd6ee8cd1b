//! A futurelock. (omicron#9259, Oxide's RFD 609.)
//!
//! A task waits for a lock and does something else when that takes long.
//!
//! **The bug.** The future that waits for the lock is kept and not polled. The
//! lock is fair: it is handed to that future, which does not run, and the task
//! itself waits for the lock behind it.
//!
//! **Mended.** The future is dropped before the lock is asked for again.

use selvedge_model::task::{self, sync::Mutex};
use selvedge_model::time::sleep;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// One holds the lock for long, one does not wait so long.
pub async fn body(mended: bool) {
    let ms = Duration::from_millis(1);
    let value = Arc::new(Mutex::new(0));
    let holder = task::spawn({
        let value = Arc::clone(&value);
        async move {
            let _guard = value.lock().await;
            sleep(10 * ms).await;
        }
    });
    let mut patient = pin!(async { *value.lock().await += 1 });
    let done = tokio::select! {
        biased;
        () = &mut patient => true,
        () = sleep(5 * ms) => false,
    };
    if !done {
        if mended {
            patient.await;
        }
        *value.lock().await += 10;
    }
    holder.await.unwrap();
}
