//! The assertions of the exercises, in the seed's order.
#![cfg(not(loom))]

use selvedge::exercises::{concurrent_map, map_threaded, square};
use selvedge::map::Backend;
use selvedge::nz;

/// Exercise 2.
#[test]
fn map_threaded_keeps_the_order() {
    assert_eq!(map_threaded(square, [1, 2, 3], nz!(4)), [1, 4, 9]);
}

/// Exercise 10, the thread backend.
#[test]
fn concurrent_map_over_threads() {
    assert_eq!(concurrent_map(|x| x + 1, [0, 1, 2], Backend::Thread, None), [1, 2, 3]);
    assert_eq!("thread".parse(), Ok(Backend::Thread));
    assert_eq!(Backend::Thread.to_string(), "thread");
    let error = "fork".parse::<Backend>().unwrap_err();
    assert_eq!(error.to_string(), "no backend is called \"fork\": there is \"thread\"");
}
