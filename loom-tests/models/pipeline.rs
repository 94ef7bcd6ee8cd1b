//! Flows under explored schedules, their lanes being tasks of shuttle's and
//! their stages of threads its threads.
//!
//! None of these covers: sources that are read, more than three lines or two
//! stages, bounds above two.

use super::kit::Model;
use selvedge::cancel::Token;
use selvedge::pipeline::{Bound, Error, Flow, Reason, Report, Stopped};
use selvedge::rt;
use selvedge::swap::future::block_on;
use selvedge::swap::unmodelled::{AtomicUsize, Ordering};
use selvedge::swap::{Arc, thread};
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Mutex as Unseen;
use std::task::Poll;
use std::time::Duration;

fn model(name: &'static str) -> Model {
    Model::new(name).executions(4_000)
}

/// Counts what is alive or at work, out of the checker's sight.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

struct One(Alive);

impl Alive {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(self.clone())
    }
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// PCT puts whoever yields last: a canceller that never does comes too early
/// whenever something else has yielded.
fn later() {
    for _ in 0..2 {
        thread::yield_now();
    }
}

/// Two lanes, and room for one line in front of them.
fn two() -> Bound {
    Bound::new(selvedge::nz!(2)).waiting(selvedge::nz!(1))
}

fn number(line: &str) -> Result<usize, Reason> {
    line.parse().map_err(|_| Reason::NotANumber)
}

/// The lines "0", "1", "2" through a stage that yields at each of them.
fn yielding(alive: &Alive) -> Flow<usize> {
    let alive = alive.clone();
    Flow::lines("lines", ["0", "1", "2"]).tasks("yield", two(), move |line| {
        let one = alive.one();
        async move {
            let _one = one;
            rt::yield_now().await;
            number(&line)
        }
    })
}

/// All numbers as they are folded, each of which must be the next.
async fn in_order(flow: Flow<usize>) -> Result<Report<usize>, Error> {
    let next = |next: &mut usize, n| {
        assert_eq!(n, *next, "out of order");
        *next += 1;
        Ok(())
    };
    flow.fold(0, next).await
}

fn on_an_actor<O: Send + 'static>(
    actor: impl FnOnce() -> O + Send + 'static,
) -> thread::JoinHandle<O> {
    thread::spawn(actor)
}

/// Three lines on two lanes: whichever is done first, each is folded once, in
/// the order of the source, and no lane is alive after.
///
/// Does not cover: a second stage.
#[test]
fn every_line_is_folded_once_and_in_order() {
    let orders = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0]].map(Vec::from);
    model("pipeline::every_line_is_folded_once_and_in_order").reaches(orders, || {
        let caller = on_an_actor(|| {
            let (alive, done) = (Alive::default(), Arc::new(Unseen::new(Vec::new())));
            let log = Arc::clone(&done);
            let held = alive.clone();
            let flow = Flow::lines("lines", ["0", "1", "2"]).tasks("log", two(), move |line| {
                let (log, one) = (Arc::clone(&log), held.one());
                async move {
                    let _one = one;
                    rt::yield_now().await;
                    let n = number(&line)?;
                    log.lock().unwrap().push(n);
                    Ok(n)
                }
            });
            let report = block_on(in_order(flow)).unwrap();
            assert_eq!((report.totals, report.read.lines, alive.count()), (3, 3, 0));
            assert_eq!(report.stopped, None);
            std::mem::take(&mut *done.lock().unwrap())
        });
        caller.join().unwrap()
    });
}

