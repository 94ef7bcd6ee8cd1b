//! tokio's own locks, with a step before each operation, and with a name in
//! the report of a deadlock. The types are tokio's wherever a value is held.

#[cfg(not(feature = "model"))]
pub use tokio::sync::{
    AcquireError, Mutex, MutexGuard, Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit,
    TryAcquireError, TryLockError,
};

#[cfg(feature = "model")]
pub use modelled::{Mutex, Notify, Semaphore};
#[cfg(feature = "model")]
pub use tokio::sync::{
    AcquireError, MutexGuard, OwnedSemaphorePermit, SemaphorePermit, TryAcquireError, TryLockError,
};

#[cfg(feature = "model")]
mod modelled {
    use crate::engine::{self, Place, Wait};
    use std::panic::Location;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Poll;
    use tokio::sync as real;

    /// A step, when the future is first polled, and its name while it waits.
    async fn named<F: Future>(op: &'static str, at: Place, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut begun = false;
        std::future::poll_fn(|context| {
            if !engine::inside() {
                return future.as_mut().poll(context);
            }
            if !std::mem::replace(&mut begun, true) {
                step(op, at);
            }
            let polled = future.as_mut().poll(context);
            match polled {
                Poll::Ready(_) => engine::done(at, None, || format!("{op}: done")),
                Poll::Pending => engine::awaits(op, at),
            }
            polled
        })
        .await
    }

    fn step(op: &'static str, at: Place) {
        if engine::inside() {
            engine::step(op, None, Wait::Ready, None, at);
            engine::done(at, None, || op.to_owned());
        }
    }

    /// As [`tokio::sync::Mutex`].
    #[derive(Debug, Default)]
    pub struct Mutex<T: ?Sized>(real::Mutex<T>);

    impl<T> Mutex<T> {
        /// As in tokio.
        pub fn new(value: T) -> Self {
            Self(real::Mutex::new(value))
        }

        /// As in tokio.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> Mutex<T> {
        /// As in tokio.
        #[track_caller]
        pub fn lock(&self) -> impl Future<Output = real::MutexGuard<'_, T>> {
            named("Mutex::lock", Location::caller(), self.0.lock())
        }

        /// As in tokio.
        ///
        /// # Errors
        ///
        /// If the lock is taken.
        #[track_caller]
        pub fn try_lock(&self) -> Result<real::MutexGuard<'_, T>, real::TryLockError> {
            step("Mutex::try_lock", Location::caller());
            self.0.try_lock()
        }

        /// As in tokio.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut()
        }
    }

    /// As [`tokio::sync::Semaphore`].
    #[derive(Debug)]
    pub struct Semaphore(Arc<real::Semaphore>);

    impl Semaphore {
        /// As in tokio.
        pub fn new(permits: usize) -> Self {
            Self(Arc::new(real::Semaphore::new(permits)))
        }

        /// As in tokio.
        #[track_caller]
        pub fn available_permits(&self) -> usize {
            step("Semaphore::available_permits", Location::caller());
            self.0.available_permits()
        }

        /// As in tokio.
        #[track_caller]
        pub fn add_permits(&self, n: usize) {
            step("Semaphore::add_permits", Location::caller());
            self.0.add_permits(n);
        }

        /// As in tokio.
        ///
        /// # Errors
        ///
        /// If the semaphore is closed.
        #[track_caller]
        pub fn acquire(
            &self,
        ) -> impl Future<Output = Result<real::SemaphorePermit<'_>, real::AcquireError>> {
            named("Semaphore::acquire", Location::caller(), self.0.acquire())
        }

        /// As in tokio.
        ///
        /// # Errors
        ///
        /// If the semaphore is closed.
        #[track_caller]
        pub fn acquire_many(
            &self,
            n: u32,
        ) -> impl Future<Output = Result<real::SemaphorePermit<'_>, real::AcquireError>> {
            named("Semaphore::acquire_many", Location::caller(), self.0.acquire_many(n))
        }

        /// As in tokio.
        ///
        /// # Errors
        ///
        /// If the semaphore is closed.
        #[track_caller]
        pub fn acquire_owned(
            self: Arc<Self>,
        ) -> impl Future<Output = Result<real::OwnedSemaphorePermit, real::AcquireError>> {
            let future = Arc::clone(&self.0).acquire_owned();
            named("Semaphore::acquire_owned", Location::caller(), future)
        }

        /// As in tokio.
        ///
        /// # Errors
        ///
        /// If there is no permit, or the semaphore is closed.
        #[track_caller]
        pub fn try_acquire(&self) -> Result<real::SemaphorePermit<'_>, real::TryAcquireError> {
            step("Semaphore::try_acquire", Location::caller());
            self.0.try_acquire()
        }

        /// As in tokio.
        #[track_caller]
        pub fn close(&self) {
            step("Semaphore::close", Location::caller());
            self.0.close();
        }
    }

    /// As [`tokio::sync::Notify`].
    #[derive(Debug, Default)]
    pub struct Notify(real::Notify);

    impl Notify {
        /// As in tokio.
        pub fn new() -> Self {
            Self(real::Notify::new())
        }

        /// As in tokio.
        #[track_caller]
        pub fn notified(&self) -> impl Future<Output = ()> {
            let at = Location::caller();
            // Made now, which is a step: it hears a `notify_waiters` from here on.
            step("Notify::notified", at);
            named("Notify::notified", at, self.0.notified())
        }

        /// As in tokio.
        #[track_caller]
        pub fn notify_one(&self) {
            step("Notify::notify_one", Location::caller());
            self.0.notify_one();
        }

        /// As in tokio.
        #[track_caller]
        pub fn notify_waiters(&self) {
            step("Notify::notify_waiters", Location::caller());
            self.0.notify_waiters();
        }
    }
}
