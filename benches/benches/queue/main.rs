//! Queues: ours against crossbeam-channel, crossfire, kanal, flume,
//! async-channel and the rtrb floor, in one run.
//!
//! `cargo bench -p selvedge-benches --bench queue [-- --quick]`
#![allow(missing_docs, reason = "a bench")]

mod peers;

use peers::{AsyncPeer, Peer};
use selvedge_benches::{Contest, Effort, Row, markdown, nanos, print_machine, wanted};
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const SHAPES: [(usize, usize); 5] = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 4)];
const CAPACITIES: [Option<usize>; 4] = [Some(1), Some(128), Some(1024), None];

fn main() {
    print_machine();
    let effort = Effort::from_args();
    let blocking = blocking(effort);
    println!();
    if wanted("ping-pong") {
        ping_pong(effort);
    }
    if wanted("recv_timeout") {
        recv_timeout_ready(effort);
    }
    if wanted("batches") {
        batches(effort);
    }
    println!();
    let asynchronous = asynchronous(effort);
    println!("\n{}", markdown(&blocking));
    verdict(&blocking, &asynchronous);
}

/// Nanoseconds a message through `P`, from the moment all threads are ready.
fn transfer<P: Peer>(
    capacity: Option<usize>,
    (producers, consumers): (usize, usize),
    messages: usize,
) -> f64 {
    let (tx, rx) = P::pair(capacity);
    let barrier = Barrier::new(producers + consumers + 1);
    let mut start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..producers {
            let (tx, barrier) = (tx.clone(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..messages / producers {
                    P::send(&tx, n as u64);
                }
            });
        }
        for _ in 0..consumers {
            let (rx, barrier) = (rx.clone(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                while let Some(n) = P::recv(&rx) {
                    std::hint::black_box(n);
                }
            });
        }
        drop((tx, rx));
        barrier.wait();
        start = Instant::now();
    });
    nanos(start.elapsed()) / messages as f64
}

fn blocking(effort: Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    for capacity in CAPACITIES {
        for shape in SHAPES {
            let name = capacity.map_or("unbounded".to_owned(), |n| format!("cap {n}"));
            let title = format!("{name} {}p{}c, ns", shape.0, shape.1);
            if !wanted(&title) {
                continue;
            }
            let messages = effort.items(if capacity == Some(1) { 100_000 } else { 400_000 });
            // The peers that park at once are 100 times slower here.
            let slow = if capacity == Some(1) { messages / 20 } else { messages / 4 };
            let row = Contest::new(title, effort.rounds(7))
                .figure("selvedge", || transfer::<peers::Selvedge>(capacity, shape, messages))
                .figure("crossbeam", || transfer::<peers::Crossbeam>(capacity, shape, messages))
                .figure("crossfire", || transfer::<peers::Crossfire>(capacity, shape, messages))
                .figure("kanal", || transfer::<peers::Kanal>(capacity, shape, messages))
                .figure("flume", || transfer::<peers::Flume>(capacity, shape, slow))
                .figure("async-channel", || transfer::<peers::AsyncChannel>(capacity, shape, slow));
            rows.push(row.run());
        }
    }
    for capacity in [1, 128, 1024].into_iter().filter(|n| wanted(&format!("cap {n} 1p1c, floor"))) {
        let messages = effort.items(400_000);
        Contest::new(format!("cap {capacity} 1p1c, floor"), effort.rounds(5))
            .figure("selvedge", || transfer::<peers::Selvedge>(Some(capacity), (1, 1), messages))
            .figure("rtrb (spins)", || peers::rtrb(capacity, messages))
            .run();
    }
    rows
}

fn ping_pong(effort: Effort) {
    fn run<P: Peer>(rounds: usize) -> f64 {
        let (ping, pinged) = P::pair(Some(1));
        let (pong, ponged) = P::pair(Some(1));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Some(n) = P::recv(&pinged) {
                    P::send(&pong, n);
                }
            });
            let start = Instant::now();
            for n in 0..rounds {
                P::send(&ping, n as u64);
                P::recv(&ponged);
            }
            drop(ping);
            nanos(start.elapsed()) / rounds as f64
        })
    }
    let rounds = effort.items(20_000);
    Contest::new("ping-pong, ns", effort.rounds(7))
        .figure("selvedge", || run::<peers::Selvedge>(rounds))
        .figure("crossbeam", || run::<peers::Crossbeam>(rounds))
        .figure("crossfire", || run::<peers::Crossfire>(rounds))
        .figure("kanal", || run::<peers::Kanal>(rounds))
        .figure("flume", || run::<peers::Flume>(rounds / 20))
        .run();
}

