//! A lock and a `select!`. The bug is a futurelock: a future that stands in the
//! line of a fair lock and is not polled any more keeps the lock from all who
//! come after it, the very task that owns the future among them.

use selvedge_model::task::sync::Mutex;
use selvedge_model::time::sleep;
use std::pin::pin;
use std::time::Duration;

/// Adds one under the lock; after a while without it, adds ten.
pub async fn add(value: &Mutex<u32>) {
    let mut patient = pin!(async { *value.lock().await += 1 });
    selvedge_model::select! {
        () = &mut patient => return,
        () = sleep(Duration::from_millis(5)) => {}
    }
    if cfg!(feature = "bugs") {
        // `patient` is still in the line, and nothing polls it.
        *value.lock().await += 10;
    } else {
        patient.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_model::{model, task};
    use std::sync::Arc;

    #[model(engines(shuttle))]
    async fn somebody_always_gets_the_lock() {
        let value = Arc::new(Mutex::new(0));
        let holder = task::spawn({
            let value = Arc::clone(&value);
            async move {
                let _guard = value.lock().await;
                sleep(Duration::from_millis(20)).await;
            }
        });
        add(&value).await;
        holder.await.unwrap();
    }
}
