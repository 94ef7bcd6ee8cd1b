//! The async blocks against their peers: limited gather, timeout, cancel,
//! offload. `cargo bench -p selvedge-benches --bench async`, with `-- --quick`
//! and any of `gather`, `timeout`, `cancel`, `offload`, `memory` behind it.

mod gather;

use selvedge::cancel::Token;
use selvedge::offload::to_thread;
use selvedge::timeout::with_timeout;
use selvedge_benches::{Contest, Effort, Row, print_machine, wanted};
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const LONG: Duration = Duration::from_secs(60);

/// Runs a future as a task, as a server would.
fn task<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    runtime.block_on(async { tokio::spawn(future).await.expect("a bench does not panic") })
}

/// The figure that a Python program prints; nothing without a Python.
fn python(program: &str) -> Option<f64> {
    let output = Command::new("python3").args(["-c", program]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Polls once and drops.
async fn once(future: impl Future) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

fn ready(name: &str, runtime: &Runtime, effort: Effort) -> Row {
    let items = effort.items(500_000);
    Contest::new(format!("timeout(ready), {name}, ns"), effort.rounds(9))
        .per_item("ours", items, || {
            task(runtime, async move {
                for n in 0..items {
                    let _ = black_box(with_timeout(std::future::ready(n), LONG).await);
                }
            });
        })
        .per_item("tokio", items, || {
            task(runtime, async move {
                for n in 0..items {
                    let _ = black_box(tokio::time::timeout(LONG, std::future::ready(n)).await);
                }
            });
        })
        .run()
}

fn pending(name: &str, runtime: &Runtime, effort: Effort) -> Row {
    let items = effort.items(100_000);
    Contest::new(format!("timeout(pending) dropped, {name}, ns"), effort.rounds(9))
        .per_item("ours", items, || {
            task(runtime, async move {
                for _ in 0..items {
                    once(with_timeout(std::future::pending::<()>(), LONG)).await;
                }
            });
        })
        .per_item("tokio", items, || {
            task(runtime, async move {
                for _ in 0..items {
                    once(tokio::time::timeout(LONG, std::future::pending::<()>())).await;
                }
            });
        })
        .run()
}

/// One task at a time: spawned, stopped, joined.
fn stopped(name: &str, runtime: &Runtime, effort: Effort) -> Row {
    let items = effort.items(100_000);
    Contest::new(format!("spawn, cancel, join, {name}, ns"), effort.rounds(9))
        .per_item("ours", items, || {
            task(runtime, async move {
                let all = Token::new();
                for _ in 0..items {
                    let token = all.child();
                    let stopped = token.clone();
                    let task = tokio::spawn(async move {
                        stopped.run_until_cancelled(std::future::pending::<()>()).await
                    });
                    token.cancel();
                    assert!(task.await.expect("it ends by itself").is_err());
                }
            });
        })
        .per_item("abort", items, || {
            task(runtime, async move {
                for _ in 0..items {
                    let task = tokio::spawn(std::future::pending::<()>());
                    task.abort();
                    assert!(task.await.is_err());
                }
            });
        })
        .run()
}

fn sleepers(name: &str, runtime: &Runtime, effort: Effort) -> Row {
    let sleepers = effort.items(10_000);
    Contest::new(format!("cancel {sleepers} sleepers, {name}, ns each"), effort.rounds(15))
        .figure("ours", || {
            task(runtime, async move {
                let token = Token::new();
                let sleep = || {
                    let token = token.clone();
                    async move { token.run_until_cancelled(tokio::time::sleep(LONG)).await }
                };
                let tasks: Vec<_> = (0..sleepers).map(|_| tokio::spawn(sleep())).collect();
                until_asleep().await;
                let start = std::time::Instant::now();
                token.cancel();
                for task in tasks {
                    let _ = task.await;
                }
                selvedge_benches::nanos(start.elapsed()) / sleepers as f64
            })
        })
        .figure("AbortHandle", || {
            task(runtime, async move {
                let sleep = || tokio::time::sleep(LONG);
                let tasks: Vec<_> = (0..sleepers).map(|_| tokio::spawn(sleep())).collect();
                until_asleep().await;
                let start = std::time::Instant::now();
                tasks.iter().for_each(tokio::task::JoinHandle::abort);
                for task in tasks {
                    let _ = task.await;
                }
                selvedge_benches::nanos(start.elapsed()) / sleepers as f64
            })
        })
        .run()
}

/// Lets every task that was spawned be polled.
async fn until_asleep() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// One closure at a time, and 64 callers at once.
fn offload(name: &str, runtime: &Runtime, effort: Effort, callers: usize) -> Row {
    let items = effort.items(20_000);
    let title = format!("offload, {callers} callers, {name}, ns");
    Contest::new(title, effort.rounds(9))
        .per_item("ours", items, || {
            calls(runtime, items, callers, async |n| to_thread(move |_| n).await.is_ok());
        })
        .per_item("spawn_blocking", items, || {
            calls(runtime, items, callers, async |n| {
                tokio::task::spawn_blocking(move || n).await.is_ok()
            });
        })
        .run()
}

fn calls<F>(runtime: &Runtime, items: usize, callers: usize, call: F)
where
    F: AsyncFn(usize) -> bool,
{
    runtime.block_on(async {
        let caller = async |_| {
            for n in 0..items / callers {
                assert!(black_box(call(n).await));
            }
        };
        futures::future::join_all((0..callers).map(caller)).await;
    });
}

fn main() {
    let single = Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Ok(job) = std::env::var(gather::WEIGH) {
        return gather::answer(&job, &single);
    }
    let multi =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let effort = Effort::from_args();
    print_machine();
    let with_python = python("print(1)").is_some();
    if !with_python {
        println!("asyncio is left out: there is no python3 here");
    }
    let mut met = Vec::new();
    let mut target = |what: &str, name: &str, ratio: f64, most: f64| {
        met.push(format!(
            "{} {what}, {name}: {ratio:.2}x, target <= {most:.2}x",
            if ratio <= most { "met   " } else { "MISSED" }
        ));
    };
    for (name, runtime) in [("current thread", &single), ("2 workers", &multi)] {
        if wanted("gather") {
            let row = gather::speed(name, runtime, effort, with_python);
            let ratio = row.ratio("buffer_unordered");
            target("gather in place against buffer_unordered", name, ratio, 0.5);
            target("gather in place against FutureGroup", name, row.ratio("FutureGroup"), 0.75);
        }
        if wanted("timeout") {
            let row = ready(name, runtime, effort);
            target("timeout(ready) against tokio", name, row.ratio("tokio"), 0.5);
            let row = pending(name, runtime, effort);
            target("timeout(pending) against tokio", name, row.ratio("tokio"), 1.1);
        }
        if wanted("cancel") {
            let row = stopped(name, runtime, effort);
            target("spawn, cancel, join against abort", name, row.ratio("abort"), 1.1);
            let row = sleepers(name, runtime, effort);
            let ratio = row.ratio("AbortHandle");
            target("cancel of sleepers against AbortHandle", name, ratio, 1.1);
        }
        if wanted("offload") {
            for callers in [1, 64] {
                offload(name, runtime, effort, callers);
            }
        }
    }
    if wanted("memory") {
        gather::memory(effort, with_python);
    }
    println!();
    for line in met {
        println!("{line}");
    }
}
