//! The exercises, each with what it is held against.

use crate::corpus::{Corpus, File};
use selvedge::exercises::{
    RuntimeError, SafeCounter, aggregate, cancel_demo, compute_off_thread, concurrent_map,
    gather_limited, map_threaded, pipeline, primes_count, rate_limited, run_mixed, with_timeout,
};
use selvedge::gather::gather;
use selvedge::map::{Backend, try_concurrent_map};
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::process::{Failed, Fault};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

/// What the exercises are given, what they are held against, and the runtime.
pub(crate) struct Guide<'a> {
    pub(crate) given: &'a Corpus,
    pub(crate) checked: &'a Corpus,
    pub(crate) runtime: &'a tokio::runtime::Runtime,
}

/// What is told of an exercise.
pub(crate) struct Stop {
    pub(crate) ran: String,
    pub(crate) result: String,
    pub(crate) check: String,
    pub(crate) verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// There were no processes, or no descriptors, to run it with.
    NotRun,
}

impl Stop {
    fn new(ran: String, result: String, check: &str, right: bool) -> Self {
        let verdict = if right { Verdict::Right } else { Verdict::Wrong };
        Self { ran, result, check: check.to_owned(), verdict }
    }

    /// A pool of processes failed, or was not to be had.
    fn failed<E: std::fmt::Display>(ran: String, failed: &Failed<E>) -> Self {
        let had = !matches!(failed.outcome, Outcome::Err(Fault::Broken(_) | Fault::Undelivered(_)));
        let verdict = if had { Verdict::Wrong } else { Verdict::NotRun };
        Self { ran, result: failed.to_string(), check: "no failure".to_owned(), verdict }
    }
}

type Visit = fn(&Guide<'_>) -> Stop;

pub(crate) const STOPS: [(&str, Visit); 12] = [
    ("SafeCounter", counter),
    ("map_threaded", threaded),
    ("pipeline", queue),
    ("primes_count", primes),
    ("gather_limited", limited),
    ("cancel_demo", cancel),
    ("run_mixed", mixed),
    ("with_timeout", timeout),
    ("compute_off_thread", off_thread),
    ("concurrent_map", concurrent),
    ("rate_limited", rate),
    ("aggregate", totals),
];

const THREADS: usize = 5;

fn counter(guide: &Guide<'_>) -> Stop {
    let files = &guide.given.files;
    let count = SafeCounter::new();
    std::thread::scope(|scope| {
        for share in files.chunks(files.len().div_ceil(THREADS)) {
            scope.spawn(|| {
                let lines =
                    share.iter().flat_map(|file| &file.bytes).filter(|byte| **byte == b'\n');
                lines.for_each(|_| {
                    count.inc().expect("far from overflow");
                });
            });
        }
    });
    let newlines = |file: &File| file.bytes.split(|byte| *byte == b'\n').count() as u64 - 1;
    let expected: u64 = guide.checked.files.iter().map(newlines).sum();
    Stop::new(
        format!("{THREADS} threads count the newlines of {} files", files.len()),
        count.value().to_string(),
        "one thread splits them",
        count.value() == expected,
    )
}

fn threaded(guide: &Guide<'_>) -> Stop {
    let hashes = map_threaded(File::hash, &guide.given.files, nz!(4));
    let expected: Vec<_> = guide.checked.files.iter().map(File::hash).collect();
    Stop::new(
        format!("4 threads hash {} KiB", guide.given.bytes() >> 10),
        format!("{} hashes in order", hashes.len()),
        "a loop",
        hashes == expected,
    )
}

fn queue(guide: &Guide<'_>) -> Stop {
    let sizes = |corpus: &Corpus| corpus.files.iter().map(File::size).collect::<Vec<_>>();
    let squares = pipeline(sizes(guide.given));
    // A square is the sum of the first odd numbers.
    let square = |size: i64| (0..size).map(|n| 2 * n + 1).sum::<i64>();
    let expected: Vec<_> = sizes(guide.checked).into_iter().map(square).collect();
    Stop::new(
        "a worker behind a queue squares the files' sizes".to_owned(),
        format!("{} squares in order", squares.len()),
        "sums of odd numbers",
        squares == expected,
    )
}

/// Numbers below 2^32, one a file.
fn numbers(corpus: &Corpus) -> Vec<u64> {
    corpus.files.iter().map(|file| file.hash() >> 32).collect()
}

fn primes(guide: &Guide<'_>) -> Stop {
    let given = numbers(guide.given);
    let of = given.len();
    let count = match primes_count(given) {
        Ok(count) => count,
        Err(failed) => {
            let ran = format!("worker processes try {of} numbers");
            return Stop::failed(ran, &failed);
        }
    };
    let expected = numbers(guide.checked);
    let prime = expected.iter().filter(|n| miller_rabin(**n)).count();
    Stop::new(
        format!("worker processes try {of} numbers below 2^32"),
        format!("{count} are prime"),
        "Miller-Rabin",
        (count, of) == (prime, expected.len()),
    )
}

/// Exact below 3,215,031,751 with these bases, and below 2^32 with 11 as well.
fn miller_rabin(n: u64) -> bool {
    let bases = [2, 3, 5, 7, 11];
    if n < 2 || bases.iter().any(|base| n.is_multiple_of(*base)) {
        return bases.contains(&n);
    }
    let twos = (n - 1).trailing_zeros();
    bases.iter().all(|base| {
        let mut power = power(*base, (n - 1) >> twos, n);
        if power == 1 || power == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            power = power * power % n;
            power == n - 1
        })
    })
}

