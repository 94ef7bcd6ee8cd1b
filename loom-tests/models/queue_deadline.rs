//! The queue's asynchronous ends under a deadline, on the modelled clock: it
//! may pass at any scheduling point.
//!
//! None of these covers: batches, more than one deadline.

use super::kit::Model;
use selvedge::queue::{self, RecvTimeoutError, SendTimeoutError};
use selvedge::swap::future::block_on;
use selvedge::swap::thread;
use selvedge::timeout::{Deadline, inherit};
use std::time::Duration;

/// Runs `future` as a task that inherited a deadline of a second.
fn inheriting<F: Future>(future: F) -> F::Output {
    block_on(inherit(Some(Deadline::after(Duration::from_secs(1))), future))
}

/// A send by a deadline into a full queue: the value is received, or it comes
/// back, and never both or neither.
///
/// Does not cover: a close.
#[test]
fn late_value_is_sent_or_comes_back() {
    let model = Model::new("queue_deadline::late_value_is_sent_or_comes_back");
    model.reaches([(true, true), (false, false)], || {
        let (tx, rx) = queue::bounded(selvedge::nz!(1));
        let sender = thread::spawn(move || {
            assert_eq!(tx.try_send(1), Ok(()));
            match inheriting(tx.send_async(2).by_deadline()) {
                Ok(()) => true,
                Err(SendTimeoutError::Timeout(2)) => false,
                Err(other) => panic!("{other:?}"),
            }
        });
        let receiver = thread::spawn(move || rx.iter().collect::<Vec<_>>());
        let sent = sender.join().unwrap();
        let received = receiver.join().unwrap();
        assert!(received == [1] || received == [1, 2], "{received:?}");
        (sent, received.len() == 2)
    });
}

/// Of two receivers one gives up at its deadline: the only item goes to one of
/// them, and a wake-up that was meant for the one that gives up reaches the
/// other.
///
/// Does not cover: several that give up.
#[test]
fn late_receiver_hands_its_wake_up_on() {
    let model = Model::new("queue_deadline::late_receiver_hands_its_wake_up_on");
    model.reaches([(Some(7), None), (None, Some(7))], || {
        let (tx, rx) = queue::unbounded();
        let late = thread::spawn({
            let rx = rx.clone();
            move || match inheriting(rx.recv_async().by_deadline()) {
                Ok(value) => {
                    // The other would wait for ever.
                    rx.close();
                    Some(value)
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Closed(closed)) => panic!("{closed}"),
            }
        });
        let patient = thread::spawn(move || block_on(rx.recv_async()).ok());
        let sender = thread::spawn(move || {
            assert_eq!(tx.send(7), Ok(()));
            // Not dropped here: that would close the queue, and wake everybody.
            tx
        });
        let _tx = sender.join().unwrap();
        (late.join().unwrap(), patient.join().unwrap())
    });
}
