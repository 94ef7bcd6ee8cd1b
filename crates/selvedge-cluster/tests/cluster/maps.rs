//! The maps.

use crate::support::{Server, Worker};
use selvedge::nz;
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::Fault;
use std::cell::Cell;
use std::time::Duration;

#[test]
fn a_map_over_three_workers_executes_each_task_once() {
    let Some(server) = Server::start() else { return };
    let _workers = Worker::many(&server.url(), 3);
    // A lease that does not end under us, however loaded the machine is.
    let lease = Duration::from_secs(30);
    let cluster = server.builder().lease(lease).workers(3).connect().expect("a cluster");
    let squares = cluster.map(|n: u64| n * n, 0..10_000).expect("values");
    assert!(squares.iter().enumerate().all(|(at, square)| *square == (at * at) as u64));
    assert_eq!((squares.len(), cluster.executed()), (10_000, 10_000));
    let seen = cluster.workers();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|worker| worker.same_build && worker.slots == 1));
}

#[test]
fn a_crash_costs_one_task() {
    let Some(server) = Server::start() else { return };
    let _worker = Worker::start(&server.url());
    let cluster = server.builder().connect().expect("a cluster");
    let ends = cluster.map_outcomes(
        |n: u32| match n {
            7 => std::process::abort(),
            9 => std::process::exit(3),
            11 => panic!("eleven"),
            _ => n,
        },
        0..40,
    );
    for (at, end) in ends.iter().enumerate() {
        assert_eq!((end.index, end.attempt), (at, 1));
        match (at, &end.outcome) {
            (7, outcome) => assert_eq!(*outcome, Outcome::Crashed(Crash::Signal(6))),
            (9, outcome) => assert_eq!(*outcome, Outcome::Crashed(Crash::Exit(3))),
            (11, Outcome::Panicked(panic)) => {
                assert_eq!(panic.message(), "eleven");
                assert!(panic.location().expect("known").contains("maps.rs"));
            }
            (_, outcome) => assert_eq!(*outcome, Outcome::Ok(at as u32)),
        }
    }
    assert_eq!(ends.len(), 40);
}

#[test]
fn a_stream_has_a_hard_window_and_an_endless_source() {
    let Some(server) = Server::start() else { return };
    let _workers = Worker::many(&server.url(), 2);
    let cluster = server.builder().workers(2).connect().expect("a cluster");
    let (pulled, given) = (Cell::new(0_u64), Cell::new(0_u64));
    let source = (0_u64..).inspect(|_| {
        pulled.set(pulled.get() + 1);
        assert!(pulled.get() - given.get() <= 32, "beyond the window");
    });
    for report in cluster.stream(|n: u64| n * 2, source, nz!(32)).take(2_000) {
        assert_eq!(report.outcome, Outcome::Ok(2 * given.get()));
        given.set(given.get() + 1);
    }
    assert_eq!(given.get(), 2_000);
    // The dropped stream took back what had not begun.
    assert_eq!(cluster.map(|n: u8| n, 0..10).expect("values").len(), 10);
}

#[test]
fn a_stream_may_be_awaited() {
    let Some(server) = Server::start() else { return };
    let _worker = Worker::start(&server.url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
    runtime.block_on(async {
        // Connecting from within a runtime is allowed too.
        let cluster = server.builder().connect().expect("a cluster");
        let all = cluster.stream(|n: u32| n + 1, 0..1_000, nz!(64));
        let all: Vec<_> = futures_util::StreamExt::collect(all).await;
        assert!(all.into_iter().map(|report| report.outcome).eq((1..=1_000).map(Outcome::Ok)));
        let report = cluster.submit(|(a, b): (u32, u32)| a + b, (40, 2)).await;
        assert_eq!(report.outcome, Outcome::Ok(42));
    });
}

#[test]
fn submitted_tasks_are_waited_for() {
    let Some(server) = Server::start() else { return };
    let _workers = Worker::many(&server.url(), 2);
    let cluster = server.builder().workers(2).connect().expect("a cluster");
    let tasks: Vec<_> = (0..100_u32).map(|n| cluster.submit(|n: u32| n * n, n)).collect();
    for (n, task) in (0..100_u32).zip(tasks) {
        assert_eq!(task.wait().outcome, Outcome::Ok(n * n));
    }
    let slow = cluster.submit(|()| std::thread::sleep(Duration::from_secs(2)), ());
    let slow = slow.wait_timeout(Duration::from_millis(50)).expect_err("it sleeps");
    assert_eq!(slow.wait().outcome, Outcome::Ok(()));
}

/// Items, results, and whole batches beyond what a message may hold.
#[test]
fn what_is_too_large_for_a_message_goes_through_the_object_store() {
    let Some(server) = Server::start() else { return };
    let _workers = Worker::many(&server.url(), 2);
    let cluster = server.builder().workers(2).largest(8 << 20).connect().expect("a cluster");
    let sizes = [0, 1, 1 << 16, (1 << 20) - 300, 1 << 20, 3 << 20, 5, 7 << 20];
    let items = sizes.map(|size| vec![size as u8 ^ 7; size]);
    let back = cluster.map(|item: Vec<u8>| item, items.clone()).expect("values");
    assert!(back == items, "other bytes came back");
    let grown = cluster.map(|size: usize| vec![1_u8; size], sizes).expect("values");
    assert!(grown.iter().map(Vec::len).eq(sizes));
    let ends = cluster.map_outcomes(|item: Vec<u8>| item.len(), [vec![0; 9 << 20], vec![0; 9]]);
    let Outcome::Err(Fault::Encode(why)) = &ends[0].outcome else { panic!("{:?}", ends[0]) };
    assert!(why.contains("takes 8388608 at most"), "{why}");
    assert_eq!(ends[1].outcome, Outcome::Ok(9));
}

#[test]
fn a_worker_is_drained_by_sigterm() {
    let Some(server) = Server::start() else { return };
    let mut first = Worker::start(&server.url());
    let cluster =
        server.builder().lease(Duration::from_secs(5)).batch(nz!(1)).connect().expect("a cluster");
    let slow = |n: u64| {
        std::thread::sleep(Duration::from_millis(30));
        n
    };
    let values = std::thread::scope(|scope| {
        let map = scope.spawn(|| cluster.map(slow, 0..100));
        std::thread::sleep(Duration::from_millis(500));
        let _second = Worker::start(&server.url());
        first.signal(rustix::process::Signal::TERM);
        assert_eq!(first.ended(), Some(0));
        map.join().expect("no panic")
    });
    assert!(values.expect("values").into_iter().eq(0..100));
    assert_eq!(cluster.executed(), 100, "what it had begun was finished, what not was given back");
}