/// `base^exponent mod n`, for `n` below 2^32.
fn power(mut base: u64, mut exponent: u64, n: u64) -> u64 {
    let mut power = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power * base % n;
        }
        base = base * base % n;
        exponent >>= 1;
    }
    power
}

fn limited(guide: &Guide<'_>) -> Stop {
    let count = |corpus: &Corpus| 16 + corpus.files.len() % 32;
    let n = count(guide.given);
    let start = Instant::now();
    let mut fetched = guide.runtime.block_on(gather_limited(n, nz!(8)));
    let elapsed = start.elapsed();
    fetched.sort_unstable();
    // Each takes 10 ms at least.
    let least = Duration::from_millis(10) * u32::try_from(n.div_ceil(8)).expect("few");
    Stop::new(
        format!("{n} fetches of 10 to 30 ms, 8 at a time"),
        format!("{} fetched in {:.0?}", fetched.len(), elapsed),
        "each once, and no sooner than 8 at a time can",
        fetched.iter().copied().eq(0..count(guide.checked)) && elapsed >= least,
    )
}

fn cancel(guide: &Guide<'_>) -> Stop {
    let start = Instant::now();
    let said = guide.runtime.block_on(cancel_demo());
    let elapsed = start.elapsed();
    Stop::new(
        "a sleep of 1 s is cancelled after 50 ms".to_owned(),
        format!("{said}, and cleaned up"),
        "before its second was over",
        said == "cancelled" && (50..1000).contains(&elapsed.as_millis()),
    )
}

fn mixed(guide: &Guide<'_>) -> Stop {
    let outcomes = guide.runtime.block_on(run_mixed());
    let told: Vec<_> = outcomes.iter().map(ToString::to_string).collect();
    Stop::new(
        "a task that returns and one that fails".to_owned(),
        told.join(", "),
        "both outcomes, in order",
        outcomes == [Outcome::Ok(1), Outcome::Err(RuntimeError("x"))],
    )
}

fn timeout(guide: &Guide<'_>) -> Stop {
    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(2);
    const TIMEOUT: Duration = Duration::from_millis(200);
    let sleep = |file: &File| if file.bytes.len().is_multiple_of(2) { SHORT } else { LONG };
    let first = |corpus: &Corpus| corpus.files.iter().take(32).cloned().collect::<Vec<_>>();
    let files = first(guide.given);
    let sleeps = files.iter().map(sleep).collect::<Vec<_>>().into_iter();
    let slept = sleeps
        .map(|dt| async move { Ok::<_, Infallible>(with_timeout(dt, TIMEOUT).await.is_ok()) });
    let in_time = guide.runtime.block_on(gather(slept).try_collect());
    let in_time = in_time.unwrap_or_else(|failed| panic!("{failed}"));
    let count = in_time.iter().filter(|ended| **ended).count();
    let got = files.iter().map(|file| &file.path).zip(in_time);
    let checked = first(guide.checked);
    let expected = checked.iter().map(|file| (&file.path, sleep(file) < TIMEOUT));
    Stop::new(
        format!("{} sleeps of 10 ms or 2 s, given 200 ms", files.len()),
        format!("{count} in time, {} timed out", files.len() - count),
        "the short ones and no other",
        got.eq(expected),
    )
}

