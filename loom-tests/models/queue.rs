//! The queue's promises (`selvedge::queue`).
//!
//! None of these covers more than three actors, capacities above 2, the
//! spinning before a thread parks, or positions near 2^64.

use super::kit::History;
use super::kit::Model;
use super::kit::{Drops, Tracked};
use selvedge::queue::{self, Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError};
use selvedge::swap::Arc;
use selvedge::swap::atomic::{AtomicUsize, Ordering};
use selvedge::swap::future::block_on;
use selvedge::swap::thread::{JoinHandle, spawn};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Polls once with a waker that wakes nobody: a task that is then cancelled.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn drained<T>(rx: &Receiver<T>) -> Vec<T> {
    rx.try_iter().collect()
}

/// Two producers, one consumer: each item arrives once, either first.
#[test]
fn two_producers_one_consumer() {
    let model = Model::new("queue::two_producers_one_consumer");
    two_producers(model, selvedge::nz!(2));
}

/// The same through one slot, where the producers also wait for each other's
/// room. Loom does not end on it.
#[test]
fn two_producers_share_one_slot() {
    let model = Model::new("queue::two_producers_share_one_slot").shuttle_only();
    two_producers(model, selvedge::nz!(1));
}

fn two_producers(model: Model, capacity: NonZeroUsize) {
    model.reaches([[1, 2], [2, 1]], move || {
        let (tx, rx) = queue::bounded(capacity);
        let producers = [1, 2].map(|n| {
            let tx = tx.clone();
            spawn(move || tx.send(n).unwrap())
        });
        drop(tx);
        let consumer = spawn(move || [rx.recv().unwrap(), rx.recv().unwrap()]);
        for producer in producers {
            producer.join().unwrap();
        }
        consumer.join().unwrap()
    });
}

/// One producer, two consumers that both wait: each gets one item.
#[test]
fn two_consumers_share_a_producer() {
    let model = Model::new("queue::two_consumers_share_a_producer").shuttle_only();
    model.reaches([[1, 2], [2, 1]], || {
        let (tx, rx) = queue::bounded(selvedge::nz!(1));
        let consumers = [0, 1].map(|_| {
            let rx = rx.clone();
            spawn(move || rx.recv().unwrap())
        });
        let producer = spawn(move || {
            tx.send(1).unwrap();
            tx.send(2).unwrap();
            tx
        });
        let _tx = producer.join().unwrap();
        consumers.map(|consumer| consumer.join().unwrap())
    });
}

/// One producer, two consumers, of which one waits and one tries: each item
/// goes to one of them, the earlier to the earlier.
#[test]
fn one_producer_two_consumers() {
    let expected = [(1, None), (1, Some(2)), (2, Some(1))];
    Model::new("queue::one_producer_two_consumers").reaches(expected, || {
        let (tx, rx) = queue::unbounded();
        let waits = spawn({
            let rx = rx.clone();
            move || rx.recv().unwrap()
        });
        // The handle lives on: the last one would close the queue.
        let tries = spawn(move || (rx.try_recv().ok(), rx));
        let producer = spawn(move || {
            tx.send(1).unwrap();
            tx.send(2).unwrap();
            tx
        });
        let _tx = producer.join().unwrap();
        (waits.join().unwrap(), tries.join().unwrap().0)
    });
}

/// Through one slot, full and empty at every step: order holds, nobody sleeps
/// through a wake-up, and every item is dropped once.
#[test]
fn one_slot_hands_over_in_order() {
    hand_over("queue::one_slot_hands_over_in_order", 3, || queue::bounded(selvedge::nz!(1)));
}

/// Through two slots, where the ring wraps in the middle.
#[test]
fn ring_wraps_in_order() {
    hand_over("queue::ring_wraps_in_order", 3, || queue::bounded(selvedge::nz!(2)));
}

