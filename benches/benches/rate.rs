//! The rate limiter: a permit at once from 1, 2 and 4 threads, and what becomes
//! of 1,000 and of 100,000 a second: the rate that comes out, the most in any
//! 10 ms, and the processor time it takes. `-- "at once"`, `-- accuracy` and
//! `-- drift` run a part.
#![allow(missing_docs, reason = "a bench")]

use governor::clock::MonotonicClock;
use governor::{Quota, RateLimiter};
use ratelimit::{Ratelimiter, TryWaitError};
use selvedge::nz;
use selvedge::rate::{Gcra, Limiter, Rate};
use selvedge_benches::{Contest, Effort, Row, nanos, print_machine, wanted};
use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tower::limit::RateLimit;
use tower::{Service, ServiceExt, service_fn};

/// Permits of all threads together: short runs, many of them undisturbed.
const PERMITS: usize = 1_000_000;

/// Nanoseconds a permit, from the first thread's start to the last one's end.
fn takes(threads: usize, permits: usize, take: impl Fn() + Sync) -> f64 {
    let each = permits / threads;
    let barrier = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    take();
                    barrier.wait();
                    let start = Instant::now();
                    (0..each).for_each(|_| take());
                    (start, Instant::now())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = spans.iter().map(|span| span.0).min().expect("a thread");
    let end = spans.iter().map(|span| span.1).max().expect("a thread");
    nanos(end - start) / (each * threads) as f64
}

/// A permit that is there: one a nanosecond, and a second's worth saved up.
fn at_once(effort: Effort, threads: usize) -> Row {
    let n = effort.items(PERMITS);
    let ours =
        Limiter::builder(Rate::per_second(nz!(1_000_000_000))).burst(nz!(1_000_000_000)).build();
    let quota = Quota::per_second(NonZeroU32::new(1_000_000_000).expect("not zero"));
    let monotonic = RateLimiter::direct_with_clock(quota, MonotonicClock);
    let quanta = RateLimiter::direct(quota);
    let ratelimit = Ratelimiter::builder(1_000_000_000)
        .initial_available(1_000_000_000)
        .build()
        .expect("a rate");
    let leaky = leaky_bucket::RateLimiter::builder()
        .max(1_000_000_000)
        .initial(1_000_000_000)
        .refill(1_000_000)
        .interval(Duration::from_millis(1))
        .build();
    let lone = AtomicU64::new(0);
    Contest::new(format!("a permit at once, {threads} threads"), effort.rounds(41))
        .figure("selvedge", || takes(threads, n, || ours.try_acquire(1).expect("it is there")))
        .figure("governor, same clock", || {
            takes(threads, n, || monotonic.check().expect("it is there"))
        })
        .figure("governor, TSC clock", || {
            takes(threads, n, || quanta.check().expect("it is there"))
        })
        .figure("ratelimit", || takes(threads, n, || ratelimit.try_wait().expect("it is there")))
        .figure("leaky-bucket", || takes(threads, n, || assert!(leaky.try_acquire(1))))
        .figure("the clock alone", || {
            takes(threads, n, || {
                black_box(Instant::now());
            })
        })
        .figure("fetch_add (floor)", || {
            takes(threads, n, || {
                black_box(lone.fetch_add(1, Ordering::Relaxed));
            })
        })
        .run()
}

/// What became of a rate.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// In parts of the rate, after the first 10 ms.
    error: f64,
    /// In any 10 ms.
    most: usize,
    /// In the first 10 ms.
    first: usize,
    /// Of one processor.
    cpu: f64,
}

/// The instants of the grants in a run, and its processor time.
struct Grants {
    start: Instant,
    length: Duration,
    times: Vec<Duration>,
    cpu_before: Duration,
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("time since the start")
}

impl Grants {
    fn new(per_second: usize, length: Duration) -> Self {
        let times = Vec::with_capacity((per_second as f64 * length.as_secs_f64() * 3.0) as usize);
        Self { start: Instant::now(), length, times, cpu_before: cpu() }
    }

    /// Notes a grant; whether to go on.
    fn note(&mut self) -> bool {
        let at = self.start.elapsed();
        self.times.push(at);
        at < self.length
    }