fn recv_timeout_ready(effort: Effort) {
    let n = effort.items(400_000);
    let second = Duration::from_secs(1);
    let (tx, rx) = selvedge::queue::bounded(NonZeroUsize::new(n).unwrap());
    let (crossbeam_tx, crossbeam_rx) = crossbeam_channel::bounded(n);
    let (kanal_tx, kanal_rx) = kanal::bounded(n);
    Contest::new("send, recv_timeout ready, ns", effort.rounds(7))
        .per_item("selvedge", n, || {
            for i in 0..n {
                tx.send(i).unwrap();
                rx.recv_timeout(second).unwrap();
            }
        })
        .per_item("crossbeam", n, || {
            for i in 0..n {
                crossbeam_tx.send(i).unwrap();
                crossbeam_rx.recv_timeout(second).unwrap();
            }
        })
        .per_item("kanal", n, || {
            for i in 0..n {
                kanal_tx.send(i).unwrap();
                kanal_rx.recv_timeout(second).unwrap();
            }
        })
        .run();
}

/// One producer, one consumer that takes what is there.
fn batches(effort: Effort) {
    fn run(
        messages: usize,
        send: impl Fn(u64) + Sync + Send,
        mut recv: impl FnMut(&mut Vec<u64>),
    ) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || (0..messages).for_each(|n| send(n as u64)));
            let (mut seen, mut batch) = (0, Vec::with_capacity(256));
            while seen < messages {
                recv(&mut batch);
                seen += batch.len();
                batch.clear();
            }
        });
        nanos(start.elapsed()) / messages as f64
    }
    let messages = effort.items(1_000_000);
    let most = const { NonZeroUsize::new(256).unwrap() };
    Contest::new("recv_many, cap 1024 1p1c, ns", effort.rounds(7))
        .figure("selvedge", || {
            let (tx, rx) = selvedge::queue::bounded(const { NonZeroUsize::new(1024).unwrap() });
            run(
                messages,
                move |n| tx.send(n).unwrap(),
                |batch| {
                    rx.recv_many(batch, most).unwrap();
                },
            )
        })
        .figure("crossbeam (recv + try_iter)", || {
            let (tx, rx) = crossbeam_channel::bounded(1024);
            run(
                messages,
                move |n| tx.send(n).unwrap(),
                |batch| {
                    batch.push(rx.recv().unwrap());
                    batch.extend(rx.try_iter().take(255));
                },
            )
        })
        .figure("kanal drain_into", || {
            let (tx, rx) = kanal::bounded(1024);
            run(
                messages,
                move |n| tx.send(n).unwrap(),
                |batch| {
                    batch.push(rx.recv().unwrap());
                    rx.drain_into(batch).unwrap();
                },
            )
        })
        .figure("tokio blocking_recv_many", || {
            let (tx, mut rx) = tokio::sync::mpsc::channel(1024);
            run(
                messages,
                move |n| tx.blocking_send(n).unwrap(),
                |batch| {
                    rx.blocking_recv_many(batch, 256);
                },
            )
        })
        .run();
    let (tx, rx) = selvedge::queue::unbounded();
    let (kanal_tx, kanal_rx) = kanal::unbounded();
    let (crossbeam_tx, crossbeam_rx) = crossbeam_channel::unbounded();
    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::unbounded_channel();
    let n = effort.items(400_000) / 256 * 256;
    // Only the taking is timed: the queue is filled before.
    let timed = |fill: &dyn Fn(u64), take: &mut dyn FnMut()| {
        (0..n).for_each(|i| fill(i as u64));
        let start = Instant::now();
        take();
        nanos(start.elapsed()) / n as f64
    };
    let mut batch = Vec::with_capacity(n);
    let batch = std::cell::RefCell::new(&mut batch);
    Contest::new("taking 256 at a time, ns", effort.rounds(7))
        .figure("selvedge", || {
            timed(&|i| tx.send(i).unwrap(), &mut || {
                let mut batch = batch.borrow_mut();
                batch.clear();
                while batch.len() < n {
                    rx.recv_many(&mut batch, most).unwrap();
                }
            })
        })
        .figure("crossbeam try_iter", || {
            timed(&|i| crossbeam_tx.send(i).unwrap(), &mut || {
                let mut batch = batch.borrow_mut();
                batch.clear();
                while batch.len() < n {
                    batch.extend(crossbeam_rx.try_iter().take(256));
                }
            })
        })
        .figure("kanal drain (all at once)", || {
            timed(&|i| kanal_tx.send(i).unwrap(), &mut || {
                let mut batch = batch.borrow_mut();
                batch.clear();
                kanal_rx.drain_into(&mut batch).unwrap();
            })
        })
        .figure("tokio recv_many", || {
            timed(&|i| tokio_tx.send(i).unwrap(), &mut || {
                let mut batch = batch.borrow_mut();
                batch.clear();
                while batch.len() < n {
                    tokio_rx.blocking_recv_many(&mut batch, 256);
                }
            })
        })
        .run();
}

