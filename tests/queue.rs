//! The queue from outside, on real threads and tasks.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use selvedge::nz;
use selvedge::queue::{
    self, Receiver, RecvTimeoutError, SendError, SendTimeoutError, Sender, SenderPanicked,
    TryRecvError, TrySendError,
};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use tokio_test::{assert_pending, assert_ready, task};

const NO_TIME: Duration = Duration::ZERO;

fn config(cases: u32) -> ProptestConfig {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/queue.txt");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        ..ProptestConfig::default()
    }
}

// ---- close, drop, errors ----

#[test]
fn send_after_close_returns_the_value() {
    let (tx, rx) = queue::bounded(nz!(4));
    tx.send("kept".to_owned()).unwrap();
    assert!(rx.close());
    assert!(!tx.close(), "the first close stands");
    assert_eq!(tx.send("late".to_owned()), Err(SendError("late".to_owned())));
    assert_eq!(tx.try_send("late".to_owned()), Err(TrySendError::Closed("late".to_owned())));
    let timed = tx.send_timeout("late".to_owned(), NO_TIME);
    assert_eq!(timed, Err(SendTimeoutError::Closed("late".to_owned())));
    let mut many = VecDeque::from(["a".to_owned(), "b".to_owned()]);
    assert!(tx.send_many(&mut many).is_err());
    assert_eq!(many, ["a", "b"]);
    assert_eq!(rx.recv().unwrap(), "kept");
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed(_))));
}

#[test]
fn close_now_returns_what_was_undelivered_in_order() {
    let (tx, rx) = queue::unbounded();
    (0..1000).for_each(|n| tx.send(n).unwrap());
    assert_eq!(rx.recv().unwrap(), 0);
    assert!(tx.close_now().into_iter().eq(1..1000));
    assert!(rx.recv().is_err());
}

#[test]
fn a_cause_reaches_every_receiver_after_the_last_item() {
    let (tx, rx) = queue::unbounded();
    let other = rx.clone();
    tx.send(1).unwrap();
    tx.close_with(std::io::Error::other("the disk is full"));
    tx.close_with("a later cause that does not count");
    assert_eq!(other.recv().unwrap(), 1);
    for rx in [rx, other] {
        let closed = rx.recv().unwrap_err();
        assert_eq!(closed.to_string(), "the queue was closed: the disk is full");
        assert!(closed.cause().unwrap().is::<std::io::Error>());
    }
}

#[test]
fn a_producer_that_panics_is_not_an_end_of_stream() {
    let (tx, rx) = queue::unbounded();
    let quiet = tx.clone();
    let producer = std::thread::spawn(move || {
        tx.send(1).unwrap();
        panic!("half way");
    });
    assert!(producer.join().is_err());
    assert_eq!(rx.recv().unwrap(), 1);
    drop(quiet);
    let closed = rx.recv().unwrap_err();
    assert!(closed.cause().unwrap().is::<SenderPanicked>());
}

#[test]
fn the_last_receiver_drops_what_is_there_at_once() {
    let (tx, rx) = queue::unbounded();
    let item = Arc::new(());
    tx.send(Arc::clone(&item)).unwrap();
    drop(rx.clone());
    assert_eq!(Arc::strong_count(&item), 2);
    drop(rx);
    assert_eq!(Arc::strong_count(&item), 1, "kept alive by a queue nobody reads");
    assert!(tx.send(item).is_err());
}

fn cause(rx: &Receiver<i32>) -> Option<String> {
    let closed = rx.recv().expect_err("drained");
    closed.cause().map(ToString::to_string)
}

