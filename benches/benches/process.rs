//! The process pool against procspawn, ipc-channel by hand, rayon's threads
//! (which isolate nothing) and CPython's ProcessPoolExecutor.
#![allow(missing_docs, reason = "a bench binary")]

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use selvedge::exercises::is_prime;
use selvedge::nz;
use selvedge::process::Pool;
use selvedge_benches::{Contest, Effort, Row, nanos, print_machine};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::process::{Child, Command};
use std::time::Instant;

const MIB_64: usize = 64 << 20;

fn trivial(n: u64) -> u64 {
    n.wrapping_add(1)
}

/// Two processes on ipc-channel, each with a channel there and one back.
struct Hand {
    ends: Vec<(IpcSender<Job>, IpcReceiver<Answer>)>,
    children: Vec<Child>,
}

#[derive(Serialize, Deserialize)]
enum Job {
    Trivial(Vec<u64>),
    Primes(Vec<u64>),
    Same(IpcSharedMemory),
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Numbers(Vec<u64>),
    Primes(Vec<bool>),
    Same(IpcSharedMemory),
}

const HAND: &str = "SELVEDGE_BENCH_HAND";

impl Hand {
    fn start() -> Self {
        let mut children = Vec::new();
        let ends = (0..2)
            .map(|_| {
                let (server, name) = IpcOneShotServer::new().expect("a one-shot server");
                let program = std::env::current_exe().expect("this program");
                children.push(Command::new(program).env(HAND, name).spawn().expect("it starts"));
                let (_, ends): (_, (IpcSender<Job>, IpcReceiver<Answer>)) =
                    server.accept().expect("it connects");
                ends
            })
            .collect();
        Self { ends, children }
    }

    /// The worker's side.
    fn work(name: String) -> ! {
        let connect = IpcSender::connect(name).expect("the parent's server");
        let (job_to, jobs) = ipc::channel::<Job>().expect("a channel");
        let (answers, answer_from) = ipc::channel::<Answer>().expect("a channel");
        connect.send((job_to, answer_from)).expect("the parent is there");
        while let Ok(job) = jobs.recv() {
            let answer = match job {
                Job::Trivial(items) => Answer::Numbers(items.into_iter().map(trivial).collect()),
                Job::Primes(items) => Answer::Primes(items.into_iter().map(is_prime).collect()),
                Job::Same(payload) => Answer::Same(IpcSharedMemory::from_bytes(&payload)),
            };
            if answers.send(answer).is_err() {
                break;
            }
        }
        std::process::exit(0);
    }

