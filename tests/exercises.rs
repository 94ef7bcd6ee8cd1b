//! The assertions of the exercises, in the seed's order.
#![cfg(not(loom))]

use selvedge::exercises::{
    Record, SafeCounter, aggregate, concurrent_map, map_threaded, parse, pipeline, square,
    transform,
};
use selvedge::map::Backend;
use selvedge::nz;

/// Exercise 1.
#[test]
fn five_threads_count_to_five_thousand() {
    let cnt = SafeCounter::new();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    cnt.inc().unwrap();
                }
            });
        }
    });
    assert_eq!(cnt.value(), 5000);
    assert_eq!(cnt.inc_by(7), Ok(5007));
}

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
    assert_eq!(
        error.to_string(),
        "no backend is called \"fork\": there is \"thread\", \"process\""
    );
}

/// Exercise 3.
#[test]
fn pipeline_squares_what_passes_through() {
    let mut res = pipeline([1, 2, 3, 4]);
    res.sort_unstable();
    assert_eq!(res, [1, 4, 9, 16]);
    assert_eq!(pipeline([]), []);
    assert!(pipeline(0..1000).is_sorted());
    let overflow = std::panic::catch_unwind(|| pipeline([2, i64::MAX, 3]));
    assert!(overflow.is_err(), "the worker's panic reaches the caller");
}

/// Exercise 4.
#[cfg(target_os = "linux")]
#[test]
fn worker_processes_count_five_primes() {
    use selvedge::exercises::{is_prime, primes_count};
    assert_eq!(primes_count([2, 3, 4, 5, 15, 17, 19]).unwrap(), 5);
    assert_eq!(primes_count([]).unwrap(), 0);
    let first: Vec<u64> = (0..60).filter(|n| is_prime(*n)).collect();
    assert_eq!(first, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]);
    // Squares and products of primes around the bounds of the search.
    for n in [25, 49, 121, 169, 3_215_031_751, 4_294_967_291 * 3, u64::MAX, 0, 1] {
        assert!(!is_prime(n), "{n}");
    }
    assert!(is_prime(4_294_967_291) && is_prime(1_000_000_007));
}

/// Exercise 10, the process backend: the same results, order and errors.
#[cfg(target_os = "linux")]
#[test]
fn concurrent_map_over_processes() {
    use selvedge::map::{Backend::Process, try_concurrent_map};
    assert_eq!(concurrent_map(|x| x * x, [2, 3, 4], Process, None), [4, 9, 16]);
    assert_eq!("process".parse(), Ok(Process));
    assert_eq!(Process.to_string(), "process");
    let both = [Backend::Thread, Process];
    let long = both.map(|backend| concurrent_map(|x: u64| x ^ 5, 0..10_000, backend, Some(nz!(3))));
    assert_eq!(long[0], long[1]);
    let fail = |n: u32| if n % 70 == 69 { Err(n) } else { Ok(n) };
    let errors =
        both.map(|backend| try_concurrent_map(fail, 0..10_000, backend, None).unwrap_err());
    assert_eq!(errors[0], errors[1]);
    assert_eq!(errors[0].to_string(), "item 69: error: 69");
    let panics = both.map(|backend| {
        let map = move || concurrent_map(|n: u32| 12 / (n - 3), 4..9, backend, None);
        assert_eq!(map(), [12, 6, 4, 3, 2]);
        let map = move || concurrent_map(|n: u32| 12 / (n - 3), 3..9, backend, None);
        let payload = std::panic::catch_unwind(map).unwrap_err();
        selvedge::outcome::Panic::from_payload(&*payload)
    });
    assert_eq!(panics[0], panics[1]);
    assert_eq!(panics[0].message(), "attempt to divide by zero");
}

/// Exercise 12.
#[tokio::test]
async fn aggregate_totals_the_doubled_values() {
    let res = aggregate(["a:1", "b:2", "bad", "a:3"]).await;
    assert_eq!(res, [("a".to_owned(), 8), ("b".to_owned(), 4)].into());
    assert_eq!(parse("a:1").await, Some(Record { key: "a".to_owned(), value: 1 }));
    assert_eq!(parse("bad").await, None);
    let record = Record { key: "a".to_owned(), value: -4 };
    assert_eq!(transform(record).await, Record { key: "a".to_owned(), value: -8 });
}