/// Through a chain of two-slot blocks: a block is freed once, after its last
/// reader and its writer have left it.
#[test]
fn chain_of_blocks_hands_over_in_order() {
    hand_over("queue::chain_of_blocks_hands_over_in_order", 5, queue::unbounded);
}

type Ends<T> = (Sender<T>, Receiver<T>);

fn hand_over(name: &'static str, items: usize, make: fn() -> Ends<Tracked<usize>>) {
    Model::new(name).executions(65_000).holds(move || {
        let drops = Drops::new();
        let (tx, rx) = make();
        let producer = spawn({
            let drops = drops.clone();
            move || (0..items).for_each(|n| tx.send(drops.track(n)).unwrap())
        });
        let consumer = spawn(move || rx.iter().map(|item| item.value).collect::<Vec<_>>());
        producer.join().unwrap();
        assert!(consumer.join().unwrap().into_iter().eq(0..items));
        drops.assert_none_leaked();
    });
}

/// What happened before a send is seen after the receive, and what happened
/// before a close is seen by who learns of it.
#[test]
fn send_and_close_publish() {
    Model::new("queue::send_and_close_publish").holds(|| {
        let (tx, rx) = queue::unbounded();
        let seen = Arc::new(AtomicUsize::new(0));
        let producer = spawn({
            let seen = Arc::clone(&seen);
            move || {
                seen.store(1, Ordering::Relaxed);
                tx.send(()).unwrap();
                seen.store(2, Ordering::Relaxed);
                tx.close();
            }
        });
        let consumer = spawn(move || {
            rx.recv().unwrap();
            assert!(seen.load(Ordering::Relaxed) >= 1);
            rx.recv().unwrap_err();
            assert_eq!(seen.load(Ordering::Relaxed), 2);
        });
        producer.join().unwrap();
        consumer.join().unwrap();
    });
}

/// Close against send: the item is in the queue or back with its sender.
#[test]
fn close_versus_send_conserves() {
    Model::new("queue::close_versus_send_conserves").reaches([(true, 1), (false, 0)], || {
        let (tx, rx) = queue::unbounded();
        let closer = spawn({
            let tx = tx.clone();
            move || assert!(tx.close())
        });
        let sender = spawn(move || tx.send(7).is_ok());
        closer.join().unwrap();
        let sent = sender.join().unwrap();
        (sent, drained(&rx).len())
    });
}

/// `close_now` against sends and a receive: every item is received, returned
/// by `close_now`, or back with its sender; in that order of age.
#[test]
fn close_now_conserves() {
    // (received, taken by close_now, back with the sender)
    let expected = [
        (None, vec![], vec![1, 2]),
        (None, vec![1], vec![2]),
        (None, vec![1, 2], vec![]),
        (Some(1), vec![], vec![2]),
        (Some(1), vec![2], vec![]),
    ];
    Model::new("queue::close_now_conserves").reaches(expected, || {
        let (tx, rx) = queue::unbounded();
        let closer = spawn({
            let tx = tx.clone();
            move || tx.close_now()
        });
        let sender = spawn(move || {
            [1, 2].into_iter().filter_map(|n| tx.send(n).err()).map(|e| e.0).collect()
        });
        // The receiver's handle lives on: the last one would drop the items.
        let receiver = spawn(move || (rx.try_recv().ok(), rx));
        let back: Vec<i32> = sender.join().unwrap();
        let (received, _rx) = receiver.join().unwrap();
        (received, closer.join().unwrap(), back)
    });
}

/// Close wakes every waiting receiver, a thread and a task.
#[test]
fn close_wakes_every_receiver() {
    Model::new("queue::close_wakes_every_receiver").holds(|| {
        let (tx, rx) = queue::bounded::<()>(selvedge::nz!(1));
        let thread = spawn({
            let rx = rx.clone();
            move || rx.recv().unwrap_err()
        });
        let task = spawn(move || block_on(rx.recv_async()).unwrap_err());
        let closer = spawn(move || tx.close_with("no more"));
        assert!(closer.join().unwrap());
        for waiter in [thread, task] {
            assert_eq!(waiter.join().unwrap().cause().unwrap().to_string(), "no more");
        }
    });
}