/// Two stages with room for one line each, and a window of two: never more
/// than two lines are out, and all arrive though every queue fills up.
///
/// Does not cover: a window that is larger than the queues.
#[test]
fn never_more_lines_are_out_than_the_window() {
    let model = model("pipeline::never_more_lines_are_out_than_the_window");
    model.reaches([1, 2], || {
        let caller = on_an_actor(|| {
            let out = Arc::new(AtomicUsize::new(0));
            let most = Arc::new(AtomicUsize::new(0));
            let source = ["0", "1", "2"].into_iter().inspect({
                let (out, most) = (Arc::clone(&out), Arc::clone(&most));
                move |_| {
                    let now = out.fetch_add(1, Ordering::Relaxed) + 1;
                    most.fetch_max(now, Ordering::Relaxed);
                }
            });
            let one = Bound::new(selvedge::nz!(1)).waiting(selvedge::nz!(1));
            let flow = Flow::lines("lines", source)
                .tasks("first", one, |line| async move { number(&line) })
                .tasks("second", one, |n| async move { Ok(n) })
                .window(selvedge::nz!(2));
            let fold = flow.fold(0, |next, n| {
                assert_eq!(n, *next);
                *next += 1;
                out.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            });
            assert_eq!(block_on(fold).unwrap().totals, 3);
            most.load(Ordering::Relaxed)
        });
        caller.join().unwrap()
    });
}

/// Cancelled at any moment: what was folded is a beginning of the input, it is
/// in the report, and no lane is alive.
///
/// Does not cover: deadlines.
#[test]
fn cancelled_it_has_done_a_beginning() {
    let reached = [(0, true), (1, true), (2, true), (3, true), (3, false)];
    model("pipeline::cancelled_it_has_done_a_beginning").reaches(reached, || {
        let token = Token::new();
        let caller = on_an_actor({
            let token = token.clone();
            move || {
                let alive = Alive::default();
                let report = block_on(in_order(yielding(&alive).token(token))).unwrap();
                assert_eq!(alive.count(), 0, "returned before the join");
                assert_eq!(report.totals as u64, report.read.lines);
                if let Some(Stopped::Cancelled(why)) = &report.stopped {
                    assert_eq!(why.cause(), Some("enough"));
                }
                (report.totals, report.stopped.is_some())
            }
        });
        let canceller = thread::spawn(move || {
            later();
            token.cancel_because("enough")
        });
        canceller.join().unwrap();
        caller.join().unwrap()
    });
}

/// The same with a deadline, which may pass at any step.
///
/// Does not cover: how late that is noticed.
#[test]
fn out_of_time_it_has_done_a_beginning() {
    let model = model("pipeline::out_of_time_it_has_done_a_beginning").shuttle_only();
    model.reaches([(0, true), (1, true), (2, true), (3, true), (3, false)], || {
        let caller = on_an_actor(|| {
            let alive = Alive::default();
            let flow = yielding(&alive).within(Duration::from_secs(1));
            let report = block_on(in_order(flow)).unwrap();
            assert_eq!(alive.count(), 0, "returned before the join");
            assert!(!matches!(report.stopped, Some(Stopped::Cancelled(_))));
            (report.totals, report.stopped.is_some())
        });
        caller.join().unwrap()
    });
}

/// The last two of three lines panic, in either order: the earlier one is
/// reported, the line before it was folded, and no lane is alive.
///
/// Does not cover: panics of the source, of the fold, of destructors.
#[test]
fn the_first_panic_in_order_is_the_one_reported() {
    let model = model("pipeline::the_first_panic_in_order_is_the_one_reported");
    model.reaches([vec![1], vec![1, 2], vec![2, 1]], || {
        let caller = on_an_actor(|| {
            let (alive, panicked) = (Alive::default(), Arc::new(Unseen::new(Vec::new())));
            let (held, log) = (alive.clone(), Arc::clone(&panicked));
            let flow = Flow::lines("lines", ["0", "1", "2"]).tasks("panic", two(), move |line| {
                let (one, log) = (held.one(), Arc::clone(&log));
                async move {
                    let _one = one;
                    rt::yield_now().await;
                    let n = number(&line)?;
                    if n > 0 {
                        log.lock().unwrap().push(n);
                        resume_unwind(Box::new("on purpose"));
                    }
                    Ok(n)
                }
            });
            let mut folded = 0;
            let error = block_on(flow.fold((), |(), n| {
                assert_eq!(n, 0);
                folded += 1;
                Ok(())
            }));
            let Err(Error::Panicked { at, stage, .. }) = error else { panic!("it went well") };
            assert_eq!((at.line, at.offset, stage), (2, 2, Some("panic")));
            assert_eq!((folded, alive.count()), (1, 0));
            std::mem::take(&mut *panicked.lock().unwrap())
        });
        caller.join().unwrap()
    });
}

