//! The ordered map over threads against rayon, orx-parallel, pariter,
//! threadpool, static chunks on scoped threads, and one thread.
#![allow(missing_docs, reason = "a bench binary")]

use orx_parallel::{Par, Parallelizable};
use pariter::IteratorExt as _;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use selvedge::threads::Threads;
use selvedge_benches::{Contest, Effort, Row, nanos, print_machine};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::process::Command;
use std::time::{Duration, Instant};

/// Work of about `rounds` times 1.3 ns that cannot be shortened.
#[inline]
fn spin(seed: u64, rounds: u64) -> u64 {
    let mut x = seed | 1;
    for _ in 0..rounds {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// Rounds of [`spin`] that take about `wanted` on this machine.
fn rounds_for(wanted: Duration) -> u64 {
    let probe = 2_000_000;
    let best = (0..5)
        .map(|seed| {
            let start = Instant::now();
            black_box(spin(black_box(seed), probe));
            start.elapsed()
        })
        .min()
        .expect("five probes");
    (probe as f64 * wanted.as_secs_f64() / best.as_secs_f64()) as u64
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get)
}

/// One scoped thread a core, the input cut in equal parts.
fn static_chunks<T: Sync, R: Send>(xs: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let part = xs.len().div_ceil(cores()).max(1);
    std::thread::scope(|scope| {
        let f = &f;
        let parts: Vec<_> = xs
            .chunks(part)
            .map(|part| scope.spawn(move || part.iter().map(f).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    })
}

/// Every item a task of a `threadpool`, sorted afterwards.
fn pool_and_sort<R: Send + 'static>(
    pool: &threadpool::ThreadPool,
    xs: &[u64],
    f: impl Fn(&u64) -> R + Send + Sync + Copy + 'static,
) -> Vec<R> {
    let (sender, receiver) = std::sync::mpsc::channel();
    for (index, x) in xs.iter().copied().enumerate() {
        let sender = sender.clone();
        pool.execute(move || {
            let _ = sender.send((index, f(&x)));
        });
    }
    drop(sender);
    let mut all: Vec<_> = receiver.into_iter().collect();
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// All peers over a slice.
fn slices<F>(title: &str, rounds: usize, xs: &[u64], slow_peers: bool, f: F) -> Row
where
    F: Fn(&u64) -> u64 + Send + Sync + Copy + 'static,
{
    let n = xs.len();
    let pool = threadpool::ThreadPool::new(cores());
    let mut contest = Contest::new(title, rounds)
        .per_item("selvedge", n, || drop(black_box(Threads::new().map_slice(xs, f))))
        .per_item("rayon", n, || drop(black_box(xs.par_iter().map(f).collect::<Vec<_>>())))
        .per_item("orx-parallel", n, || drop(black_box(xs.par().map(f).collect::<Vec<_>>())))
        .per_item("scope, static", n, || drop(black_box(static_chunks(xs, f))))
        .per_item("one thread", n, || drop(black_box(xs.iter().map(f).collect::<Vec<_>>())))
        .per_item("ours, any iterator", n, || {
            drop(black_box(Threads::new().map(xs.iter().copied(), |x| f(&x))));
        });
    if slow_peers {
        contest = contest.per_item("threadpool + sort", n, || {
            drop(black_box(pool_and_sort(&pool, xs, f)));
        });
    }
    contest.run()
}

/// What the consumer of a stream does: depends on the order, and has no
/// closed form.
fn mix(sum: u64, result: u64) -> u64 {
    sum.rotate_left(1) ^ result
}

/// A lazy ordered stream, taken in by the consumer.
fn streams<F>(title: &str, rounds: usize, n: usize, f: F) -> Row
where
    F: Fn(u64) -> u64 + Send + Sync + Copy + 'static,
{
    let n64 = n as u64;
    Contest::new(title, rounds)
        .per_item("selvedge", n, || {
            let sum = Threads::new().stream(0..n64, f, |results| results.fold(0, mix));
            black_box(sum);
        })
        .per_item("one thread", n, || {
            black_box((0..black_box(n64)).map(f).fold(0, mix));
        })
        .per_item("pariter", n, || {
            let results = (0..n64).parallel_map_custom(|o| o.threads(cores()), f);
            black_box(results.fold(0, mix));
        })
        .per_item("rayon in batches", n, || {
            use rayon::iter::IntoParallelIterator;
            let mut sum = 0_u64;
            let mut source = 0..n64;
            loop {
                let batch: Vec<u64> = source.by_ref().take(4096).collect();
                if batch.is_empty() {
                    break;
                }
                let results: Vec<u64> = batch.into_par_iter().map(f).collect();
                sum = results.into_iter().fold(sum, mix);
            }
            black_box(sum);
        })
        .run()
}

/// The time of the first call in a process of its own, in microseconds.
fn first_call(who: &str) -> f64 {
    let exe = std::env::current_exe().expect("this bench has a path");
    let output = Command::new(exe).env("SELVEDGE_FIRST_CALL", who).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a figure")
}

fn answer_first_call(who: &str) {
    let xs: Vec<u64> = (0..1_000).collect();
    let f = |x: &u64| x.wrapping_mul(3);
    let start = Instant::now();
    let results: Vec<u64> = match who {
        "selvedge" => Threads::new().map_slice(&xs, f),
        "rayon" => xs.par_iter().map(f).collect(),
        "orx-parallel" => xs.as_slice().par().map(f).collect(),
        "scope, static" => static_chunks(&xs, f),
        _ => xs.iter().map(f).collect(),
    };
    let took = start.elapsed();
    black_box(results);
    println!("{}", nanos(took) / 1e3);
}

fn main() {
    if let Ok(who) = std::env::var("SELVEDGE_FIRST_CALL") {
        answer_first_call(&who);
        return;
    }
    let effort = Effort::from_args();
    print_machine();
    println!("ns an item unless said otherwise");
    let rounds = effort.rounds(15);
    let mut met = Vec::new();
    let mut target = |what: &str, ratio: f64, most: f64| {
        met.push(format!(
            "{} {what}: {ratio:.2}x, target <= {most:.2}x",
            if ratio <= most { "met   " } else { "MISSED" }
        ));
    };

    let xs: Vec<u64> = (0..effort.items(1_000_000) as u64).collect();
    let row = slices("trivial", rounds, &xs, false, |x| x.wrapping_mul(3));
    target("trivial against rayon", row.ratio("rayon"), 2.0);

    let micro = rounds_for(Duration::from_micros(1));
    let xs: Vec<u64> = (0..effort.items(50_000) as u64).collect();
    let row = slices("1 us", rounds, &xs, true, move |x| spin(*x, micro));
    target("1 us against rayon", row.ratio("rayon"), 1.05);

    // Costs of 0 to 300 us, in order and shuffled.
    let n = effort.items(2_000).max(200) as u64;
    let step = rounds_for(Duration::from_micros(300)) / n;
    let ascending: Vec<u64> = (0..n).map(|i| i * step).collect();
    let shuffled: Vec<u64> = (0..n).map(|i| (i * 1_000_003 + 17) % n * step).collect();
    for (title, xs) in [("skewed, random order", &shuffled), ("skewed, ascending", &ascending)] {
        let row = slices(title, effort.rounds(7), xs, true, |cost| spin(1, *cost));
        target(&format!("{title} against rayon"), row.ratio("rayon"), 1.05);
    }

    let n = effort.items(50_000);
    let row = streams("stream, 1 us", rounds, n, move |x| spin(x, micro));
    target("stream of 1 us items against one thread", row.ratio("one thread"), 0.55);
    let n = effort.items(2_000_000);
    let row = streams("stream, trivial", effort.rounds(9), n, |x| x.wrapping_mul(3));
    target("stream of trivial items, ns an item against 5", row.medians[0] / 5.0, 1.0);

    let row = ["selvedge", "rayon", "orx-parallel", "scope, static", "one thread"]
        .into_iter()
        .fold(Contest::new("first call, 1,000 trivial, us", effort.rounds(25)), |contest, who| {
            contest.figure(who, move || first_call(who))
        })
        .run();
    target("first call against rayon", row.ratio("rayon"), 0.25);
    let xs: Vec<u64> = (0..1_000).collect();
    slices("steady call, 1,000 trivial", effort.rounds(200), &xs, false, |x| x.wrapping_mul(3));

    let sleep = |_: &u64| std::thread::sleep(Duration::from_millis(20));
    let xs = vec![0_u64; 64];
    let sixteen = rayon::ThreadPoolBuilder::new().num_threads(16).build().expect("a pool");
    Contest::new("64 sleeps of 20 ms on 16, ms", effort.rounds(3))
        .figure("selvedge", || {
            let start = Instant::now();
            Threads::new().max_workers(selvedge::nz!(16)).map_slice(&xs, sleep);
            nanos(start.elapsed()) / 1e6
        })
        .figure("rayon", || {
            let start = Instant::now();
            sixteen.install(|| xs.par_iter().for_each(sleep));
            nanos(start.elapsed()) / 1e6
        })
        .run();

    println!();
    for line in met {
        println!("{line}");
    }
}