    fn kept(self, per_second: usize) -> Kept {
        let wall = self.start.elapsed();
        let cpu = (cpu() - self.cpu_before).as_secs_f64() / wall.as_secs_f64();
        let window = Duration::from_millis(10);
        let within = |from: usize| {
            let end = self.times[from] + window;
            self.times.partition_point(|at| *at < end) - from
        };
        let most = (0..self.times.len()).map(within).max().unwrap_or(0);
        let first = self.times.partition_point(|at| *at < window);
        let rest = &self.times[first..];
        let span = match rest {
            [from, .., to] => (*to - *from).as_secs_f64(),
            _ => f64::NAN,
        };
        let error = (rest.len().saturating_sub(1)) as f64 / span / per_second as f64 - 1.0;
        Kept { error, most, first, cpu }
    }
}

/// Runs a consumer that takes one permit after the other on a runtime of one
/// thread.
fn consume<L>(
    per_second: usize,
    length: Duration,
    make: impl Fn(usize) -> L,
    take: impl AsyncFn(&mut L),
) -> Kept {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let mut limiter = make(per_second);
        let mut grants = Grants::new(per_second, length);
        loop {
            take(&mut limiter).await;
            if !grants.note() {
                return grants.kept(per_second);
            }
        }
    })
}

fn u32(n: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).expect("small")).expect("not zero")
}

fn usize(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("not zero")
}

/// How many there are a millisecond, and at least one, for limiters that refill
/// at intervals; and the interval.
fn batch(per_second: usize) -> (usize, Duration) {
    let batch = (per_second / 1_000).max(1);
    (batch, Duration::from_secs(1) * u32::try_from(batch).expect("small") / u32(per_second).get())
}

type Consumer = fn(usize, Duration) -> Kept;

/// Ours first.
const CONSUMERS: [(&str, Consumer); 9] = [
    ("selvedge", |n, length| {
        consume(
            n,
            length,
            |n| Limiter::per_second(usize(n)),
            async |limiter| {
                limiter.acquire(1).await.expect("one is within the burst");
            },
        )
    }),
    ("selvedge, a thread", |n, length| {
        let limiter = Limiter::per_second(usize(n));
        let mut grants = Grants::new(n, length);
        loop {
            limiter.acquire_blocking(1).expect("one is within the burst");
            if !grants.note() {
                return grants.kept(n);
            }
        }
    }),
    ("selvedge, strict", |n, length| {
        let make = |n| Limiter::builder(Rate::per_second(usize(n))).strict().build();
        consume(n, length, make, async |limiter| {
            limiter.acquire(1).await.expect("one is within the burst");
        })
    }),
    ("governor, burst 1", |n, length| {
        let one = NonZeroU32::MIN;
        let quota = |n| Quota::per_second(u32(n)).allow_burst(one);
        consume(
            n,
            length,
            |n| RateLimiter::direct(quota(n)),
            async |limiter| {
                limiter.until_ready().await;
            },
        )
    }),
    ("governor, default", |n, length| {
        let make = |n| RateLimiter::direct(Quota::per_second(u32(n)));
        consume(n, length, make, async |limiter| {
            limiter.until_ready().await;
        })
    }),
    ("leaky-bucket", |n, length| {
        let make = |n| {
            let (refill, interval) = batch(n);
            leaky_bucket::RateLimiter::builder()
                .max(refill)
                .initial(0)
                .refill(refill)
                .interval(interval)
                .build()
        };
        consume(n, length, make, async |limiter| limiter.acquire_one().await)
    }),
    ("tower", |n, length| {
        let make = |n| {
            let (refill, interval) = batch(n);
            let rate = tower::limit::rate::Rate::new(refill as u64, interval);
            RateLimit::new(service_fn(async |()| Ok::<_, std::convert::Infallible>(())), rate)
        };
        consume(n, length, make, async |service| {
            let Ok(ready) = service.ready().await;
            let Ok(()) = ready.call(()).await;
        })
    }),
    ("ratelimit", |n, length| {
        let make = |n| Ratelimiter::builder(n as u64).build().expect("a rate");
        consume(n, length, make, async |limiter| {
            while let Err(TryWaitError::Insufficient(wait)) = limiter.try_wait() {
                tokio::time::sleep(wait).await;
            }
        })
    }),
    ("tokio interval", |n, length| {
        let make = |n| {
            let mut interval = tokio::time::interval(Duration::from_secs(1) / u32(n).get());
            interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
            interval
        };
        consume(n, length, make, async |interval| {
            interval.tick().await;
        })
    }),
];