fn asynchronous(effort: Effort) -> Vec<Row> {
    fn run<P: AsyncPeer>(
        runtime: &tokio::runtime::Runtime,
        capacity: usize,
        (producers, consumers): (usize, usize),
        messages: usize,
    ) -> f64 {
        let (tx, rx) = P::pair(capacity);
        let start = Instant::now();
        runtime.block_on(async {
            let mut tasks = Vec::new();
            for _ in 0..producers {
                let tx = tx.clone();
                tasks.push(tokio::spawn(async move {
                    for n in 0..messages / producers {
                        P::send(&tx, n as u64).await;
                    }
                }));
            }
            drop(tx);
            tasks.extend(P::split(rx, consumers).into_iter().map(|rx| tokio::spawn(P::drain(rx))));
            for task in tasks {
                task.await.unwrap();
            }
        });
        nanos(start.elapsed()) / messages as f64
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let mut rows = Vec::new();
    for capacity in [1, 128] {
        for shape in [(1, 1), (2, 1), (4, 4)] {
            let messages = effort.items(if capacity == 1 { 50_000 } else { 200_000 });
            let title = format!("async cap {capacity} {}p{}c, ns", shape.0, shape.1);
            if !wanted(&title) {
                continue;
            }
            let mut contest = Contest::new(title, effort.rounds(7))
                .figure("selvedge", || run::<peers::Selvedge>(&runtime, capacity, shape, messages))
                .figure("kanal", || run::<peers::Kanal>(&runtime, capacity, shape, messages))
                .figure("crossfire", || {
                    run::<peers::Crossfire>(&runtime, capacity, shape, messages)
                })
                .figure("async-channel", || {
                    run::<peers::AsyncChannel>(&runtime, capacity, shape, messages)
                });
            if shape.1 == 1 {
                contest = contest
                    .figure("tokio", || run::<peers::Tokio>(&runtime, capacity, shape, messages));
            }
            rows.push(contest.run());
        }
    }
    rows
}

fn verdict(blocking: &[Row], asynchronous: &[Row]) {
    let best = ["crossbeam", "crossfire", "kanal", "flume", "async-channel"];
    let crossbeam = blocking.iter().filter(|row| row.ratio("crossbeam") <= 1.0).count();
    let first = blocking.iter().filter(|row| row.ratio_to_best(&best) <= 1.0).count();
    let tokio: Vec<_> =
        asynchronous.iter().filter(|row| row.names.iter().any(|n| n == "tokio")).collect();
    let beats_tokio = tokio.iter().filter(|row| row.ratio("tokio") <= 1.0).count();
    println!("target: <= 1.0x crossbeam-channel in every row: {crossbeam} of {}", blocking.len());
    println!(
        "target: <= 1.0x the best blocking peer in half of the rows: {first} of {}",
        blocking.len()
    );
    println!("target: async <= 1.0x tokio everywhere: {beats_tokio} of {}", tokio.len());
}
