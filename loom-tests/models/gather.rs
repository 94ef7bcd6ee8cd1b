//! The gather under explored schedules, its lanes being tasks of shuttle's.
//!
//! None of these covers: more than five items, limits above three, tokio's
//! scheduler.

use super::kit::Model;
use selvedge::cancel::Token;
use selvedge::gather::{GatherError, Interrupted, gather, gather_stream};

use selvedge::outcome::Outcome;
use selvedge::rt;
use selvedge::semaphore::Semaphore;
use selvedge::swap::future::block_on;
use selvedge::swap::unmodelled::{AtomicUsize, Ordering};
use selvedge::swap::{Arc, thread};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Counts who is in flight, out of the checker's sight.
#[derive(Default)]
struct Flight {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Flight {
    fn take_off(self: &Arc<Self>) -> InFlight {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

struct InFlight(Arc<Flight>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Three items that yield: one outcome each, in order, and never more than two
/// in flight.
///
/// Does not cover: failures.
#[test]
fn never_more_in_flight_than_limit() {
    let model = Model::new("gather::never_more_in_flight_than_limit");
    model.reaches([1, 2], || {
        let flight = Arc::new(Flight::default());
        let caller = thread::spawn({
            let flight = Arc::clone(&flight);
            move || {
                let items = (0..3).map(move |n| {
                    let flying = flight.take_off();
                    async move {
                        rt::yield_now().await;
                        drop(flying);
                        Ok::<_, ()>(n)
                    }
                });
                block_on(gather(items).limit(selvedge::nz!(2)).try_collect())
            }
        });
        assert_eq!(caller.join().unwrap(), Ok(vec![0, 1, 2]));
        flight.most.load(Ordering::Relaxed)
    });
}

/// The first item fails, the second never ends by itself: when `try_collect`
/// returns, nothing is in flight any more.
///
/// Does not cover: grace.
#[test]
fn fail_fast_joins_the_siblings() {
    let model = Model::new("gather::fail_fast_joins_the_siblings").executions(10_000);
    model.reaches([1, 2, 3], || {
        let flight = Arc::new(Flight::default());
        let caller = thread::spawn({
            let flight = Arc::clone(&flight);
            move || {
                let items = (0..3).map({
                    let flight = Arc::clone(&flight);
                    move |n| {
                        let flying = flight.take_off();
                        async move {
                            let _flying = flying;
                            rt::yield_now().await;
                            if n > 0 {
                                std::future::pending::<()>().await;
                            }
                            Err::<(), _>(n)
                        }
                    }
                });
                let ended = block_on(gather(items).limit(selvedge::nz!(3)).try_collect());
                assert_eq!(flight.now.load(Ordering::Relaxed), 0, "returned before the join");
                ended
            }
        });
        let Err(GatherError::Failed(failure)) = caller.join().unwrap() else {
            panic!("it did not fail");
        };
        assert_eq!((failure.index(), failure.into_outcome()), (0, Outcome::Err(0)));
        flight.most.load(Ordering::Relaxed)
    });
}

/// Cancelled from outside or not: all the values, or the cancellation and
/// nothing in flight; and no outcome of an item is ever the cancellation.
///
/// Does not cover: grace.
#[test]
fn outer_cancellation_is_never_an_element() {
    let model = Model::new("gather::outer_cancellation_is_never_an_element").executions(10_000);
    model.reaches([false, true], || {
        let token = Token::new();
        let flight = Arc::new(Flight::default());
        let caller = thread::spawn({
            let (token, flight) = (token.clone(), Arc::clone(&flight));
            move || {
                let items = (0..2).map({
                    let flight = Arc::clone(&flight);
                    move |n| {
                        let flying = flight.take_off();
                        async move {
                            rt::yield_now().await;
                            drop(flying);
                            Ok::<_, ()>(n)
                        }
                    }
                });
                let ended = block_on(gather(items).limit(selvedge::nz!(2)).token(token).collect());
                assert_eq!(flight.now.load(Ordering::Relaxed), 0, "returned before the join");
                ended
            }
        });
        let canceller = thread::spawn(move || token.cancel_because("enough"));
        canceller.join().unwrap();
        match caller.join().unwrap().map_err(|stopped| stopped.why) {
            Ok(outcomes) => {
                assert_eq!(outcomes.into_vec(), [Outcome::Ok(0), Outcome::Ok(1)]);
                true
            }
            Err(Interrupted::Cancelled(cause)) => {
                assert_eq!(cause.cause(), Some("enough"));
                false
            }
            Err(other) => panic!("{other}"),
        }
    });
}

/// Gives a permit when it is dropped.
struct Alive(Arc<Semaphore>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Dropped after any number of polls, the gather lets go of everything that
/// its items held.
///
/// Does not cover: what they do while they are dropped.
#[test]
fn dropped_gather_leaks_no_permit() {
    let model = Model::new("gather::dropped_gather_leaks_no_permit").executions(10_000);
    model.reaches([false, true], || {
        let semaphore = Arc::new(Semaphore::new(2));
        let lanes = Arc::new(Semaphore::new(0));
        let caller = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            let alive = Alive(Arc::clone(&lanes));
            move || {
                let items = (0..3).map(move |_| {
                    let _held_by_the_source = &alive;
                    let acquire = Semaphore::acquire_owned(&semaphore, 1);
                    async move {
                        let _permit = acquire.await.map_err(drop)?;
                        rt::yield_now().await;
                        Ok::<(), ()>(())
                    }
                });
                let mut collect = pin!(gather(items).limit(selvedge::nz!(2)).collect());
                let mut polls = 0;
                block_on(poll_fn(|context| {
                    polls += 1;
                    let ended = collect.as_mut().poll(context).is_ready();
                    // The second poll comes at any time.
                    context.waker().wake_by_ref();
                    if ended || polls == 2 { Poll::Ready(ended) } else { Poll::Pending }
                }))
            }
        });
        let ended = caller.join().unwrap();
        // All of them come back, or this waits for ever.
        drop(semaphore.acquire_blocking(2).unwrap());
        // The lanes let go, or this never ends.
        lanes.acquire_blocking(1).unwrap().forget();
        ended
    });
}

/// A stream that nobody polls fills its window and no more; then it gives
/// everything, in order.
///
/// Does not cover: windows larger than the limit by more than one.
#[test]
fn stream_runs_ahead_up_to_its_window() {
    let model = Model::new("gather::stream_runs_ahead_up_to_its_window").executions(50_000);
    model.holds(|| {
        let caller = thread::spawn(|| {
            block_on(async {
                let pulled = Arc::new(AtomicUsize::new(0));
                let items = (0..5).map({
                    let pulled = Arc::clone(&pulled);
                    move |n| {
                        pulled.fetch_add(1, Ordering::Relaxed);
                        async move { Ok::<_, ()>(n) }
                    }
                });
                let mut stream =
                    gather(items).limit(selvedge::nz!(1)).window(selvedge::nz!(2)).stream();
                let mut taken = 0;
                while let Some(next) = stream.next().await {
                    assert_eq!(next, Ok((taken, Outcome::Ok(taken))));
                    taken += 1;
                    rt::yield_now().await;
                    assert!(pulled.load(Ordering::Relaxed) <= taken + 2, "beyond the window");
                }
                assert_eq!(taken, 5);
            });
        });
        caller.join().unwrap();
    });
}

/// A source that makes its lanes wait: each of three items arrives, whichever
/// lane waits for it, and the end is told to the lane that stands in line.
///
/// Does not cover: a source that panics.
#[test]
fn slow_source_is_pulled_by_one_lane_at_a_time() {
    struct Slow(rt::Sleep, u32);
    impl futures_core::Stream for Slow {
        type Item = std::future::Ready<Result<u32, ()>>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> Poll<Option<Self::Item>> {
            std::task::ready!(std::pin::Pin::new(&mut self.0).poll(context));
            if self.1 == 3 {
                return Poll::Ready(None);
            }
            self.1 += 1;
            self.0 = rt::sleep_until(rt::now() + std::time::Duration::from_secs(1));
            Poll::Ready(Some(std::future::ready(Ok(self.1))))
        }
    }
    let model =
        Model::new("gather::slow_source_is_pulled_by_one_lane_at_a_time").executions(90_000);
    model.holds(|| {
        let caller = thread::spawn(|| {
            let source = Slow(rt::sleep_until(rt::now()), 0);
            block_on(gather_stream(source).limit(selvedge::nz!(2)).try_collect())
        });
        assert_eq!(caller.join().unwrap(), Ok(vec![1, 2, 3]));
    });
}

/// Slots polled in place are woken from other threads while they are being
/// polled: no wake-up is lost.
///
/// Does not cover: more than one word of the bit map.
#[test]
fn slots_in_place_lose_no_wake_up() {
    let model = Model::new("gather::slots_in_place_lose_no_wake_up");
    model.holds(|| {
        let events = [Token::new(), Token::new()];
        let caller = thread::spawn({
            let events = events.clone();
            move || {
                let items = events.iter().map(async |event| {
                    event.cancelled().await;
                    Ok::<_, ()>(())
                });
                block_on(gather(items).limit(selvedge::nz!(2)).try_collect_in_place())
            }
        });
        let actors = events.map(|event| thread::spawn(move || event.cancel()));
        for actor in actors {
            actor.join().unwrap();
        }
        assert_eq!(caller.join().unwrap(), Ok(vec![(), ()]));
    });
}
