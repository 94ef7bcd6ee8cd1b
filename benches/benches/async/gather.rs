//! Limited gather: time an item, and memory for a million.

use crate::{python, task};
use futures::StreamExt;
use futures_concurrency::future::FutureGroup;
use selvedge::gather::{Gather, Iter, gather};
use selvedge_benches::{Contest, Effort, Row};
use std::convert::Infallible;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use tokio::runtime::Runtime;

const LIMIT: usize = 64;

/// A future that yields once.
async fn item(n: usize) -> usize {
    tokio::task::yield_now().await;
    n
}

fn keep(n: usize) {
    black_box(n);
}

fn ours(
    items: usize,
) -> Gather<Iter<impl Iterator<Item = impl Future<Output = Result<usize, Infallible>> + Send> + Send>>
{
    gather((0..items).map(|n| async move { Ok(item(n).await) })).limit(selvedge::nz!(64))
}

/// Everything that runs in the contest, by name, ours first. Each gives the
/// sum of its results.
pub(crate) const CONTESTANTS: [&str; 8] = [
    "in place",
    "spawned",
    "stream",
    "buffer_unordered",
    "buffered",
    "for_each_concurrent",
    "FutureGroup",
    "JoinSet+Semaphore",
];

/// Runs one of them, as a task, as a server would.
pub(crate) fn run(name: &str, runtime: &Runtime, items: usize) {
    let source = futures::stream::iter((0..items).map(item));
    match name {
        "in place" => {
            let values = task(runtime, async move { ours(items).try_collect_in_place().await });
            assert_eq!(black_box(values).expect("no failure").len(), items);
        }
        "spawned" => {
            let values = task(runtime, async move { ours(items).try_collect().await });
            assert_eq!(black_box(values).expect("no failure").len(), items);
        }
        "stream" => {
            task(runtime, async move {
                let mut stream = ours(items).stream();
                while let Some(next) = stream.next().await {
                    let (_, outcome) = next.expect("nobody interrupts it");
                    keep(outcome.ok().expect("no failure"));
                }
            });
        }
        "buffer_unordered" => {
            black_box(task(runtime, source.buffer_unordered(LIMIT).collect::<Vec<_>>()));
        }
        "buffered" => {
            black_box(task(runtime, source.buffered(LIMIT).collect::<Vec<_>>()));
        }
        "buffer_unordered, one by one" => {
            task(runtime, source.buffer_unordered(LIMIT).for_each(async |n| keep(n)));
        }
        "for_each_concurrent" => {
            let each = async |n: usize| keep(item(n).await);
            task(runtime, futures::stream::iter(0..items).for_each_concurrent(LIMIT, each));
        }
        "FutureGroup" => {
            black_box(task(runtime, group(items)));
        }
        "JoinSet+Semaphore" => {
            black_box(task(runtime, join_set(items)));
        }
        other => unreachable!("no contestant is called {other}"),
    }
}

async fn group(items: usize) -> Vec<usize> {
    let mut group = FutureGroup::with_capacity(LIMIT);
    let mut source = (0..items).map(|n| Box::pin(item(n)));
    for future in source.by_ref().take(LIMIT) {
        group.insert(future);
    }
    let mut values = Vec::new();
    while let Some(value) = group.next().await {
        values.push(value);
        if let Some(future) = source.next() {
            group.insert(future);
        }
    }
    values
}

/// What is written most: all are spawned, and each takes a permit.
async fn join_set(items: usize) -> Vec<usize> {
    let permits = Arc::new(tokio::sync::Semaphore::new(LIMIT));
    let mut set = tokio::task::JoinSet::new();
    for n in 0..items {
        let permits = Arc::clone(&permits);
        set.spawn(async move {
            let _permit = permits.acquire().await.expect("nobody closes it");
            item(n).await
        });
    }
    set.join_all().await
}

/// asyncio's gather with a semaphore: nanoseconds an item, or with `weigh`
/// the KiB that the interpreter grew by.
fn asyncio(items: usize, weigh: bool) -> Option<f64> {
    let figure = if weigh {
        "(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)".to_owned()
    } else {
        format!("(time.perf_counter() - start) / {items} * 1e9")
    };
    python(&format!(
        "import asyncio, resource, time\n\
         async def item(n, s):\n\
         \x20   async with s:\n\
         \x20       await asyncio.sleep(0)\n\
         \x20       return n\n\
         async def main():\n\
         \x20   s = asyncio.Semaphore({LIMIT})\n\
         \x20   before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n\
         \x20   start = time.perf_counter()\n\
         \x20   await asyncio.gather(*(item(n, s) for n in range({items})))\n\
         \x20   print({figure})\n\
         asyncio.run(main())\n"
    ))
}

pub(crate) fn speed(name: &str, runtime: &Runtime, effort: Effort, with_python: bool) -> Row {
    let items = effort.items(200_000);
    let title = format!("gather, {name}, ns an item");
    let contest = CONTESTANTS.into_iter().fold(
        Contest::new(title, effort.rounds(9)),
        |contest, contestant| {
            contest.per_item(contestant, items, move || run(contestant, runtime, items))
        },
    );
    if !with_python {
        return contest.run();
    }
    let few = items / 10;
    contest.figure("asyncio", move || asyncio(few, false).unwrap_or(f64::NAN)).run()
}

/// Each in a process of its own: KiB at the peak, less what the same process
/// takes for a thousand items.
pub(crate) fn memory(effort: Effort, with_python: bool) {
    let items = effort.items(1_000_000);
    println!("memory for {items} items, KiB at the peak (results included where they are kept)");
    let one_by_one = ["stream", "buffer_unordered, one by one", "for_each_concurrent"];
    let rest = ["in place", "spawned", "buffer_unordered", "FutureGroup", "JoinSet+Semaphore"];
    for name in one_by_one.into_iter().chain(rest) {
        let peak = |items| peak_of(name, items);
        let kib = peak(items).saturating_sub(peak(1_000));
        let kept = if one_by_one.contains(&name) { "results dropped" } else { "results kept" };
        println!("  {name:<30} {kib:>8}  {kept}");
    }
    if with_python && let Some(kib) = asyncio(items, true) {
        println!("  {:<30} {kib:>8}  results kept", "asyncio");
    }
}

/// The variable by which a process knows that it is to be weighed.
pub(crate) const WEIGH: &str = "SELVEDGE_WEIGH";

fn peak_of(name: &str, items: usize) -> u64 {
    let exe = std::env::current_exe().expect("this bench has a path");
    let output = Command::new(exe).env(WEIGH, format!("{name}={items}")).output();
    let output = output.expect("it runs").stdout;
    String::from_utf8_lossy(&output).trim().parse().expect("a figure")
}

/// Runs what `job` says, and prints the peak.
pub(crate) fn answer(job: &str, runtime: &Runtime) {
    let (name, items) = job.split_once('=').expect("NAME=ITEMS");
    run(name, runtime, items.parse().expect("a number"));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("VmHWM: 0");
    println!("{}", line.split_whitespace().nth(1).unwrap_or("0"));
}
