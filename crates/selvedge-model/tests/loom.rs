//! What loom lacks and the facade has.
#![cfg(loom)]

use selvedge_model::sync::mpsc;
use selvedge_model::{Model, thread};

#[test]
fn channels_deliver_in_order_and_end() {
    Model::new("channel").holds(|| {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            sender.send(1).unwrap();
            sender.send(2).unwrap();
        });
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [1, 2]);
        thread.join().unwrap();
    });
}

#[test]
fn a_bounded_channel_waits_for_room_or_for_nobody() {
    Model::new("room").reaches([Ok(()), Err(mpsc::SendError(2))], || {
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            sender.send(1).unwrap();
            sender.send(2)
        });
        assert_eq!(receiver.recv(), Ok(1));
        drop(receiver);
        thread.join().unwrap()
    });
}

#[test]
fn a_rendezvous_hands_over() {
    Model::new("rendezvous").reaches([(true, Ok(())), (false, Err(mpsc::SendError(1)))], || {
        let (sender, receiver) = mpsc::sync_channel(0);
        let thread = thread::spawn(move || sender.send(1));
        let got = receiver.try_recv().is_ok();
        drop(receiver);
        (got, thread.join().unwrap())
    });
}