/// Half of a stream is not taken for all of it.
#[test]
fn a_producer_that_has_not_finished_is_not_an_end_of_stream() {
    const ABANDONED: &str = "a producer was dropped before it had finished";
    let (tx, rx) = queue::unbounded();
    let producer = tx.clone().into_producer();
    producer.send(1).unwrap();
    drop(producer);
    tx.send(2).unwrap();
    drop(tx);
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2], "others go on");
    assert_eq!(cause(&rx).as_deref(), Some(ABANDONED));

    // Finished; one of two finished; both; failed; closed before.
    let two = || {
        let (tx, rx) = queue::unbounded::<i32>();
        let producer = tx.into_producer();
        (producer.clone(), producer, rx)
    };
    let (one, other, rx) = two();
    one.finish();
    drop(other);
    assert_eq!(cause(&rx).as_deref(), Some(ABANDONED));
    let (one, other, rx) = two();
    one.finish();
    other.finish();
    assert_eq!(cause(&rx), None);
    let (one, other, rx) = two();
    assert!(one.fail("the disk is full"));
    assert!(!other.fail("the disk is fuller"));
    assert_eq!(cause(&rx).as_deref(), Some("the disk is full"));
    let (one, other, rx) = two();
    one.close();
    drop((one, other));
    assert_eq!(cause(&rx), None);
    // A panic is the graver fault, whichever comes first.
    let (one, other, rx) = two();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _one = one;
        panic!("half way");
    }));
    drop(other);
    assert_eq!(cause(&rx), Some(SenderPanicked.to_string()));
}

/// A task that is cancelled or times out half way has not finished.
#[tokio::test(start_paused = true)]
async fn a_producer_whose_task_is_stopped_has_not_finished() {
    let (tx, rx) = queue::bounded(nz!(1));
    let producer = tx.into_producer();
    let sending = async move {
        for n in 0.. {
            producer.send_async(n).await.unwrap();
        }
        producer.finish();
    };
    tokio::time::timeout(Duration::from_secs(1), sending).await.unwrap_err();
    assert_eq!(rx.recv().ok(), Some(0));
    assert!(cause(&rx).is_some());
}

/// Counts its drops, each of which panics.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        let nth = self.0.fetch_add(1, Ordering::Relaxed);
        panic!("destructor {nth}");
    }
}

/// A queue with three items whose destructors panic.
fn bombs(capacity: Option<NonZeroUsize>) -> (Sender<Bomb>, Receiver<Bomb>, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = capacity.map_or_else(queue::unbounded, queue::bounded);
    for _ in 0..3 {
        assert!(tx.try_send(Bomb(Arc::clone(&dropped))).is_ok());
    }
    (tx, rx, dropped)
}

/// All items are dropped and the first panic surfaces: nothing aborts.
#[test]
fn items_whose_destructors_panic_are_dropped_with_the_last_receiver() {
    for capacity in [None, Some(nz!(3))] {
        let (tx, rx, dropped) = bombs(capacity);
        let panic = catch_unwind(AssertUnwindSafe(|| drop(rx))).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "destructor 0");
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        assert!(tx.is_closed());
    }
}

/// Where the thread is unwinding already, its own panic goes on.
#[test]
fn items_whose_destructors_panic_are_dropped_in_an_unwinding_thread() {
    let (_tx, rx, dropped) = bombs(None);
    let unwinding = catch_unwind(AssertUnwindSafe(|| {
        let _rx = rx;
        panic!("the first");
    }));
    assert_eq!(unwinding.unwrap_err().downcast_ref::<&str>().unwrap(), &"the first");
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
}