/// Close wakes every waiting sender and gives each its value back.
#[test]
fn close_wakes_every_sender() {
    Model::new("queue::close_wakes_every_sender").holds(|| {
        let (tx, rx) = queue::bounded(selvedge::nz!(1));
        tx.send(0).unwrap();
        let thread = spawn({
            let tx = tx.clone();
            move || tx.send(1).unwrap_err().0
        });
        let task = spawn(move || block_on(tx.send_async(2)).unwrap_err().0);
        let closer = spawn(move || {
            rx.close();
            rx
        });
        let rx = closer.join().unwrap();
        assert_eq!([thread.join().unwrap(), task.join().unwrap()], [1, 2]);
        assert_eq!(drained(&rx), [0]);
    });
}

/// A receive that is cancelled after it was woken hands the wake-up on: the
/// other receiver gets the item. (A cancelled one that got the item instead
/// sends it again.)
#[test]
fn cancelled_recv_hands_its_wake_up_on() {
    let model = Model::new("queue::cancelled_recv_hands_its_wake_up_on");
    model.reaches([true, false], || {
        let (tx, rx) = queue::unbounded();
        let cancelled = spawn({
            let (tx, rx) = (tx.clone(), rx.clone());
            move || match poll_once(rx.recv_async()) {
                Poll::Ready(item) => {
                    tx.send(item.unwrap()).unwrap();
                    false
                }
                Poll::Pending => true,
            }
        });
        let patient = spawn(move || rx.recv().unwrap());
        let sender = spawn(move || {
            tx.send(7).unwrap();
            tx
        });
        // Kept open until the end: a close would wake the sleeper as well.
        let tx = sender.join().unwrap();
        assert_eq!(patient.join().unwrap(), 7);
        drop(tx);
        cancelled.join().unwrap()
    });
}

/// The same for a stream that is dropped between two items.
#[test]
fn dropped_stream_hands_its_wake_up_on() {
    use futures_core::Stream;
    let model = Model::new("queue::dropped_stream_hands_its_wake_up_on");
    model.holds(|| {
        let (tx, rx) = queue::unbounded();
        let dropped = spawn({
            let (tx, rx) = (tx.clone(), rx.clone());
            move || {
                let mut stream = rx.into_stream();
                let polled = pin!(&mut stream).poll_next(&mut Context::from_waker(Waker::noop()));
                if let Poll::Ready(item) = polled {
                    tx.send(item.unwrap()).unwrap();
                }
            }
        });
        let patient = spawn(move || rx.recv().unwrap());
        let sender = spawn(move || {
            tx.send(7).unwrap();
            tx
        });
        let tx = sender.join().unwrap();
        assert_eq!(patient.join().unwrap(), 7);
        drop(tx);
        dropped.join().unwrap();
    });
}

/// A send that is cancelled after it was woken hands the room on, and its value
/// is back with the caller or in the queue, never both. (A cancelled one that
/// sent instead takes an item out, so that the other has room.)
#[test]
fn cancelled_send_hands_the_room_on() {
    let model = Model::new("queue::cancelled_send_hands_the_room_on");
    model.reaches([true, false], || {
        let (tx, rx) = queue::bounded(selvedge::nz!(1));
        tx.send(0).unwrap();
        let cancelled = spawn({
            let (tx, rx) = (tx.clone(), rx.clone());
            move || {
                let mut future = tx.send_async(1);
                match poll_once(&mut future) {
                    Poll::Ready(sent) => {
                        sent.unwrap();
                        (false, rx.recv().unwrap())
                    }
                    Poll::Pending => (true, future.into_value().unwrap()),
                }
            }
        });
        let patient = spawn(move || tx.send(2).unwrap());
        let receiver = spawn(move || (rx.recv().unwrap(), rx));
        patient.join().unwrap();
        let (was_cancelled, taken) = cancelled.join().unwrap();
        let (received, rx) = receiver.join().unwrap();
        let mut all = drained(&rx);
        all.extend([taken, received]);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        was_cancelled
    });
}

