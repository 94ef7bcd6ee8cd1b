//! Every future of the crate, polled after it was ready: a panic that says
//! which one it was, and never an item, a permit or an outcome of others, nor
//! silence. (A [`Cancellation`] is ready for good, and streams end for good.)
//!
//! [`Cancellation`]: selvedge::cancel::Cancellation
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use selvedge::cancel::Token;
use selvedge::nz;
use selvedge::offload::Pool;
use selvedge::queue;
use selvedge::rate::Limiter;
use selvedge::semaphore::Semaphore;
use selvedge::timeout::{free, with_timeout};
use std::future::{Ready, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use support::paused;

const SOON: Duration = Duration::from_millis(5);

/// What the second poll after the end says: `Err` with what it panics with.
async fn again<F: Future>(future: F) -> Result<&'static str, String> {
    let mut future = Box::pin(future);
    future.as_mut().await;
    let polled = poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context).is_ready()));
        Poll::Ready(polled)
    });
    match polled.await {
        Ok(true) => Ok("ready"),
        Ok(false) => Ok("pending"),
        Err(payload) => Err(payload.downcast_ref::<String>().cloned().unwrap_or_else(|| {
            (*payload.downcast_ref::<&'static str>().expect("a text")).to_owned()
        })),
    }
}

fn says(name: &str) -> Result<&'static str, String> {
    Err(format!("`{name}` polled after completion"))
}

#[test]
fn of_the_queue() {
    paused().block_on(async {
        let (tx, rx) = queue::bounded(nz!(2));
        let into = &mut Vec::new();
        assert_eq!(again(tx.send_async(1)).await, says("SendFuture"));
        assert_eq!(again(tx.send_async(2).by_deadline()).await, says("ByDeadline"));
        assert_eq!(again(rx.recv_async()).await, says("RecvFuture"));
        assert_eq!((rx.try_recv().ok(), rx.try_recv().ok()), (Some(2), None));
        tx.send(3).unwrap();
        tx.send(4).unwrap();
        assert_eq!(again(rx.recv_async().by_deadline()).await, says("ByDeadline"));
        assert_eq!(again(rx.recv_many_async(into, nz!(1))).await, says("RecvManyFuture"));
        tx.send(5).unwrap();
        let many = rx.recv_many_async(into, nz!(1)).by_deadline();
        assert_eq!(again(many).await, says("ByDeadline"));
        assert_eq!(*into, [4, 5]);
        // After a deadline too, when there is something by then.
        let late = Box::pin(async {
            let mut late = Box::pin(rx.recv_async().by_deadline());
            let first = with_timeout(&mut late, SOON).await;
            assert!(matches!(first, Ok(Err(queue::RecvTimeoutError::Timeout))), "{first:?}");
            tx.send(6).unwrap();
            again_only(late).await
        });
        assert_eq!(late.await, says("ByDeadline"));
        assert_eq!(rx.try_recv().ok(), Some(6));
        // Closed is an end like another.
        drop(tx);
        assert_eq!(again(rx.recv_async()).await, says("RecvFuture"));
    });
}

/// [`again`], of one that has ended.
async fn again_only<F: Future + Unpin>(mut future: F) -> Result<&'static str, String> {
    let mut ended = false;
    again(poll_fn(move |context| {
        if std::mem::replace(&mut ended, true) {
            std::pin::Pin::new(&mut future).poll(context).map(drop)
        } else {
            Poll::Ready(())
        }
    }))
    .await
}

#[test]
fn of_permits() {
    paused().block_on(async {
        let semaphore = Arc::new(Semaphore::new(2));
        assert_eq!(again(semaphore.acquire()).await, says("Acquire"));
        assert_eq!(again(Semaphore::acquire_owned(&semaphore, 1)).await, says("Acquire"));
        let limiter = Arc::new(Limiter::per_second(nz!(1_000)));
        assert_eq!(again(limiter.acquire(1)).await, says("Acquire"));
        assert_eq!(again(limiter.acquire(1).by_deadline()).await, says("Acquire"));
        assert_eq!(again(limiter.acquire(usize::MAX)).await, says("Acquire"));
        assert_eq!(again(limiter.reserve(1)).await, says("Reserve"));
        assert_eq!(again(Limiter::reserve_owned(&limiter, 1)).await, says("Reserve"));
    });
}

/// A deadline around a future that could be polled again, or that has not
/// ended.
#[test]
fn of_timeouts() {
    paused().block_on(async {
        let in_time = || poll_fn(|_| Poll::Ready(()));
        let never = pending::<()>;
        let token = Token::new();
        assert_eq!(again(with_timeout(in_time(), SOON)).await, says("Timeout"));
        assert_eq!(again(with_timeout(never(), SOON)).await, says("Timeout"));
        let graceful = with_timeout(in_time(), SOON).or_grace(token.clone(), SOON);
        assert_eq!(again(graceful).await, says("Graceful"));
        let graceful = with_timeout(never(), SOON).or_grace(token.clone(), SOON);
        assert_eq!(again(graceful).await, says("Graceful"));
        let detachable = with_timeout(in_time(), SOON).or_detach();
        assert_eq!(again(detachable).await, says("Detachable"));
        assert_eq!(again(with_timeout(never(), SOON).or_detach()).await, says("Detachable"));
        // It is what is inside.
        let inside: Ready<()> = ready(());
        assert!(again(free(inside)).await.unwrap_err().contains("after completion"));
        assert_eq!(again(token.cancelled()).await, Ok("ready"));
    });
}

#[test]
fn of_jobs() {
    paused().block_on(async {
        for pool in [Pool::inline(), Pool::new(nz!(1), 1)] {
            let job = pool.submit(|_| 1).await.unwrap();
            assert_eq!(again(job).await, says("Job"));
            let resumed = again(pool.run(|_| 1)).await.unwrap_err();
            assert!(resumed.contains("after completion"), "{resumed}");
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn of_tasks_in_processes() {
    use selvedge::process::{Handle, Pool};
    use std::pin::Pin;

    let pool = Pool::builder().workers(nz!(1)).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(again(pool.submit(|n: u32| n, 1)).await, says("Handle"));
        // A task that never reached a worker ends as well.
        let refused = pool.submit(|n: Vec<u8>| n.len(), vec![0; 1]);
        assert_eq!(again(refused).await, says("Handle"));
    });
    let ended = || {
        let mut handle: Handle<u32> = pool.submit(|n: u32| n, 1);
        runtime.block_on(async { Pin::new(&mut handle).await.outcome.ok() }).unwrap();
        handle
    };
    let waits: [&dyn Fn(); 2] =
        [&|| drop(ended().wait()), &|| drop(ended().wait_timeout(Duration::from_secs(60)))];
    for wait in waits {
        let payload = catch_unwind(AssertUnwindSafe(wait)).unwrap_err();
        let said = payload.downcast_ref::<&'static str>().expect("a text");
        assert_eq!(*said, "`Handle` waited for after completion");
    }
}