fn median<T: Copy>(values: impl Iterator<Item = T>, less: impl Fn(&T, &T) -> bool) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| less(b, a).cmp(&less(a, b)));
    values[values.len() / 2]
}

/// Every consumer in every round; medians, of which ours come back.
fn accuracy(effort: Effort, per_second: usize) -> Kept {
    let length = Duration::from_millis(if effort == Effort::Quick { 200 } else { 1_000 });
    let mut all = vec![Vec::new(); CONSUMERS.len()];
    for _ in 0..effort.rounds(5) {
        for (at, (_, run)) in CONSUMERS.iter().enumerate() {
            all[at].push(run(per_second, length));
        }
    }
    println!("\n{per_second} a second: error | most in any 10 ms | in the first 10 ms | processor");
    let medians: Vec<Kept> = all
        .iter()
        .map(|runs| Kept {
            error: median(runs.iter().map(|run| run.error), |a, b| a.abs() < b.abs()),
            most: median(runs.iter().map(|run| run.most), |a, b| a < b),
            first: median(runs.iter().map(|run| run.first), |a, b| a < b),
            cpu: median(runs.iter().map(|run| run.cpu), |a, b| a < b),
        })
        .collect();
    for ((name, _), kept) in CONSUMERS.iter().zip(&medians) {
        println!(
            "{name:<20} {:>+8.3} % | {:>6} | {:>6} | {:>5.1} %",
            kept.error * 100.0,
            kept.most,
            kept.first,
            kept.cpu * 100.0
        );
    }
    medians[0]
}

/// Single grants on a schedule without a clock: whether the last is where
/// arithmetic says, and nanoseconds a grant.
fn drift(effort: Effort, name: &str, rate: Rate, permits: u128, period: u128) -> bool {
    let grants = effort.items(1_000_000_000) as u64;
    let mut schedule = Gcra::new(rate, 1, 0);
    let start = Instant::now();
    let mut now = 0;
    for _ in 0..grants {
        while let Err(wait) = schedule.take(now, 1) {
            now += wait;
        }
    }
    let took = nanos(start.elapsed()) / grants as f64;
    let exact = (u128::from(grants - 1) * period).div_ceil(permits);
    let off = i128::from(now) - i128::try_from(exact).expect("some days");
    println!("{grants} grants at {name}: off by {off} ns, {took:.1} ns a grant");
    off == 0
}

fn target(what: &str, value: impl std::fmt::Display, met: bool) {
    println!("target: {what}: {value}, {}", if met { "met" } else { "MISSED" });
}

fn main() {
    let effort = Effort::from_args();
    print_machine();
    println!("a permit at once: nanoseconds a permit, all threads together");
    if wanted("at once") {
        let rows = [1, 2, 4].map(|threads| at_once(effort, threads));
        let worst = rows.iter().map(|row| row.ratio("governor, same clock")).fold(0.0, f64::max);
        target(
            "a permit at once <= 1.1x governor on the same clock",
            format!("worst {worst:.2}x"),
            worst <= 1.1,
        );
    }
    for (per_second, most) in [(1_000, 12), (100_000, 1_100)] {
        if !wanted("accuracy") {
            break;
        }
        let kept = accuracy(effort, per_second);
        let error = kept.error.abs() * 100.0;
        target(&format!("error <= 0.1 % at {per_second}/s"), format!("{error:.3} %"), error <= 0.1);
        let what = format!("at most {most} in any 10 ms at {per_second}/s");
        target(&what, kept.most, kept.most <= most);
        let what = format!("no burst at the start of {per_second}/s: at most {most} in 10 ms");
        target(&what, kept.first, kept.first <= most);
        let what = format!("processor <= 10 % at {per_second}/s");
        target(&what, format!("{:.1} %", kept.cpu * 100.0), kept.cpu <= 0.1);
    }
    if wanted("drift") {
        let seven = drift(effort, "7/s", Rate::per_second(nz!(7)), 7, 1_000_000_000);
        let rate = Rate::new(nz!(33_333), Duration::from_secs(10));
        let exact = drift(effort, "3,333.3/s", rate, 33_333, 10_000_000_000) && seven;
        target("10^9 grants are where arithmetic says", exact, exact);
    }
    let size = size_of::<Limiter>();
    target("<= 64 bytes without waiters", format!("{size} bytes"), size <= 64);
}