/// Dropped after any number of polls, it lets go of everything, by itself.
///
/// Does not cover: when.
#[test]
fn dropped_it_lets_go_of_everything() {
    model("pipeline::dropped_it_lets_go_of_everything").reaches([false, true], || {
        let held = std::sync::Arc::new(());
        let caller = on_an_actor({
            let held = std::sync::Arc::clone(&held);
            move || {
                let flow = Flow::lines("lines", ["0", "1"]).tasks("hold", two(), move |line| {
                    let held = std::sync::Arc::clone(&held);
                    async move {
                        let _held = held;
                        rt::yield_now().await;
                        number(&line)
                    }
                });
                let mut run = pin!(in_order(flow));
                let mut polls = 0;
                block_on(poll_fn(|context| {
                    polls += 1;
                    let ended = run.as_mut().poll(context).is_ready();
                    if ended || polls == 3 { Poll::Ready(ended) } else { Poll::Pending }
                }))
            }
        });
        let ended = caller.join().unwrap();
        // The lanes let go, or this never ends.
        while std::sync::Arc::strong_count(&held) > 1 {
            thread::yield_now();
        }
        ended
    });
}

/// A stage of threads in the middle, cancelled at any moment: wherever its
/// thread waits it is told, and it is gone when the run returns.
///
/// Does not cover: its helpers, which are the thread map's.
#[test]
fn cancelled_it_waits_for_its_threads() {
    let model = model("pipeline::cancelled_it_waits_for_its_threads");
    model.reaches([(0, true), (1, true), (2, true), (2, false)], || {
        let token = Token::new();
        let caller = on_an_actor({
            let token = token.clone();
            move || {
                let alive = Alive::default();
                let (held, at_work) = (alive.one(), alive.clone());
                let one = Bound::new(selvedge::nz!(1)).waiting(selvedge::nz!(1));
                let flow = Flow::lines("lines", ["0", "1"]).threads("compute", one, move |line| {
                    let _held = &held;
                    let _one = at_work.one();
                    thread::yield_now();
                    number(&line)
                });
                let flow = flow.tasks("pass", one, |n| async move { Ok(n) }).token(token);
                let report = block_on(in_order(flow)).unwrap();
                assert_eq!(alive.count(), 0, "a thread outlived the run");
                (report.totals, report.stopped.is_some())
            }
        });
        let canceller = thread::spawn(move || {
            later();
            token.cancel()
        });
        canceller.join().unwrap();
        caller.join().unwrap()
    });
}

/// A panic in a stage of threads between two of tasks fails the run at its
/// line; the thread is gone.
///
/// Does not cover: its helpers.
#[test]
fn a_panic_on_a_thread_fails_the_run_at_its_line() {
    model("pipeline::a_panic_on_a_thread_fails_the_run_at_its_line").holds(|| {
        let caller = on_an_actor(|| {
            let alive = Alive::default();
            let held = alive.one();
            let one = Bound::new(selvedge::nz!(1)).waiting(selvedge::nz!(1));
            let flow = Flow::lines("lines", ["0", "1", "2"])
                .tasks("parse", one, |line| async move { number(&line) })
                .threads("panic", one, move |n| {
                    let _held = &held;
                    if n == 1 {
                        resume_unwind(Box::new("on purpose"));
                    }
                    Ok(n)
                });
            let Err(Error::Panicked { at, stage, .. }) = block_on(in_order(flow)) else {
                panic!("it went well")
            };
            assert_eq!((at.line, stage, alive.count()), (2, Some("panic"), 0));
        });
        caller.join().unwrap();
    });
}
