//! What a gather holds in memory while a million items go through it: a test
//! binary of its own, since it weighs the whole process.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use selvedge::gather::gather;
use selvedge::nz;
use selvedge::outcome::Outcome;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Weighing;

static ALIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to `System`.
unsafe impl GlobalAlloc for Weighing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let alive = ALIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(alive, Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Weighing = Weighing;

/// How much more was alive at one time while `f` ran than before.
fn most_during(f: impl FnOnce()) -> usize {
    let before = ALIVE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    f();
    MOST.load(Ordering::Relaxed) - before
}

async fn item(n: usize) -> Result<usize, ()> {
    if n.is_multiple_of(8) {
        tokio::task::yield_now().await;
    }
    Ok(n)
}

/// One test, since tests beside it would be weighed too.
#[test]
fn a_million_items_take_the_memory_of_the_window() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (items, limit, window, ordered) in [
        (1_000_000, nz!(64), nz!(128), true),
        (100_000, nz!(64), nz!(128), false),
        (100_000, nz!(8), nz!(4096), true),
    ] {
        let most = most_during(|| {
            runtime.block_on(async {
                let whole = gather((0..items).map(item)).limit(limit).window(window);
                let mut stream = if ordered { whole.stream() } else { whole.unordered().stream() };
                let (mut count, mut sum) = (0, 0);
                while let Some(next) = stream.next().await {
                    let Ok((index, Outcome::Ok(value))) = next else { panic!("{next:?}") };
                    assert!(index == value && (!ordered || index == count));
                    count += 1;
                    sum += value;
                }
                assert_eq!((count, sum), (items, items * (items - 1) / 2));
            });
        });
        // A lane is a task of some hundred bytes, a slot of the window a few
        // words.
        let expected = limit.get() * 1024 + window.get() * 64 + 4096;
        println!("limit {limit}, window {window}: {most} bytes");
        assert!(most < expected, "{most} bytes for a limit of {limit} and a window of {window}");
    }
}
