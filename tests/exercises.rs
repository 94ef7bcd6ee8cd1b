//! The assertions of the exercises, in the seed's order.
#![cfg(not(loom))]

use selvedge::exercises::{
    Record, SafeCounter, aggregate, concurrent_map, map_threaded, parse, square, transform,
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
    assert_eq!(error.to_string(), "no backend is called \"fork\": there is \"thread\"");
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