/// A batch wakes as many receivers as it has items.
#[test]
fn send_many_wakes_as_many() {
    Model::new("queue::send_many_wakes_as_many").reaches([[1, 2], [2, 1]], || {
        let (tx, rx) = queue::unbounded();
        let receivers = [0, 1].map(|_| {
            let rx = rx.clone();
            spawn(move || rx.recv().unwrap())
        });
        let sender = spawn(move || {
            tx.send_many(&mut VecDeque::from([1, 2])).unwrap();
            tx
        });
        let tx = sender.join().unwrap();
        let got = receivers.map(|receiver| receiver.join().unwrap());
        drop(tx);
        got
    });
}

/// Taking a batch wakes as many senders as it makes room for.
#[test]
fn recv_many_wakes_as_many() {
    Model::new("queue::recv_many_wakes_as_many").holds(|| {
        let (tx, rx) = queue::bounded(selvedge::nz!(2));
        tx.send(0).unwrap();
        tx.send(0).unwrap();
        let senders = [1, 2].map(|n| {
            let tx = tx.clone();
            spawn(move || tx.send(n).unwrap())
        });
        let receiver = spawn(move || {
            let mut batch = Vec::new();
            assert_eq!(rx.recv_many(&mut batch, selvedge::nz!(2)).unwrap(), 2);
            rx
        });
        let rx = receiver.join().unwrap();
        for sender in senders {
            sender.join().unwrap();
        }
        let mut rest = drained(&rx);
        rest.sort_unstable();
        assert_eq!(rest, [1, 2]);
    });
}

/// The last sender's end closes: a waiting receiver wakes, having had all.
#[test]
fn last_sender_gone_ends_the_receiver() {
    Model::new("queue::last_sender_gone_ends_the_receiver").holds(|| {
        let (tx, rx) = queue::unbounded();
        let senders = [1, 2].map(|n| {
            let tx = tx.clone();
            spawn(move || tx.send(n).unwrap())
        });
        drop(tx);
        let receiver = spawn(move || rx.iter().sum::<i32>());
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(receiver.join().unwrap(), 3);
    });
}

/// A receiver that finds the queue closed, since both senders are gone, sees
/// what each of them did, though neither sent anything.
#[test]
fn gone_senders_show_what_they_did() {
    let model = Model::new("queue::gone_senders_show_what_they_did");
    model.reaches([None, Some([1, 1])], || {
        let (tx, rx) = queue::unbounded::<u8>();
        let (notes, ends) = notes_of_ends([tx.clone(), tx]);
        let receiver = spawn(move || {
            let closed = matches!(rx.try_recv(), Err(TryRecvError::Closed(_)));
            closed.then(|| notes.each_ref().map(|note| note.load(Ordering::Relaxed)))
        });
        for end in ends {
            end.join().unwrap();
        }
        receiver.join().unwrap()
    });
}

/// The same for a sender, when both receivers are gone.
#[test]
fn gone_receivers_show_what_they_did() {
    let model = Model::new("queue::gone_receivers_show_what_they_did");
    model.reaches([None, Some([1, 1])], || {
        let (tx, rx) = queue::unbounded::<u8>();
        let (notes, ends) = notes_of_ends([rx.clone(), rx]);
        let sender = spawn(move || {
            let closed = tx.try_send(0).is_err();
            closed.then(|| notes.each_ref().map(|note| note.load(Ordering::Relaxed)))
        });
        for end in ends {
            end.join().unwrap();
        }
        sender.join().unwrap()
    });
}

