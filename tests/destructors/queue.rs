//! What a queue drops: items that nobody receives, values that waiting senders
//! hold, and the cause of its end. Every item is dropped, and the first panic
//! goes on to whoever dropped what held them.

use super::{Bomb, ended};
use selvedge::nz;
use selvedge::queue::{self, TrySendError};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// An item that is counted when it goes.
struct Counted(Arc<AtomicUsize>, #[expect(dead_code, reason = "held")] Bomb);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counted(count: &Arc<AtomicUsize>) -> Counted {
    Counted(Arc::clone(count), Bomb("item"))
}

/// By the last receiver, or with the queue where a receiver was there till the
/// end; in a thread that goes on and in one that unwinds.
#[test]
fn of_items_that_nobody_receives() {
    for unwinding in [false, true] {
        for capacity in [Some(nz!(4)), None] {
            let count = Arc::new(AtomicUsize::new(0));
            let (tx, rx) = match capacity {
                Some(capacity) => queue::bounded(capacity),
                None => queue::unbounded(),
            };
            for _ in 0..3 {
                assert!(tx.try_send(counted(&count)).is_ok());
            }
            let said = ended(|| {
                let _rx = rx;
                if unwinding {
                    std::panic::panic_any("first");
                }
            });
            assert_eq!(said, Err(if unwinding { "first" } else { "item" }));
            assert_eq!(count.load(Ordering::SeqCst), 3);
            // It is closed, and gives values back.
            let back = tx.try_send(counted(&count));
            let Err(TrySendError::Closed(back)) = back else { panic!("closed") };
            std::mem::forget(back);
        }
    }
}

/// A receiver that stops taking many at a time keeps what it has; the rest is
/// there for the next.
#[test]
fn of_items_taken_many_at_a_time() {
    let (tx, rx) = queue::unbounded();
    tx.send_many(&mut (0..6).map(|_| Bomb("item")).collect()).unwrap();
    let mut some = Vec::new();
    assert_eq!(rx.recv_many(&mut some, nz!(2)).unwrap(), 2);
    assert!(ended(|| drop(some.pop())).is_err());
    assert!(ended(|| drop(some.pop())).is_err());
    let mut rest: VecDeque<_> = rx.close_now().into();
    assert_eq!(rest.len(), 4);
    assert!(tx.send_many(&mut rest).is_err());
    assert_eq!(rest.into_iter().map(Bomb::disarm).count(), 4);
}

/// A send that gives up drops its value, or gives it back, and leaves the
/// line; the next in it gets the room.
#[test]
fn of_a_sender_that_waits() {
    let (tx, rx) = queue::bounded(nz!(1));
    tx.try_send(Bomb("")).unwrap();
    let context = &mut Context::from_waker(Waker::noop());
    let mut next = pin!(tx.send_async(Bomb("")));
    {
        let mut first = Box::pin(tx.send_async(Bomb("value")));
        let mut second = tx.send_async(Bomb("value"));
        assert!(first.as_mut().poll(context).is_pending());
        assert!(pin!(&mut second).poll(context).is_pending());
        assert!(next.as_mut().poll(context).is_pending());
        assert_eq!(ended(|| drop(first)), Err("value"));
        assert_eq!(second.into_value().map(Bomb::disarm), Some("value"));
    }
    drop(rx.recv().unwrap());
    assert!(next.poll(context).is_ready());
    assert!(rx.recv().is_ok());
}

/// A cause that panics when the last who knows of it goes.
#[test]
fn of_the_cause() {
    #[derive(Debug)]
    struct Cause(#[expect(dead_code, reason = "held")] Bomb);
    impl fmt::Display for Cause {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a cause")
        }
    }
    impl Error for Cause {}
    for items in [0, 1, 2] {
        let (tx, rx) = queue::unbounded();
        for _ in 0..items {
            tx.send(Bomb("item")).unwrap();
        }
        assert!(tx.close_with(Cause(Bomb("cause"))));
        // A second one is dropped by its caller, and the first stands.
        assert_eq!(ended(|| tx.close_with(Cause(Bomb("second")))), Err("second"));
        drop(tx);
        let said = ended(|| drop(rx));
        assert_eq!(said, Err(if items == 0 { "cause" } else { "item" }));
    }
}