/// At most one item is ever in it, so no look may see two.
#[test]
fn a_busy_queue_is_not_said_to_hold_more_than_it_ever_did() {
    let (tx, rx) = queue::bounded(nz!(2));
    let (tx2, rx2) = (tx.clone(), rx.clone());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                tx.try_send(1).unwrap();
                rx.try_recv().unwrap();
            }
        });
        for _ in 0..200_000 {
            let (len, full) = (rx2.len(), tx2.is_full());
            if len > 1 || full {
                done.store(true, Ordering::Relaxed);
                panic!("len {len}, full {full}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_expired_deadline_tries_once() {
    let (tx, rx) = queue::bounded(nz!(1));
    let past = Instant::now();
    tx.send_deadline(1, past).unwrap();
    assert_eq!(tx.send_deadline(2, past), Err(SendTimeoutError::Timeout(2)));
    assert_eq!(rx.recv_deadline(past).unwrap(), 1);
    assert!(matches!(rx.recv_deadline(past), Err(RecvTimeoutError::Timeout)));
    assert!(matches!(rx.recv_timeout(NO_TIME), Err(RecvTimeoutError::Timeout)));
    // A timeout beyond the clock's end is no deadline at all.
    tx.send_timeout(3, Duration::MAX).unwrap();
    assert_eq!(rx.recv_timeout(Duration::MAX).unwrap(), 3);
}

#[test]
fn a_deadline_passes_while_waiting() {
    let (tx, rx) = queue::bounded(nz!(1));
    tx.send(1).unwrap();
    let wait = Duration::from_millis(5);
    let start = Instant::now();
    assert_eq!(tx.send_timeout(2, wait), Err(SendTimeoutError::Timeout(2)));
    assert!(start.elapsed() >= wait);
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(matches!(rx.recv_timeout(wait), Err(RecvTimeoutError::Timeout)));
    assert!(start.elapsed() >= 2 * wait);
}

// ---- sizes ----

#[test]
fn the_largest_capacity_is_not_allocated_up_front() {
    let (tx, rx) = queue::bounded::<[u8; 64]>(NonZeroUsize::MAX);
    for n in 0..1000 {
        tx.send([n as u8; 64]).unwrap();
    }
    assert_eq!(rx.len(), 1000);
    assert_eq!(rx.iter().take(1000).filter(|item| item[0] == 7).count(), 4);
}

#[test]
fn zero_sized_and_huge_items_pass() {
    let (tx, rx) = queue::unbounded();
    (0..1000).for_each(|_| tx.send(()).unwrap());
    assert_eq!(rx.try_iter().count(), 1000);
    let (tx, rx) = queue::bounded(nz!(3));
    tx.send(Box::new([7_u8; 100_000])).unwrap();
    assert_eq!(rx.recv().unwrap()[99_999], 7);
    let (tx, rx) = queue::unbounded();
    tx.send([7_u8; 10_000]).unwrap();
    assert_eq!(rx.recv().unwrap()[9_999], 7);
}

#[test]
fn looks_tell_the_state() {
    let (tx, rx) = queue::bounded(nz!(2));
    assert!(rx.is_empty() && !rx.is_full() && !rx.is_closed());
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    assert_eq!((tx.len(), tx.is_full(), tx.capacity()), (2, true, Some(nz!(2))));
    let more = tx.clone();
    assert_eq!((tx.sender_count(), tx.receiver_count()), (2, 1));
    assert!(more.same_queue(&tx));
    assert_eq!(format!("{rx:?}"), "Receiver { len: 2, capacity: Some(2), closed: false, .. }");
}

// ---- waiting ----

/// CPU time of the calling thread so far.
#[cfg(target_os = "linux")]
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_receiver_uses_no_cpu() {
    let (tx, rx) = queue::bounded::<()>(nz!(1));
    let (starts, started) = std::sync::mpsc::channel();
    let receiver = std::thread::spawn(move || {
        let (cpu, clock) = (cpu_time(), Instant::now());
        starts.send(()).unwrap();
        assert!(rx.recv().is_err());
        (cpu_time() - cpu, clock.elapsed())
    });
    started.recv().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(tx);
    let (cpu, clock) = receiver.join().unwrap();
    assert!(cpu < clock / 10, "{cpu:?} of CPU in {clock:?} of waiting");
}

#[test]
fn one_item_wakes_one_task_and_a_cancelled_one_hands_it_on() {
    let (tx, rx) = queue::unbounded();
    let mut first = task::spawn(rx.recv_async());
    let mut second = task::spawn(rx.recv_async());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    tx.send(7).unwrap();
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken(), "the wake-up was lost with the future");
    assert_eq!(assert_ready!(second.poll()).unwrap(), 7);
}

#[test]
fn a_task_polled_by_another_waker_is_woken_through_the_new_one() {
    let (tx, rx) = queue::unbounded();
    let mut future = rx.recv_async();
    let mut old = task::spawn(());
    let mut new = task::spawn(());
    old.enter(|context, _| assert_pending!(std::pin::pin!(&mut future).poll(context)));
    new.enter(|context, _| assert_pending!(std::pin::pin!(&mut future).poll(context)));
    tx.send(7).unwrap();
    assert!(new.is_woken() && !old.is_woken());
    new.enter(|context, _| assert_ready!(std::pin::pin!(&mut future).poll(context)).unwrap());
}

#[test]
fn a_cancelled_send_gives_the_value_back() {
    let (tx, rx) = queue::bounded(nz!(1));
    tx.send(0).unwrap();
    let mut waiting = task::spawn(tx.send_async(1));
    let mut next = task::spawn(tx.send_async(2));
    assert_pending!(waiting.poll());
    assert_pending!(next.poll());
    assert_eq!(rx.recv().unwrap(), 0);
    assert!(waiting.is_woken() && !next.is_woken());
    assert_eq!(waiting.into_inner().into_value(), Some(1));
    assert!(next.is_woken(), "the room was lost with the future");
    assert_ready!(next.poll()).unwrap();
    assert_eq!(rx.recv().unwrap(), 2);
}

/// What a foreign waker may do in the queue's hands.
struct Foreign {
    /// Used when the waker is dropped.
    on_drop: Option<Sender<u8>>,
    panics: bool,
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        assert!(!self.panics, "a waker that panics");
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(tx) = self.on_drop.take() {
            let _full = tx.try_send(7);
            assert!(tx.len() <= 1);
        }
    }
}