/// Threads that each write a note and drop one end of a queue.
fn notes_of_ends<E: Send + 'static>(ends: [E; 2]) -> (Arc<[AtomicUsize; 2]>, [JoinHandle<()>; 2]) {
    let notes = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut at = 0..2;
    let ends = ends.map(|end| {
        let (notes, at) = (Arc::clone(&notes), at.next().unwrap());
        spawn(move || {
            notes[at].store(1, Ordering::Relaxed);
            drop(end);
        })
    });
    (notes, ends)
}

/// A queue that never holds more than one item never says that it does,
/// however busy it is while it is looked at.
#[test]
fn length_is_of_some_moment() {
    let model = Model::new("queue::length_is_of_some_moment");
    model.reaches([(0, false), (1, false)], || {
        let (tx, rx) = queue::bounded(selvedge::nz!(2));
        let looks = spawn({
            let (tx, rx) = (tx.clone(), rx.clone());
            move || (rx.len(), tx.is_full())
        });
        let busy = spawn(move || {
            for n in 0..2 {
                tx.try_send(n).unwrap();
                assert_eq!(rx.try_recv().unwrap(), n);
            }
        });
        busy.join().unwrap();
        looks.join().unwrap()
    });
}

/// A queue that always holds an item is never said to be empty, nor to hold
/// more than there is room for, by a thread that nothing else orders.
#[test]
fn length_stays_within_what_the_queue_held() {
    let model = Model::new("queue::length_stays_within_what_the_queue_held");
    model.reaches([1, 2], || {
        let (tx, rx) = queue::bounded(selvedge::nz!(2));
        tx.try_send(0).unwrap();
        let looks = spawn({
            let rx = rx.clone();
            move || rx.len()
        });
        let busy = spawn(move || {
            for n in 0..2 {
                tx.try_send(n + 1).unwrap();
                assert_eq!(rx.try_recv().unwrap(), n);
            }
            (tx, rx)
        });
        let _ends = busy.join().unwrap();
        looks.join().unwrap()
    });
}

/// The last receiver's end against sends: what it left in the queue is dropped
/// there and then, later values go back, nothing is leaked or dropped twice.
#[test]
fn last_receiver_gone_drops_or_returns() {
    let model = Model::new("queue::last_receiver_gone_drops_or_returns");
    model.reaches([0, 1, 2], || {
        let drops = Drops::new();
        let (tx, rx) = queue::unbounded();
        let receiver = spawn(move || drop(rx));
        let sender = spawn({
            let drops = drops.clone();
            move || {
                let back: Vec<_> = (0..2).filter_map(|n| tx.send(drops.track(n)).err()).collect();
                (back, tx)
            }
        });
        receiver.join().unwrap();
        let (back, tx) = sender.join().unwrap();
        // Also while a sender is still there.
        assert_eq!(drops.alive(), back.len());
        let returned = back.len();
        drop((back, tx));
        drops.assert_none_leaked();
        returned
    });
}

/// A deadline against a send: the item is received, or it is still there.
#[test]
fn recv_timeout_leaves_or_takes() {
    let model = Model::new("queue::recv_timeout_leaves_or_takes").shuttle_only();
    model.reaches([(true, 0), (false, 1)], || {
        let (tx, rx) = queue::unbounded();
        let receiver = spawn(move || {
            let got = match rx.recv_timeout(Duration::from_secs(1)) {
                Ok(_) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Closed(_)) => panic!("nobody closed"),
            };
            (got, rx)
        });
        let sender = spawn(move || {
            tx.send(7).unwrap();
            tx
        });
        let (got, rx) = receiver.join().unwrap();
        let _tx = sender.join().unwrap();
        (got, drained(&rx).len())
    });
}

