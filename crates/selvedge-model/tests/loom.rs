//! What loom lacks and the facade has.
#![cfg(loom)]

use selvedge_model::sync::atomic::{AtomicU32, Ordering};
use selvedge_model::sync::{Arc, mpsc};
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

#[test]
fn a_scope_waits_for_its_threads_and_lends_them_its_stack() {
    Model::new("scope").reaches([3], || {
        let n = AtomicU32::new(0);
        let got = thread::scope(|scope| {
            scope.spawn(|| n.fetch_add(1, Ordering::Relaxed));
            let two = scope.spawn(|| {
                n.fetch_add(1, Ordering::Relaxed);
                1
            });
            two.join().unwrap()
        });
        got + n.load(Ordering::Relaxed)
    });
}

#[test]
fn a_handle_unparks_its_thread() {
    Model::new("unparks").holds(|| {
        let go = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&go);
        let thread = thread::spawn(move || {
            while seen.load(Ordering::Acquire) == 0 {
                thread::park();
            }
        });
        go.store(1, Ordering::Release);
        thread.thread().unpark();
        thread.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "no execution reached reachable!(\"late\")")]
fn a_line_that_no_execution_reaches_is_told() {
    let _ = Model::new("line").reaches_line("early").reaches_line("late").holds(|| {
        let n = Arc::new(AtomicU32::new(0));
        let shared = Arc::clone(&n);
        let thread = thread::spawn(move || shared.store(1, Ordering::Relaxed));
        match n.load(Ordering::Relaxed) {
            0 => selvedge_model::reachable!("early"),
            1 => {}
            _ => selvedge_model::reachable!("late"),
        }
        thread.join().unwrap();
    });
}