fn foreign(on_drop: Option<Sender<u8>>, panics: bool) -> Waker {
    Waker::from(Arc::new(Foreign { on_drop, panics }))
}

/// Fails instead of hanging when `body` waits for itself.
fn within_time(body: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        body();
        done.send(()).unwrap();
    });
    if ended.recv_timeout(Duration::from_secs(30)).is_err() {
        assert!(thread.is_finished(), "hangs");
    }
    thread.join().unwrap();
}

#[test]
fn a_waker_that_uses_the_queue_when_dropped_finds_it_unlocked() {
    within_time(|| {
        let (tx, rx) = queue::bounded(nz!(1));
        let mut future = Box::pin(rx.recv_async());
        // Displaced in a poll: it owns the last sender, so the queue closes.
        let own = foreign(Some(tx), false);
        assert!(future.as_mut().poll(&mut Context::from_waker(&own)).is_pending());
        drop(own);
        let mut task = task::spawn(future);
        if task.poll().is_pending() {
            assert!(task.is_woken(), "what it did went unnoticed");
        }
        assert!(rx.is_closed());
        // Dropped with a cancelled future, at either end.
        let (tx, rx) = queue::bounded(nz!(1));
        let mut receiving = Box::pin(rx.recv_async());
        let own = foreign(Some(tx.clone()), false);
        assert!(receiving.as_mut().poll(&mut Context::from_waker(&own)).is_pending());
        drop((own, receiving));
        assert_eq!(rx.try_recv().unwrap(), 7);
        tx.send(1).unwrap();
        let mut sending = Box::pin(tx.send_async(2));
        let own = foreign(Some(tx.clone()), false);
        assert!(sending.as_mut().poll(&mut Context::from_waker(&own)).is_pending());
        drop((own, sending));
        assert_eq!(rx.try_recv().unwrap(), 1);
    });
}

#[test]
fn a_waker_that_panics_takes_nobody_with_it() {
    let (tx, rx) = queue::bounded::<u8>(nz!(1));
    let bad = foreign(None, true);
    let mut futures: Vec<_> = (0..3).map(|_| task::spawn(rx.recv_async())).collect();
    {
        let mut first = Box::pin(rx.recv_async());
        assert!(first.as_mut().poll(&mut Context::from_waker(&bad)).is_pending());
        futures.iter_mut().for_each(|future| assert_pending!(future.poll()));
        tx.close();
        assert!(futures.iter().all(|future| future.is_woken()), "close woke only some");
    }
    let (tx, rx) = queue::bounded(nz!(1));
    tx.send(1).unwrap();
    let mut sending = Box::pin(tx.send_async(2));
    assert!(sending.as_mut().poll(&mut Context::from_waker(&bad)).is_pending());
    assert_eq!(rx.recv().unwrap(), 1, "the item went with the waker");
}

#[test]
fn a_panic_inside_leaves_the_queue_usable() {
    within_time(|| {
        let (tx, rx) = queue::unbounded();
        tx.send(()).unwrap();
        let mut full = vec![(); usize::MAX];
        let overflow = AssertUnwindSafe(|| rx.recv_many(&mut full, nz!(8)));
        assert!(catch_unwind(overflow).is_err(), "a vector cannot hold more");
        assert_eq!(rx.try_recv().ok(), Some(()));
    });
}