    /// Both busy with chunks, two under way each.
    fn all(&self, items: &[u64], chunk: usize, job: impl Fn(Vec<u64>) -> Job) {
        let chunks: Vec<&[u64]> = items.chunks(chunk).collect();
        for (at, chunk) in chunks.iter().enumerate() {
            self.ends[at % 2].0.send(job(chunk.to_vec())).expect("the worker is there");
            if at >= 4 {
                black_box(self.ends[at % 2].1.recv().expect("the worker is there"));
            }
        }
        for at in chunks.len().saturating_sub(4)..chunks.len() {
            black_box(self.ends[at % 2].1.recv().expect("the worker is there"));
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.ends.clear();
        for child in &mut self.children {
            child.wait().expect("it ends");
        }
    }
}

fn procspawn_items(pool: &procspawn::Pool, items: &[u64]) {
    // It opens descriptors for each task: not too many at a time.
    for some in items.chunks(256) {
        let handles: Vec<_> = some.iter().map(|n| pool.spawn(*n, trivial)).collect();
        for handle in handles {
            black_box(handle.join().expect("no panic"));
        }
    }
}

fn procspawn_chunks(pool: &procspawn::Pool, items: &[u64], f: fn(Vec<u64>) -> Vec<u64>) {
    let chunks: Vec<&[u64]> = items.chunks(1000).collect();
    for some in chunks.chunks(256) {
        let handles: Vec<_> = some.iter().map(|chunk| pool.spawn(chunk.to_vec(), f)).collect();
        for handle in handles {
            black_box(handle.join().expect("no panic"));
        }
    }
}

fn main() {
    if let Ok(name) = std::env::var(HAND) {
        Hand::work(name);
    }
    procspawn::init();
    let effort = Effort::from_args();
    print_machine();
    let ours = Pool::builder().workers(nz!(2)).build().expect("a pool");
    let spawn = procspawn::Pool::new(2).expect("a pool");
    let hand = Hand::start();
    let rows = [
        start(effort),
        trivial_tasks(effort, &ours, &spawn, &hand),
        one_at_a_time(effort, &ours, &spawn, &hand),
        primes(effort, &ours, &spawn, &hand),
        round_trip(effort, &ours, &spawn, &hand),
    ];
    spawn.shutdown();
    python(effort);
    targets(&rows);
}

/// Milliseconds from nothing to two workers that have answered, and back.
fn start(effort: Effort) -> Row {
    let timed = |run: fn()| {
        move || {
            let start = Instant::now();
            run();
            nanos(start.elapsed()) / 1e6
        }
    };
    Contest::new("start and end 2 workers, ms", effort.rounds(15))
        .figure(
            "selvedge",
            timed(|| {
                let pool = Pool::builder().workers(nz!(2)).build().expect("a pool");
                let tasks = [1, 2].map(|n| pool.submit(trivial, n));
                tasks.into_iter().for_each(|task| drop(black_box(task.wait())));
            }),
        )
        .figure(
            "procspawn",
            timed(|| {
                let pool = procspawn::Pool::new(2).expect("a pool");
                let tasks = [1, 2].map(|n| pool.spawn(n, trivial));
                tasks.into_iter().for_each(|task| drop(black_box(task.join())));
                pool.kill();
            }),
        )
        .figure("ipc-channel by hand", timed(|| Hand::start().all(&[1, 2], 1, Job::Trivial)))
        .run()
}

/// Nanoseconds an item through the per-item interface.
fn trivial_tasks(effort: Effort, ours: &Pool, spawn: &procspawn::Pool, hand: &Hand) -> Row {
    let many: Vec<u64> = (0..effort.items(1_000_000) as u64).collect();
    let some = &many[..many.len() / 100];
    Contest::new("trivial task, batched, ns", effort.rounds(9))
        .per_item("selvedge", many.len(), || {
            black_box(ours.map(trivial, many.iter().copied()).expect("no failure"));
        })
        .per_item("procspawn item", some.len(), || procspawn_items(spawn, some))
        .per_item("procspawn chunk 1000", many.len(), || {
            procspawn_chunks(spawn, &many, |chunk| chunk.into_iter().map(trivial).collect());
        })
        .per_item("ipc-channel 1", some.len(), || hand.all(some, 1, Job::Trivial))
        .per_item("ipc-channel 1000", many.len(), || hand.all(&many, 1000, Job::Trivial))
        .per_item("rayon threads", many.len(), || {
            black_box(many.par_iter().map(|n| trivial(*n)).collect::<Vec<u64>>());
        })
        .run()
}

/// Nanoseconds from submitting one task to having its result.
fn one_at_a_time(effort: Effort, ours: &Pool, spawn: &procspawn::Pool, hand: &Hand) -> Row {
    let items: Vec<u64> = (0..effort.items(5_000) as u64).collect();
    Contest::new("one task there and back, ns", effort.rounds(7))
        .per_item("selvedge", items.len(), || {
            for n in &items {
                let _ = black_box(ours.submit(trivial, *n).wait());
            }
        })
        .per_item("procspawn", items.len(), || {
            for n in &items {
                black_box(spawn.spawn(*n, trivial).join().expect("no panic"));
            }
        })
        .per_item("ipc-channel by hand", items.len(), || {
            for n in &items {
                hand.ends[0].0.send(Job::Trivial(vec![*n])).expect("the worker is there");
                black_box(hand.ends[0].1.recv().expect("the worker is there"));
            }
        })
        .run()
}

/// How much slower than one thread would be on as many cores: 0.5 is twice as
/// fast on two.
fn primes(effort: Effort, ours: &Pool, spawn: &procspawn::Pool, hand: &Hand) -> Row {
    let numbers: Vec<u64> = (0..effort.items(200_000) as u64).map(|n| 1_000_000_000 + n).collect();
    Contest::new("200 k primality tests, ns each", effort.rounds(9))
        .per_item("selvedge", numbers.len(), || {
            black_box(ours.map(is_prime, numbers.iter().copied()).expect("no failure"));
        })
        .per_item("one thread", numbers.len(), || {
            black_box(numbers.iter().map(|n| is_prime(*n)).collect::<Vec<bool>>());
        })
        .per_item("procspawn chunk 1000", numbers.len(), || {
            procspawn_chunks(spawn, &numbers, |chunk| {
                chunk.into_iter().map(|n| u64::from(is_prime(n))).collect()
            });
        })
        .per_item("ipc-channel 1000", numbers.len(), || hand.all(&numbers, 1000, Job::Primes))
        .per_item("rayon threads", numbers.len(), || {
            black_box(numbers.par_iter().map(|n| is_prime(*n)).collect::<Vec<bool>>());
        })
        .run()
}

/// Milliseconds for 64 MiB to a worker and back, ready to be used.
fn round_trip(effort: Effort, ours: &Pool, spawn: &procspawn::Pool, hand: &Hand) -> Row {
    let payload = vec![7_u8; MIB_64];
    let ms = |start: Instant| nanos(start.elapsed()) / 1e6;
    Contest::new("64 MiB there and back, ms", effort.rounds(7))
        .figure("selvedge", || {
            let payload = payload.clone();
            let start = Instant::now();
            let back = ours.submit(|payload: Vec<u8>| payload, payload).wait();
            let took = ms(start);
            assert_eq!(back.into_result().expect("no failure").len(), MIB_64);
            took
        })
        .figure("procspawn", || {
            let payload = payload.clone();
            let start = Instant::now();
            let back = spawn.spawn(payload, |payload: Vec<u8>| payload).join();
            let took = ms(start);
            assert_eq!(back.expect("no panic").len(), MIB_64);
            took
        })
        .figure("ipc-channel shared memory", || {
            let start = Instant::now();
            let there = Job::Same(IpcSharedMemory::from_bytes(&payload));
            hand.ends[0].0.send(there).expect("the worker is there");
            let Ok(Answer::Same(back)) = hand.ends[0].1.recv() else { panic!("another answer") };
            let back = back.to_vec();
            let took = ms(start);
            assert_eq!(back.len(), MIB_64);
            took
        })
        .run()
}

fn python(effort: Effort) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/process.py");
    let quick = if effort == Effort::Quick { "--quick" } else { "--full" };
    match Command::new("python3").args([script, quick]).output() {
        Ok(output) if output.status.success() => {
            println!(
                "python3 ProcessPoolExecutor (trivial: us a task; primes: speed-up; start, 64MiB: ms):"
            );
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(output) => println!("python3 failed: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("python3 left out: {error}"),
    }
}

fn targets([start, trivial, _, primes, round_trip]: &[Row; 5]) {
    let met = |what: &str, value: f64, holds: bool| {
        println!("target {what}: {value:.3} {}", if holds { "met" } else { "MISSED" });
    };
    let figure = trivial.medians[0] / 1e3;
    met("trivial <= 0.025 us", figure, figure <= 0.025);
    let speed_up = 1.0 / primes.ratio("one thread");
    met("primality >= 1.9x one thread", speed_up, speed_up >= 1.9);
    met("64 MiB <= 40 ms", round_trip.medians[0], round_trip.medians[0] <= 40.0);
    let ratio = start.ratio("procspawn");
    met("start <= 0.6x procspawn", ratio, ratio <= 0.6);
}
