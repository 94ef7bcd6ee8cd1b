//! Sources that block: what is finished is handed out meanwhile.

use super::{Alive, message};
use selvedge::queue;
use selvedge::threads::{Pool, Threads};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;

/// Streams with any workers, windows and chunks, from the default on.
fn setups() -> impl Iterator<Item = Threads<'static>> {
    let sizes = [0, 1, 2, 3, 16];
    sizes.into_iter().flat_map(move |workers| {
        sizes.into_iter().flat_map(move |window| {
            [0, 1, 5].into_iter().map(move |chunk| {
                let mut threads = Threads::new();
                if let Some(workers) = NonZeroUsize::new(workers) {
                    threads = threads.max_workers(workers);
                }
                if let Some(window) = NonZeroUsize::new(window) {
                    threads = threads.window(window);
                }
                NonZeroUsize::new(chunk).map_or(threads, |chunk| threads.chunk(chunk))
            })
        })
    })
}

/// How many pages a crawl sees whose results feed its source.
fn crawl(threads: &Threads<'_>) -> u64 {
    let (tx, rx) = queue::unbounded::<u64>();
    tx.send(1).unwrap();
    let links = |n| if n < 64 { vec![2 * n, 2 * n + 1] } else { vec![] };
    threads.stream(rx.iter(), links, |results| {
        let (mut pages, mut open) = (0, 1);
        for links in results {
            pages += 1;
            open -= 1;
            for link in links {
                open += 1;
                tx.send(link).unwrap();
            }
            if open == 0 {
                tx.close();
            }
        }
        pages
    })
}

#[test]
fn a_crawl_feeds_itself() {
    for threads in setups() {
        assert_eq!(crawl(&threads), 127, "{threads:?}");
    }
}

/// A pool with no helper, or with one that can only pull or only work.
#[test]
fn a_crawl_needs_no_helper() {
    for helpers in 0..4 {
        let pool = Pool::new(helpers, None);
        for threads in setups() {
            assert_eq!(crawl(&threads.on(&pool)), 127, "{threads:?}, {helpers} helpers");
        }
    }
}

#[test]
fn crawls_nest() {
    let pool = Pool::new(3, None);
    let threads = Threads::new().on(&pool).max_workers(selvedge::nz!(2));
    let pages = threads.stream(0..20, |_| crawl(&threads), |pages| pages.sum::<u64>());
    assert_eq!(pages, 20 * 127);
}

/// Each result is received before the next item is sent, though the window and
/// the workers would allow more. So many that the pace is taken several times.
#[test]
fn a_live_source_is_answered_at_once() {
    const ITEMS: u32 = 200;
    for threads in setups() {
        let (tx, rx) = mpsc::channel::<u32>();
        tx.send(0).unwrap();
        let mut tx = Some(tx);
        threads.stream(
            rx,
            |n| n * 2,
            |results| {
                let mut next = 1;
                for result in results {
                    assert_eq!(result, (next - 1) * 2, "{threads:?}");
                    if next == ITEMS {
                        tx = None;
                    } else {
                        tx.as_ref().unwrap().send(next).unwrap();
                        next += 1;
                    }
                }
                assert_eq!(next, ITEMS, "{threads:?}");
            },
        );
    }
}

/// The source goes on only when the item before has been started: nobody
/// waits for a batch to be full. The source is gone when the last one is.
#[test]
fn an_item_is_started_before_the_source_goes_on() {
    for threads in setups() {
        let (started, starts) = mpsc::channel::<u32>();
        let source = (0..200).inspect(move |n| {
            if *n > 0 {
                assert_eq!(starts.recv().unwrap(), n - 1);
            }
        });
        let done = threads.stream(source, |n| started.send(n), |all| all.count());
        assert_eq!(done, 200, "{threads:?}");
    }
}

/// While the caller is at the first item, the next one is pulled and done by
/// others.
#[test]
fn items_meet_from_the_first_one_on() {
    let threads = Threads::new().max_workers(selvedge::nz!(2)).chunk(selvedge::nz!(1));
    for threads in [threads, threads.window(selvedge::nz!(2))] {
        let meeting = std::sync::Barrier::new(2);
        let met = threads.stream(
            0..100,
            |_| meeting.wait().is_leader(),
            |all| all.filter(|leader| *leader).count(),
        );
        assert_eq!(met, 50);
    }
}

/// Its results come first, then its panic, though the source has blocked.
#[test]
fn a_live_source_that_panics_keeps_its_place() {
    for threads in setups() {
        let alive = AtomicI64::new(0);
        let (tx, rx) = mpsc::channel::<u32>();
        let source =
            rx.into_iter().map(|n| if n == 3 { panic_any("dry") } else { (n, Alive::new(&alive)) });
        tx.send(0).unwrap();
        threads.stream(
            source,
            |item| item,
            |mut results| {
                for n in 0..3 {
                    assert_eq!(results.next().map(|(n, _)| n), Some(n), "{threads:?}");
                    tx.send(n + 1).unwrap();
                }
                let caught = catch_unwind(AssertUnwindSafe(|| results.next().is_some()));
                assert_eq!(message(&*caught.unwrap_err()), "dry");
                assert!(results.next().is_none());
            },
        );
        assert_eq!(alive.into_inner(), 0);
    }
}

/// Nothing is started after the results are gone, and the source has returned
/// when the call does.
#[test]
fn an_early_end_waits_for_the_source() {
    for threads in setups() {
        let (tx, rx) = mpsc::channel::<u32>();
        let in_source = AtomicBool::new(false);
        let flag = &in_source;
        let source = std::iter::from_fn(move || {
            flag.store(true, Ordering::SeqCst);
            let item = rx.recv().ok();
            flag.store(false, Ordering::SeqCst);
            item
        });
        tx.send(7).unwrap();
        threads.stream(
            source,
            |n| n,
            move |mut results| {
                assert_eq!(results.next(), Some(7));
                drop(results);
                // What the source waits for.
                drop(tx);
            },
        );
        assert!(!in_source.into_inner(), "{threads:?}");
    }
}

/// So many that they are known to be quick, and are done one by one.
const QUICK: u64 = 5_000;

/// Counts, and may panic at [`QUICK`] and when it is dropped.
struct Counting<'a> {
    next: u64,
    panics: bool,
    _alive: Alive<'a>,
}

impl Iterator for Counting<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let next = self.next;
        if self.panics && next == QUICK {
            panic_any("dry");
        }
        self.next += 1;
        Some(next)
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if self.panics {
            panic_any("gone");
        }
    }
}

/// Whether an item or the source panics, the results before it come first and
/// none after it. The source is gone then, and its destructor's panic, which
/// came second, is not heard.
#[test]
fn a_panic_among_quick_items_keeps_its_place() {
    for threads in setups() {
        for panics in [false, true] {
            let alive = AtomicI64::new(0);
            let source = Counting { next: 0, panics, _alive: Alive::new(&alive) };
            let f = |n| if n == QUICK { panic_any("bad") } else { n };
            threads.stream(source, f, |mut results| {
                for n in 0..QUICK {
                    assert_eq!(results.next(), Some(n), "{threads:?}");
                }
                let caught = catch_unwind(AssertUnwindSafe(|| results.next().is_some()));
                let said = message(&*caught.unwrap_err()).to_owned();
                assert_eq!(said, if panics { "dry" } else { "bad" }, "{threads:?}");
                assert_eq!(results.next(), None, "{threads:?}");
            });
            assert_eq!(alive.into_inner(), 0);
        }
    }
}
