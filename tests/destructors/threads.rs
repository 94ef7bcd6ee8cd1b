//! What a map over threads drops: what it was given, what was not done, and
//! what nobody asked for. An error or a panic of an item stays what it is; the
//! panic of what the call was given goes on to the caller.

use super::{Bomb, Payload, bomb, ended};
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::threads::{MapErrorKind, OnError, Results, Threads};
use std::num::NonZeroUsize;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const ITEMS: usize = 20;
const BAD: usize = 9;

/// By one, who is the caller, and by several.
fn by_few_and_many(test: impl Fn(Threads<'_>)) {
    for workers in [1, 3] {
        test(Threads::new().max_workers(NonZeroUsize::new(workers).unwrap()).chunk(nz!(2)));
        test(Threads::new().max_workers(NonZeroUsize::new(workers).unwrap()));
    }
}

/// A source beside a bomb.
struct Source(std::ops::Range<usize>, #[expect(dead_code, reason = "held")] Bomb);

impl Iterator for Source {
    type Item = (usize, Bomb);
    fn next(&mut self) -> Option<(usize, Bomb)> {
        Some((self.0.next()?, Bomb("item")))
    }
}

fn source(armed: bool) -> Source {
    Source(0..ITEMS, bomb(armed, "source"))
}

/// One that is dropped before it has ended.
fn endless(armed: bool) -> Source {
    Source(0..usize::MAX, bomb(armed, "source"))
}

/// A closure beside a bomb, which takes the items and leaves results.
fn closure<R>(armed: bool, then: impl Fn(usize) -> R + Sync) -> impl Fn((usize, Bomb)) -> R + Sync {
    let bomb = bomb(armed, "closure");
    move |(n, item)| {
        let _held = &bomb;
        item.disarm();
        then(n)
    }
}

fn disarm_all(values: impl IntoIterator<Item = Bomb>) -> usize {
    values.into_iter().map(Bomb::disarm).count()
}

/// A body that keeps nothing: what it kept would be its own affair.
fn drained(results: Results<'_, Bomb>) -> Vec<Bomb> {
    results.map(Bomb::disarm).map(|_| Bomb::default()).collect()
}

/// An error wins over whatever is dropped because of it.
#[test]
fn of_a_map_that_ends_at_an_error() {
    by_few_and_many(|threads| {
        for on_error in [OnError::FirstInOrder, OnError::FirstSeen] {
            let threads = threads.on_error(on_error);
            for (of_source, of_closure) in [(false, false), (true, false), (false, true)] {
                let first = ended(|| {
                    let fails = |n| if n >= BAD { Err(Bomb("error")) } else { Ok(Bomb("result")) };
                    threads.try_map(source(of_source), closure(of_closure, fails))
                });
                let error = first.unwrap().unwrap_err();
                if on_error == OnError::FirstInOrder {
                    assert_eq!(error.index, BAD);
                }
                assert_eq!(error.into_error().unwrap().disarm(), "error");

                let panicked = ended(|| {
                    let panics = |n| match n {
                        BAD.. => panic_any(Payload("payload")),
                        _ => Ok::<_, Bomb>(Bomb("result")),
                    };
                    threads.try_map(source(of_source), closure(of_closure, panics))
                });
                let error = panicked.unwrap().unwrap_err();
                assert!(matches!(error.kind, MapErrorKind::Panicked(_)));
            }
        }
    });
}

/// A chunk that is done and not looked at when another item ends everything:
/// the caller fails while a helper's results lie before its own.
#[test]
fn of_a_chunk_before_the_error_that_was_seen_first() {
    let caller = thread::current().id();
    // A helper's item waits for the caller to fail at a later one, which waits
    // in turn until the helper is at its next, which has been pulled by then:
    // its results are in place.
    let (waits_at, next) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (fails, pulled) = (AtomicBool::new(false), AtomicUsize::new(0));
    let source = (1..).inspect(|n| pulled.store(*n, Ordering::SeqCst));
    let threads = Threads::new().max_workers(nz!(2)).chunk(nz!(1)).window(nz!(8));
    let ended = ended(|| {
        threads.on_error(OnError::FirstSeen).try_map(source, |n: usize| {
            if thread::current().id() == caller {
                while waits_at.load(Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
                if !(1..n).contains(&waits_at.load(Ordering::SeqCst))
                    || pulled.load(Ordering::SeqCst) == n
                {
                    return Ok(Bomb("result"));
                }
                fails.store(true, Ordering::SeqCst);
                while !next.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                return Err("the caller's");
            }
            if fails.load(Ordering::SeqCst) {
                next.store(true, Ordering::SeqCst);
            }
            waits_at.store(n, Ordering::SeqCst);
            while !fails.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            Ok(Bomb("result"))
        })
    });
    assert_eq!(ended.unwrap().unwrap_err().into_error(), Some("the caller's"));
}

/// The panic of an item wins as well.
#[test]
fn of_a_map_that_ends_at_a_panic() {
    let panics = |n| if n >= BAD { panic_any("an item's") } else { Bomb("result") };
    let xs: Vec<usize> = (0..ITEMS).collect();
    by_few_and_many(|threads| {
        for (of_source, of_closure) in [(false, false), (true, false), (false, true)] {
            for run in [
                &|| threads.map(source(of_source), closure(of_closure, panics)) as Vec<Bomb>,
                &|| {
                    let bomb = bomb(of_closure, "closure");
                    threads.map_slice(&xs, move |n| (&bomb, panics(*n)).1)
                },
                &|| {
                    let bomb = bomb(of_closure, "closure");
                    threads.map_range(0..ITEMS, move |n| (&bomb, panics(n)).1)
                },
                &|| threads.stream(source(of_source), closure(of_closure, panics), drained),
                &|| {
                    let source = source(of_source);
                    threads.stream_here(source, closure(of_closure, panics), drained)
                },
            ] as [&dyn Fn() -> Vec<Bomb>; 5]
            {
                let ended = ended(|| disarm_all(run()));
                assert_eq!(ended.unwrap_err(), "an item's");
            }
        }
    });
}

/// What the call was given panics out of it, and the results are dropped under
/// guard.
#[test]
fn of_a_map_that_ends_well() {
    let fine = |_| Bomb("result");
    let xs: Vec<usize> = (0..ITEMS).collect();
    by_few_and_many(|threads| {
        for (of_source, of_closure) in [(false, false), (true, false), (false, true)] {
            let named = if of_source { "source" } else { "closure" };
            let runs: [(bool, &dyn Fn() -> Vec<Bomb>); 6] = [
                (true, &|| threads.map(source(of_source), closure(of_closure, fine))),
                (false, &|| {
                    let bomb = bomb(of_closure, "closure");
                    threads.map_slice(&xs, move |n| (&bomb, fine(*n)).1)
                }),
                (false, &|| {
                    let bomb = bomb(of_closure, "closure");
                    threads.map_range(0..ITEMS, move |n| (&bomb, fine(n)).1)
                }),
                (true, &|| {
                    let fine = |n| Ok::<_, ()>(fine(n));
                    threads.try_map(source(of_source), closure(of_closure, fine)).unwrap()
                }),
                (true, &|| threads.stream(source(of_source), closure(of_closure, fine), drained)),
                (true, &|| {
                    let source = source(of_source);
                    threads.stream_here(source, closure(of_closure, fine), drained)
                }),
            ];
            for (pulls, run) in runs {
                let ended = ended(|| disarm_all(run()));
                if of_closure || (of_source && pulls) {
                    assert_eq!(ended, Err(named));
                } else {
                    assert_eq!(ended, Ok(ITEMS));
                }
            }
        }
    });
}

/// An item that panics in the closure's hands is that item's affair.
#[test]
fn of_an_item_in_the_closure() {
    by_few_and_many(|threads| {
        let drops = |(n, item): (usize, Bomb)| {
            if n != BAD {
                item.disarm();
            }
            Ok::<_, ()>(n)
        };
        for (n, outcome) in threads.map_outcomes(source(false), drops).into_iter().enumerate() {
            match outcome {
                Outcome::Ok(value) => assert!(value == n && n != BAD),
                Outcome::Panicked(_) => assert_eq!(n, BAD),
                other => panic!("{other:?}"),
            }
        }
    });
}

/// A stream that is left early returns what its body does.
#[test]
fn of_a_stream_that_is_left_early() {
    let fine = |_| Bomb("result");
    by_few_and_many(|threads| {
        // Few results are dropped.
        let threads = threads.window(nz!(12));
        for (of_source, of_closure) in [(false, false), (true, false), (false, true)] {
            for live in [true, false] {
                let ended = ended(|| {
                    let closure = closure(of_closure, fine);
                    let body = |results: &mut dyn Iterator<Item = Bomb>| {
                        disarm_all(results.take(BAD));
                        Bomb("value")
                    };
                    if live {
                        threads.stream(endless(of_source), closure, |mut all| body(&mut all))
                    } else {
                        threads.stream_here(endless(of_source), closure, |mut all| body(&mut all))
                    }
                });
                match ended {
                    Ok(value) => {
                        assert_eq!((value.disarm(), of_source, of_closure), ("value", false, false))
                    }
                    Err(said) => assert_eq!(said, if of_source { "source" } else { "closure" }),
                }
            }
        }
    });
}

/// A progress hook that panics while results are in the caller's hands.
#[test]
fn of_results_in_hand_when_the_hook_panics() {
    let hook = |done, _| {
        if done > 2 {
            panic_any("the hook's");
        }
    };
    by_few_and_many(|threads| {
        let threads = threads.progress(&hook);
        let fine = |_| Bomb("result");
        let xs: Vec<usize> = (0..ITEMS).collect();
        for run in [
            &|| threads.map(source(false), closure(false, fine)) as Vec<Bomb>,
            &|| threads.map_slice(&xs, |_| Bomb("result")),
            &|| threads.stream(source(false), closure(false, fine), drained),
        ] as [&dyn Fn() -> Vec<Bomb>; 3]
        {
            assert_eq!(ended(|| disarm_all(run())), Err("the hook's"));
        }
    });
}