#[test]
fn ten_thousand_cancelled_waiters_leave_nothing() {
    let (tx, rx) = queue::unbounded();
    let mut waiters: Vec<_> = (0..10_000).map(|_| task::spawn(rx.recv_async())).collect();
    waiters.iter_mut().for_each(|waiter| assert_pending!(waiter.poll()));
    let last = waiters.pop();
    drop(waiters);
    tx.send(1).unwrap();
    assert_eq!(assert_ready!(last.unwrap().poll()).unwrap(), 1);
}

#[tokio::test]
async fn threads_and_tasks_share_a_queue() {
    let (tx, rx) = queue::bounded(nz!(2));
    let thread = std::thread::spawn({
        let tx = tx.clone();
        move || (0..500).for_each(|n| tx.send(n).unwrap())
    });
    let task = tokio::spawn(async move {
        for n in 500..1000 {
            tx.send_async(n).await.unwrap();
        }
    });
    let mut batch = Vec::new();
    while rx.recv_many_async(&mut batch, nz!(7)).await.is_ok() {}
    task.await.unwrap();
    thread.join().unwrap();
    batch.sort_unstable();
    assert!(batch.into_iter().eq(0..1000));
}

#[tokio::test]
async fn a_stream_ends_when_the_queue_does() {
    use std::future::poll_fn;
    let (tx, rx) = queue::unbounded();
    tx.send_many(&mut (0..5).collect()).unwrap();
    drop(tx);
    let mut stream = rx.into_stream();
    let mut seen = Vec::new();
    while let Some(n) =
        poll_fn(|cx| futures_core::Stream::poll_next(std::pin::pin!(&mut stream), cx)).await
    {
        seen.push(n);
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

// ---- properties ----

#[derive(Debug, Clone)]
enum Op {
    Send,
    SendMany(usize),
    /// A future that is polled once and dropped.
    SendAsync,
    Recv,
    RecvMany(usize),
    RecvAsync,
    Close,
    CloseNow,
    CloneBoth,
    DropSender,
    DropReceiver,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => Just(Op::Send),
        3 => (0..5_usize).prop_map(Op::SendMany),
        4 => Just(Op::SendAsync),
        6 => Just(Op::Recv),
        3 => (1..5_usize).prop_map(Op::RecvMany),
        4 => Just(Op::RecvAsync),
        1 => Just(Op::Close),
        1 => Just(Op::CloseNow),
        1 => Just(Op::CloneBoth),
        1 => Just(Op::DropSender),
        1 => Just(Op::DropReceiver),
    ];
    prop::collection::vec(op, 0..60)
}

/// What the queue should be: a `VecDeque`, a bound and a flag.
struct Oracle {
    items: VecDeque<usize>,
    capacity: usize,
    closed: bool,
}

impl Oracle {
    fn room(&self) -> usize {
        self.capacity - self.items.len()
    }
}

proptest! {
    #![proptest_config(config(512))]

    /// One thread, any operations: every answer is the oracle's, and every
    /// item is dropped once.
    #[test]
    fn agrees_with_a_deque(capacity in prop::option::of(1..5_usize), ops in ops()) {
        let witness = Arc::new(());
        let item = |n: usize| (n, Arc::clone(&witness));
        let (tx, rx) = match capacity {
            Some(n) => queue::bounded(NonZeroUsize::new(n).unwrap()),
            None => queue::unbounded(),
        };
        let mut oracle = Oracle {
            items: VecDeque::new(),
            capacity: capacity.unwrap_or(usize::MAX),
            closed: false,
        };
        let (mut senders, mut receivers) = (vec![tx], vec![rx]);
        let mut next = 0..;
        for op in ops {
            let (Some(tx), Some(rx)) = (senders.last(), receivers.last()) else { break };
            match op {
                Op::Send => {
                    let n = next.next().unwrap();
                    let result = tx.try_send(item(n)).map_err(|error| match error {
                        TrySendError::Full(back) => (back.0, false),
                        TrySendError::Closed(back) => (back.0, true),
                    });
                    let expected = match () {
                        () if oracle.closed => Err((n, true)),
                        () if oracle.room() == 0 => Err((n, false)),
                        () => { oracle.items.push_back(n); Ok(()) }
                    };
                    prop_assert_eq!(result, expected);
                }
                Op::SendMany(count) => {
                    let batch: Vec<usize> = next.by_ref().take(count).collect();
                    let mut items: VecDeque<_> = batch.iter().copied().map(item).collect();
                    let sent = tx.try_send_many(&mut items).ok();
                    let fits = count.min(oracle.room());
                    prop_assert_eq!(sent, (!oracle.closed).then_some(fits));
                    let left = if oracle.closed { count } else { count - fits };
                    prop_assert_eq!(items.len(), left);
                    oracle.items.extend(&batch[..count - left]);
                }
                Op::SendAsync => {
                    let n = next.next().unwrap();
                    let mut future = task::spawn(tx.send_async(item(n)));
                    match future.poll() {
                        std::task::Poll::Ready(Ok(())) => {
                            prop_assert!(!oracle.closed && oracle.room() > 0);
                            oracle.items.push_back(n);
                        }
                        std::task::Poll::Ready(Err(SendError(back))) => {
                            prop_assert!(oracle.closed);
                            prop_assert_eq!(back.0, n);
                        }
                        std::task::Poll::Pending => {
                            prop_assert!(!oracle.closed && oracle.room() == 0);
                            prop_assert_eq!(future.into_inner().into_value().unwrap().0, n);
                        }
                    }
                }
                Op::Recv | Op::RecvMany(_) | Op::RecvAsync if oracle.items.is_empty() => {
                    let expected_closed = oracle.closed;
                    let closed = match op {
                        Op::Recv => match rx.try_recv() {
                            Err(TryRecvError::Closed(_)) => true,
                            Err(TryRecvError::Empty) => false,
                            Ok(_) => return Err(TestCaseError::fail("an item from nowhere")),
                        },
                        Op::RecvMany(most) => {
                            let most = NonZeroUsize::new(most).unwrap();
                            matches!(rx.try_recv_many(&mut Vec::new(), most), Err(TryRecvError::Closed(_)))
                        }
                        _ => task::spawn(rx.recv_async()).poll().is_ready(),
                    };
                    prop_assert_eq!(closed, expected_closed);
                }
                Op::Recv => prop_assert_eq!(rx.try_recv().unwrap().0, oracle.items.pop_front().unwrap()),
                Op::RecvMany(most) => {
                    let mut batch = Vec::new();
                    let count = rx.try_recv_many(&mut batch, NonZeroUsize::new(most).unwrap()).unwrap();
                    prop_assert_eq!(count, most.min(oracle.items.len()));
                    for (n, _) in batch {
                        prop_assert_eq!(n, oracle.items.pop_front().unwrap());
                    }
                }
                Op::RecvAsync => {
                    let received = assert_ready!(task::spawn(rx.recv_async()).poll());
                    prop_assert_eq!(received.unwrap().0, oracle.items.pop_front().unwrap());
                }
                Op::Close => {
                    prop_assert_eq!(tx.close(), !oracle.closed);
                    oracle.closed = true;
                }
                Op::CloseNow => {
                    let taken: Vec<usize> = rx.close_now().into_iter().map(|item| item.0).collect();
                    prop_assert_eq!(taken, oracle.items.drain(..).collect::<Vec<_>>());
                    oracle.closed = true;
                }
                Op::CloneBoth => {
                    let both = (tx.clone(), rx.clone());
                    senders.push(both.0);
                    receivers.push(both.1);
                }
                Op::DropSender => {
                    senders.pop();
                    oracle.closed |= senders.is_empty();
                }
                Op::DropReceiver => {
                    receivers.pop();
                }
            }
            if let Some(tx) = senders.last() {
                let gone = receivers.is_empty();
                prop_assert_eq!(tx.is_closed(), oracle.closed || gone);
                prop_assert_eq!(tx.len(), if gone { 0 } else { oracle.items.len() });
            }
        }
        // With one end gone what is left is with the other, or dropped.
        if let Some(rx) = receivers.last() {
            let rest: Vec<usize> = rx.try_iter().map(|item| item.0).collect();
            prop_assert_eq!(rest, Vec::from(oracle.items));
        }
        drop((senders, receivers));
        prop_assert_eq!(Arc::strong_count(&witness), 1);
    }
}

/// How a consumer takes items.
#[derive(Debug, Clone, Copy)]
enum Taking {
    One,
    Many(usize),
    Timed,
    Task,
}

fn taking() -> impl Strategy<Value = Taking> {
    prop_oneof![
        Just(Taking::One),
        (1..40_usize).prop_map(Taking::Many),
        Just(Taking::Timed),
        Just(Taking::Task),
    ]
}

/// Takes until the queue ends.
fn consume(rx: &Receiver<(usize, usize)>, taking: Taking) -> Vec<(usize, usize)> {
    let mut seen = Vec::new();
    loop {
        let ended = match taking {
            Taking::One => rx.recv().map(|item| seen.push(item)).is_err(),
            Taking::Many(most) => {
                rx.recv_many(&mut seen, NonZeroUsize::new(most).unwrap()).is_err()
            }
            Taking::Timed => match rx.recv_timeout(Duration::from_micros(20)) {
                Ok(item) => {
                    seen.push(item);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Closed(_)) => true,
            },
            Taking::Task => {
                tokio_test::block_on(rx.recv_async()).map(|item| seen.push(item)).is_err()
            }
        };
        if ended {
            return seen;
        }
    }
}

/// Sends `count` items, counted, and says how many were sent before a close.
fn produce(tx: &Sender<(usize, usize)>, who: usize, count: usize, many: bool) -> usize {
    if many {
        let mut items: VecDeque<_> = (0..count).map(|n| (who, n)).collect();
        let _closed = tx.send_many(&mut items);
        return count - items.len();
    }
    (0..count).find(|n| tx.send((who, *n)).is_err()).unwrap_or(count)
}

proptest! {
    #![proptest_config(config(64))]

    /// Real threads, any mix of ends, closed at some point: what was sent and
    /// what was received or taken back are the same items, and each consumer
    /// sees each producer's items in order.
    #[test]
    fn conserves_across_threads(
        capacity in prop::option::of(1..40_usize),
        producers in prop::collection::vec((0..400_usize, any::<bool>()), 1..4),
        consumers in prop::collection::vec(taking(), 1..4),
        close_after in prop::option::of(0..400_usize),
    ) {
        let (tx, rx) = match capacity {
            Some(n) => queue::bounded(NonZeroUsize::new(n).unwrap()),
            None => queue::unbounded(),
        };
        let (sent, seen, taken) = std::thread::scope(|scope| {
            let sending: Vec<_> = producers.iter().enumerate().map(|(who, &(count, many))| {
                let tx = tx.clone();
                scope.spawn(move || produce(&tx, who, count, many))
            }).collect();
            let taking: Vec<_> = consumers.iter().map(|&taking| {
                let rx = rx.clone();
                scope.spawn(move || consume(&rx, taking))
            }).collect();
            drop(tx);
            // Closing takes part at a point that depends on progress.
            let mut taken = Vec::new();
            if let Some(after) = close_after {
                let mut batch = Vec::new();
                while batch.len() < after && rx.recv_many(&mut batch, nz!(3)).is_ok() {}
                taken.extend(batch);
                taken.extend(rx.close_now());
            }
            drop(rx);
            let sent: Vec<usize> = sending.into_iter().map(|thread| thread.join().unwrap()).collect();
            let seen: Vec<_> = taking.into_iter().map(|thread| thread.join().unwrap()).collect();
            (sent, seen, taken)
        });
        for taker in seen.iter().chain([&taken]) {
            for who in 0..sent.len() {
                let mine: Vec<usize> = taker.iter().filter(|item| item.0 == who).map(|item| item.1).collect();
                prop_assert!(mine.is_sorted(), "producer {} out of order: {:?}", who, mine);
            }
        }
        let mut all: Vec<(usize, usize)> = seen.into_iter().flatten().chain(taken).collect();
        all.sort_unstable();
        let expected: Vec<_> = sent.iter().enumerate().flat_map(|(who, &count)| (0..count).map(move |n| (who, n))).collect();
        prop_assert_eq!(all, expected);
    }
}
