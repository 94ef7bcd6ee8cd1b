//! Tasks one by one.

use super::codec::{Portable, Records};
use super::error::{Fault, NotShippable};
use super::group::{Delivery, Ended, Group};
use super::handle::Handle;
use super::ordered::by_itself;
use super::pool::Pool;
use super::shell::{Load, Parcel};
use super::ship::{self, Job};
use crate::guard::{self, Surfacing};
use crate::outcome::Outcome;
use crate::rt;
use crate::semaphore::{OwnedPermit, Semaphore};
use crate::swap::future::block_on;
use std::fmt;
use std::sync::Arc;

/// The pool has as many submitted tasks as it takes; here is the item back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Busy<A>(pub A);

// The item is left out, so that `unwrap` and `?` work for every `A`.
impl<A> fmt::Debug for Busy<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy(..)")
    }
}

impl<A> fmt::Display for Busy<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process pool has as many submitted tasks as it takes")
    }
}

impl<A> std::error::Error for Busy<A> {}

impl<C: Send + Sync + 'static> Pool<C> {
    /// Starts `f(item)` in some worker: wait for the handle, or await it.
    ///
    /// Blocks while as many submitted tasks as the pool
    /// [takes](super::Builder::submit_limit) have not ended; that needs nobody
    /// to wait for their handles.
    ///
    /// ```
    /// use selvedge::process::Pool;
    ///
    /// let pool = Pool::builder().build()?;
    /// let task = pool.submit(|(a, b): (u32, u32)| a + b, (40, 2));
    /// assert_eq!(task.wait().into_result()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit<A, R, F>(&self, f: F, item: A) -> Handle<R>
    where
        A: Portable,
        R: Portable,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        self.submit_job(ship::plain(f), item, self.wait_for_a_place())
    }

    /// [`submit`](Self::submit) with the pool's context.
    pub fn submit_with<A, R, F>(&self, f: F, item: A) -> Handle<R>
    where
        A: Portable,
        R: Portable,
        F: Fn(&C, A) -> R + Copy + Send + 'static,
    {
        self.submit_job(ship::with_context(f), item, self.wait_for_a_place())
    }

    /// [`submit`](Self::submit), if it need not wait.
    ///
    /// # Errors
    ///
    /// [`Busy`] with the item.
    ///
    /// ```
    /// use selvedge::{nz, process::{Busy, Pool}};
    ///
    /// let pool = Pool::builder().submit_limit(nz!(1)).build()?;
    /// let forever = pool.submit(|()| loop { std::thread::park() }, ());
    /// assert!(matches!(pool.try_submit(|n: u32| n + 1, 7), Err(Busy(7))));
    /// forever.cancel();
    /// # let _: selvedge::process::Report<()> = forever.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_submit<A, R, F>(&self, f: F, item: A) -> Result<Handle<R>, Busy<A>>
    where
        A: Portable,
        R: Portable,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        self.try_submit_job(ship::plain(f), item)
    }

    /// [`try_submit`](Self::try_submit) with the pool's context.
    ///
    /// # Errors
    ///
    /// [`Busy`] with the item.
    pub fn try_submit_with<A, R, F>(&self, f: F, item: A) -> Result<Handle<R>, Busy<A>>
    where
        A: Portable,
        R: Portable,
        F: Fn(&C, A) -> R + Copy + Send + 'static,
    {
        self.try_submit_job(ship::with_context(f), item)
    }

    /// [`submit`](Self::submit) that waits for its turn without blocking the
    /// thread. The turns of both are in one line, first come, first served.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has submitted nothing, and the item is
    /// dropped with it.
    pub async fn submit_async<A, R, F>(&self, f: F, item: A) -> Handle<R>
    where
        A: Portable,
        R: Portable,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let place = self.a_place().await;
        self.submit_job(ship::plain(f), item, place)
    }

    /// [`submit_async`](Self::submit_async) with the pool's context.
    ///
    /// # Cancel safety
    ///
    /// As [`submit_async`](Self::submit_async).
    pub async fn submit_async_with<A, R, F>(&self, f: F, item: A) -> Handle<R>
    where
        A: Portable,
        R: Portable,
        F: Fn(&C, A) -> R + Copy + Send + 'static,
    {
        let place = self.a_place().await;
        self.submit_job(ship::with_context(f), item, place)
    }

    /// The semaphore is never closed.
    fn wait_for_a_place(&self) -> Option<OwnedPermit> {
        self.shared.in_its_process().ok()?;
        let places = &self.shared.places;
        match Semaphore::try_acquire_owned(places, 1) {
            Ok(place) => Some(place),
            Err(_) => block_on(Semaphore::acquire_owned(places, 1)).ok(),
        }
    }

    async fn a_place(&self) -> Option<OwnedPermit> {
        self.shared.in_its_process().ok()?;
        rt::holding_the_clock(Semaphore::acquire_owned(&self.shared.places, 1)).await.ok()
    }

    fn try_submit_job<A: Portable, R: Portable>(
        &self,
        job: Result<Job<A, R>, NotShippable>,
        item: A,
    ) -> Result<Handle<R>, Busy<A>> {
        if self.shared.in_its_process().is_err() {
            return Ok(self.submit_job(job, item, None));
        }
        match Semaphore::try_acquire_owned(&self.shared.places, 1) {
            Ok(place) => Ok(self.submit_job(job, item, Some(place))),
            Err(_) => Err(Busy(item)),
        }
    }

    fn submit_job<A: Portable, R: Portable>(
        &self,
        job: Result<Job<A, R>, NotShippable>,
        item: A,
        place: Option<OwnedPermit>,
    ) -> Handle<R> {
        let group = Arc::new(Group::default());
        let item = Surfacing::new(item);
        // Encoding and dropping it run code of others.
        let load = guard::guarded(|| {
            let entry = job.map_err(Fault::NotShippable)?.entry;
            self.shared.in_its_process()?;
            let mut records = Records::default();
            let load = match records.add(&*item) {
                Ok(()) => Load::Records(records.into_bytes()),
                Err(error) => by_itself(&self.shared.stock, &*item, error)?,
            };
            Ok((entry, load))
        });
        let why = match (load, item.end()) {
            (Ok(Ok((entry, load))), Ok(())) => {
                let (own, group) = (Arc::clone(&group), group);
                let parcel = Parcel { index: 0, len: 1, entry, load, group, place };
                let task = self.shared.submit(parcel);
                return Handle::new(Arc::clone(&self.shared), own, Some(task));
            }
            (Ok(Ok(_)), Err(payload)) => Outcome::Panicked(guard::told(payload)),
            (Ok(Err(fault)), _) => Outcome::Err(fault),
            (Err(panic), _) => Outcome::Panicked(panic),
        };
        let ended = Ended::Lost(why);
        group.push(Delivery { index: 0, count: 1, attempt: 0, ended });
        Handle::new(Arc::clone(&self.shared), group, None)
    }
}
