//! What the attribute's code and the blocks of selvedge stand on; not part of
//! the stable interface.

pub use crate::model::mark;
#[cfg(loom)]
pub use ::loom;
#[cfg(all(feature = "model", not(loom)))]
pub use modelled::*;
#[cfg(all(feature = "model", not(loom)))]
pub use std::thread_local as std_thread_local;

#[cfg(all(feature = "model", not(loom)))]
mod modelled {
    use crate::engine;
    use std::time::{Duration, Instant};

    /// Whether the caller runs inside of a model.
    pub fn inside() -> bool {
        engine::inside()
    }

    /// The time on the clock of the model, inside of one.
    pub fn now() -> Option<Instant> {
        engine::inside().then(|| engine::began() + engine::now())
    }

    /// Parks; whether it was the time that ended it, where that is known: std
    /// does not say.
    #[track_caller]
    pub fn park_timeout(duration: Duration) -> bool {
        if engine::inside() {
            return crate::thread::park_for(Some(duration), std::panic::Location::caller());
        }
        std::thread::park_timeout(duration);
        false
    }

    /// Runs a future on the thread that calls.
    #[cfg(feature = "tokio")]
    #[track_caller]
    pub fn block_on<F: Future>(future: F) -> F::Output {
        use std::sync::Arc;
        use std::task::{Context, Poll, Wake, Waker};

        struct Unpark(std::thread::Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }

        if engine::inside() {
            return crate::task::block_on_modelled(future);
        }
        let mut future = std::pin::pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            std::thread::park();
        }
    }
}