fn off_thread(guide: &Guide<'_>) -> Stop {
    // The sum of the squares still fits.
    let of = |corpus: &Corpus| 100_000 + corpus.bytes() as u64 % 3_000_000;
    let n = of(guide.given);
    let (sum, turns) = guide.runtime.block_on(async {
        let (mut sum, mut turns) = (pin!(compute_off_thread(n)), 0_u64);
        loop {
            tokio::select! {
                sum = &mut sum => break (sum, turns),
                () = tokio::task::yield_now() => turns += 1,
            }
        }
    });
    let m = u128::from(of(guide.checked));
    Stop::new(
        format!("a thread adds up the squares below {n}"),
        format!("{sum}, and the event loop turned {turns} times meanwhile"),
        "(n-1)n(2n-1)/6",
        u128::from(sum) == (m - 1) * m * (2 * m - 1) / 6,
    )
}

/// Steps to 1 by halving and by 3n+1.
fn collatz(mut n: u64) -> u32 {
    let mut steps = 0;
    while n > 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

fn concurrent(guide: &Guide<'_>) -> Stop {
    let given = numbers(guide.given);
    let threads = concurrent_map(collatz, given.clone(), Backend::Thread, None);
    // The same, but that it says so where no process is to be had.
    let steps = |n| Ok::<_, String>(collatz(n));
    let processes = match try_concurrent_map(steps, given.clone(), Backend::Process, None) {
        Ok(processes) => processes,
        Err(failed) => {
            let ran = format!("processes walk {} numbers down to 1", given.len());
            return Stop::failed(ran, &failed);
        }
    };
    let expected: Vec<_> = numbers(guide.checked).into_iter().map(collatz).collect();
    Stop::new(
        format!("threads, then processes, walk {} numbers down to 1", given.len()),
        format!("{} steps", threads.iter().map(|steps| u64::from(*steps)).sum::<u64>()),
        "both the same as a loop",
        threads == expected && processes == expected,
    )
}

fn rate(guide: &Guide<'_>) -> Stop {
    const RATE: u32 = 100;
    let first = |corpus: &Corpus| {
        corpus.files.iter().take(20).map(|file| file.path.clone()).collect::<Vec<_>>()
    };
    let given = first(guide.given);
    let of = given.len();
    let start = Instant::now();
    let passed = guide.runtime.block_on(async {
        let mut names = pin!(rate_limited(given, nz!(RATE as usize)));
        let mut passed = Vec::new();
        while let Some(name) =
            poll_fn(|context| futures_util::Stream::poll_next(names.as_mut(), context)).await
        {
            passed.push(name);
        }
        passed
    });
    let elapsed = start.elapsed();
    let least = Duration::from_secs(1) / RATE * u32::try_from(of - 1).expect("few");
    Stop::new(
        format!("{of} names at {RATE}/s"),
        format!("{} in {elapsed:.0?}", passed.len()),
        "in order, and no sooner than the rate allows",
        passed == first(guide.checked) && elapsed >= least * 99 / 100,
    )
}

/// `extension:size` for each file; only the name of one without an extension.
fn lines(corpus: &Corpus) -> Vec<String> {
    let line = |file: &File| {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        match name.rsplit_once('.') {
            Some((_, extension)) => format!("{extension}:{}", file.bytes.len()),
            None => name.to_owned(),
        }
    };
    corpus.files.iter().map(line).collect()
}

fn totals(guide: &Guide<'_>) -> Stop {
    let given = lines(guide.given);
    let of = given.len();
    let totals = guide.runtime.block_on(aggregate(given));
    let mut expected = HashMap::<String, i64>::new();
    for line in lines(guide.checked) {
        if let Some((key, value)) = line.rsplit_once(':')
            && !key.is_empty()
            && let Ok(value) = value.parse::<i64>()
        {
            *expected.entry(key.to_owned()).or_default() += 2 * value;
        }
    }
    let largest = totals.iter().max_by_key(|(key, total)| (**total, *key));
    let largest =
        largest.map_or("none".to_owned(), |(key, total)| format!("most in {key:?}: {total}"));
    Stop::new(
        format!("tasks parse, double and total {of} lines, 64 at a time"),
        format!("{} keys, {largest}", totals.len()),
        "a loop",
        totals == expected,
    )
}