/// A receiver whose deadline passes while a wake-up is under way to it takes
/// the item or hands the wake-up on: a patient one never sleeps beside an item.
#[test]
fn expired_recv_strands_nobody() {
    let model = Model::new("queue::expired_recv_strands_nobody").shuttle_only();
    model.reaches([true, false], || {
        let (tx, rx) = queue::unbounded();
        let hasty = spawn({
            let (tx, rx) = (tx.clone(), rx.clone());
            move || match rx.recv_timeout(Duration::from_secs(1)) {
                Ok(item) => {
                    tx.send(item).unwrap();
                    true
                }
                Err(_) => false,
            }
        });
        let patient = spawn(move || rx.recv().unwrap());
        let sender = spawn(move || {
            tx.send(7).unwrap();
            tx
        });
        let _tx = sender.join().unwrap();
        assert_eq!(patient.join().unwrap(), 7);
        hasty.join().unwrap()
    });
}

/// A sender's deadline against room being made: sent, or had back.
#[test]
fn send_timeout_sends_or_returns() {
    let model = Model::new("queue::send_timeout_sends_or_returns").shuttle_only();
    model.reaches([vec![0, 1], vec![0]], || {
        let (tx, rx) = queue::bounded(selvedge::nz!(1));
        tx.send(0).unwrap();
        let sender = spawn(move || {
            let back = match tx.send_timeout(1, Duration::from_secs(1)) {
                Ok(()) => None,
                Err(SendTimeoutError::Timeout(value)) => Some(value),
                Err(SendTimeoutError::Closed(_)) => panic!("nobody closed"),
            };
            (back, tx)
        });
        let receiver = spawn(move || {
            let first = rx.recv().unwrap();
            (first, rx)
        });
        let (back, _tx) = sender.join().unwrap();
        let (first, rx) = receiver.join().unwrap();
        let mut seen = vec![first];
        seen.extend(drained(&rx));
        assert_eq!(back.is_none(), seen.len() == 2);
        seen
    });
}

/// Sends and tries, by two threads: linearizable against a `VecDeque`, with
/// sequentially consistent memory (shuttle's). On weakly ordered machines
/// "empty" is as of happens-before only, as the module says.
#[test]
fn linearizable_against_a_deque() {
    #[derive(Debug, Clone, Copy)]
    enum Op {
        Send(u8),
        Recv,
        Close,
    }
    #[derive(Debug, Clone, PartialEq)]
    enum Ret {
        Sent(bool),
        Received(Result<u8, bool>),
        Closed,
    }
    let model = Model::new("queue::linearizable_against_a_deque").shuttle_only();
    model.holds(|| {
        let (tx, rx) = queue::bounded(selvedge::nz!(1));
        let history = History::new();
        let run = |ops: [Op; 3]| {
            let (tx, rx, history) = (tx.clone(), rx.clone(), history.clone());
            spawn(move || {
                for op in ops {
                    history.record(op, || match op {
                        Op::Send(n) => Ret::Sent(tx.try_send(n).is_ok()),
                        Op::Recv => Ret::Received(
                            rx.try_recv().map_err(|error| matches!(error, TryRecvError::Closed(_))),
                        ),
                        Op::Close => {
                            tx.close();
                            Ret::Closed
                        }
                    });
                }
            })
        };
        let left = run([Op::Send(1), Op::Recv, Op::Recv]);
        let right = run([Op::Send(2), Op::Close, Op::Recv]);
        left.join().unwrap();
        right.join().unwrap();
        let linearizable = history.is_linearizable(
            (VecDeque::new(), false),
            |(items, closed): &mut (VecDeque<u8>, bool), op| match op {
                Op::Send(n) => {
                    let fits = !*closed && items.is_empty();
                    if fits {
                        items.push_back(*n);
                    }
                    Ret::Sent(fits)
                }
                Op::Recv => Ret::Received(items.pop_front().ok_or(*closed)),
                Op::Close => {
                    *closed = true;
                    Ret::Closed
                }
            },
        );
        assert!(linearizable, "{history:?}");
    });
}
