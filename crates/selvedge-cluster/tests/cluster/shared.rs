//! One suite over all three backends: the same results, and the same errors.

use crate::support::{Server, Worker};
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::process::Fault;
use selvedge_cluster::map::{Backend, concurrent_map, try_concurrent_map};
use std::panic::catch_unwind;

/// Runs `check` on every backend.
fn over_all(check: impl Fn(&Backend)) {
    let Some(server) = Server::start() else { return };
    let _workers = Worker::many(&server.url(), 3);
    check(&Backend::Thread);
    check(&Backend::Process);
    check(&Backend::Cluster(Box::new(server.builder().workers(3))));
}

/// The assertions of exercise 10.
#[test]
fn exercise_10() {
    over_all(|backend| {
        assert_eq!(concurrent_map(|x: i32| x + 1, [0, 1, 2], backend, Some(nz!(2))), [1, 2, 3]);
        assert_eq!(concurrent_map(|x: i32| x * x, [2, 3, 4], backend, None), [4, 9, 16]);
        let none: Vec<i32> = concurrent_map(|x: i32| x, [], backend, None);
        assert!(none.is_empty());
    });
}

#[test]
fn values_of_every_shape_cross() {
    over_all(|backend| {
        let items = || (0..500_u32).map(|n| (n, "ä".repeat(n as usize % 9), Some(vec![n; 3])));
        let same =
            concurrent_map(|item: (u32, String, Option<Vec<u32>>)| item, items(), backend, None);
        assert!(same.into_iter().eq(items()));
        let bytes = concurrent_map(|n: u32| vec![n as u8; n as usize], 0..300_u32, backend, None);
        assert!(bytes.iter().enumerate().all(|(at, bytes)| *bytes == vec![at as u8; at]));
    });
}

#[test]
fn the_error_of_the_lowest_index() {
    over_all(|backend| {
        let odd = |n: u32| if n.is_multiple_of(2) { Ok(n / 2) } else { Err(format!("{n} is odd")) };
        let halves = try_concurrent_map(odd, [2, 4], backend, None);
        assert_eq!(halves.expect("even"), [1, 2]);
        let failed = try_concurrent_map(odd, [2, 4, 5, 6, 7], backend, Some(nz!(2))).unwrap_err();
        assert_eq!((failed.index, failed.attempt), (2, 1));
        assert_eq!(failed.outcome, Outcome::Err(Fault::Task("5 is odd".to_owned())));
        assert_eq!(failed.to_string(), "item 2: error: 5 is odd");
    });
}

#[test]
fn the_panic_of_the_lowest_index() {
    over_all(|backend| {
        let shy = |n: u32| {
            assert!(n < 3, "{n} is too many");
            n
        };
        let backend = std::panic::AssertUnwindSafe(backend);
        let payload = catch_unwind(|| concurrent_map(shy, 0..9, &backend, None)).unwrap_err();
        assert_eq!(payload.downcast_ref::<String>().expect("text"), "3 is too many");
        let failed = try_concurrent_map(
            |n: u32| if n == 1 { panic!("one") } else { Ok::<_, ()>(n) },
            0..3,
            &backend,
            None,
        );
        let failed = failed.unwrap_err();
        let Outcome::Panicked(panic) = &failed.outcome else { panic!("{failed:?}") };
        assert_eq!((failed.index, panic.message()), (1, "one"));
    });
}
