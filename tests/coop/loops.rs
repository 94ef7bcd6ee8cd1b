//! Every public future, stream and async function, and the row that covers it.
//!
//! | room | what | rows |
//! |---|---|---|
//! | queue | `SendFuture`, `RecvFuture`, `RecvManyFuture`, each `by_deadline`, `RecvStream` | their names |
//! | semaphore | `Acquire`, borrowed and owned | `Semaphore::acquire`, `acquire_owned` |
//! | rate | `Acquire`, `Reserve`, each `by_deadline`, `RateLimited`, `FromIter` | their names; `FromIter` with `RateLimited` |
//! | cancel | `Cancellation` | `Token::cancelled` |
//! | offload | `Job`, `Pool::{submit, submit_by, run, run_by}`, `to_thread`, `to_thread_by` | `offload job`, `Pool::submit`, `Pool::run`, `to_thread` |
//! | process | `Handle`, `Stream`, `submit_async`, `map_async`, and the forms with a context | their names |
//! | gather | `GatherStream` as a stream and by `next`, `collect`, `try_collect`, `partition`, `collect_in_place`, `try_collect_in_place` | their names |
//! | scope | `Builder::run` | `scope` |
//! | pipeline | `Flow::{fold, totals}` | `Flow::fold`, `Flow::totals` |
//!
//! What runs a future of the caller's on the caller's task waits where that
//! does, and is on the other side of these tests: `Timeout`, `Graceful`,
//! `Detachable`, `Inherit` and `Token::run_until_cancelled` are what stops the
//! loops. The functions of `exercises` are thin uses of these blocks.

use super::{Endless, Loop, PATIENCE};
use futures_util::StreamExt;
use selvedge::cancel::Token;
use selvedge::gather::gather;
use selvedge::nz;
use selvedge::offload::{Pool, to_thread};
use selvedge::outcome::Outcome;
use selvedge::pipeline::{Flow, Overflow, key_value};
use selvedge::queue;
use selvedge::rate::{FromIter, Limiter, Rate, rate_limited_stream};
use selvedge::scope::scope;
use selvedge::semaphore::Semaphore;
use std::sync::Arc;
use std::time::Instant;

/// A step that always finds something, for ever.
macro_rules! ready_for_ever {
    ($setup:block, $step:expr) => {
        || -> Loop {
            Box::pin(async move {
                #[allow(unused_mut, reason = "some of them are streams")]
                let mut it = $setup;
                let start = Instant::now();
                while start.elapsed() < PATIENCE {
                    let step = $step;
                    step(&mut it).await;
                }
            })
        }
    };
}

fn fast() -> Arc<Limiter> {
    let rate = Rate::per_second(nz!(1_000_000_000));
    Arc::new(Limiter::builder(rate).burst(nz!(100_000_000)).build())
}

/// A queue that is never empty: what is received is sent again.
pub(super) fn full() -> (queue::Sender<u8>, queue::Receiver<u8>) {
    let (tx, rx) = queue::unbounded();
    (0..4).for_each(|n| tx.send(n).unwrap());
    (tx, rx)
}

pub(super) fn loops() -> Vec<(&'static str, Endless)> {
    #[allow(unused_mut, reason = "the process pool is for Linux")]
    let mut all: Vec<(&'static str, Endless)> = vec![
        (
            "recv_async",
            ready_for_ever!({ full() }, async |(tx, rx): &mut (
                queue::Sender<u8>,
                queue::Receiver<u8>
            )| {
                tx.send(rx.recv_async().await.unwrap()).unwrap();
            }),
        ),
        (
            "recv by_deadline",
            ready_for_ever!({ full() }, async |(tx, rx): &mut (
                queue::Sender<u8>,
                queue::Receiver<u8>
            )| {
                tx.send(rx.recv_async().by_deadline().await.unwrap()).unwrap();
            }),
        ),
        (
            "recv_many_async",
            ready_for_ever!({ full() }, async |(tx, rx): &mut (
                queue::Sender<u8>,
                queue::Receiver<u8>
            )| {
                let mut items = Vec::new();
                rx.recv_many_async(&mut items, nz!(4)).await.unwrap();
                items.into_iter().for_each(|item| tx.send(item).unwrap());
            }),
        ),
        (
            "closed recv_async",
            ready_for_ever!({ queue::unbounded::<u8>().1 }, async |rx: &mut queue::Receiver<
                u8,
            >| {
                assert!(rx.recv_async().await.is_err());
            }),
        ),
        (
            "RecvStream",
            ready_for_ever!(
                {
                    let (tx, rx) = full();
                    (tx, rx.into_stream())
                },
                async |(tx, rx): &mut (queue::Sender<u8>, queue::RecvStream<u8>)| {
                    tx.send(rx.next().await.unwrap()).unwrap();
                }
            ),
        ),
        (
            "send_async",
            ready_for_ever!({ full() }, async |(tx, rx): &mut (
                queue::Sender<u8>,
                queue::Receiver<u8>
            )| {
                tx.send_async(rx.try_recv().unwrap()).await.unwrap();
            }),
        ),
        (
            "send by_deadline",
            ready_for_ever!({ full() }, async |(tx, rx): &mut (
                queue::Sender<u8>,
                queue::Receiver<u8>
            )| {
                tx.send_async(rx.try_recv().unwrap()).by_deadline().await.unwrap();
            }),
        ),
        (
            "Semaphore::acquire",
            ready_for_ever!({ Semaphore::new(1) }, async |permits: &mut Semaphore| {
                drop(permits.acquire().await.unwrap());
            }),
        ),
        (
            "Semaphore::acquire_owned",
            ready_for_ever!({ Arc::new(Semaphore::new(2)) }, async |permits: &mut Arc<
                Semaphore,
            >| {
                drop(Semaphore::acquire_owned(permits, 2).await.unwrap());
            }),
        ),
        (
            "Limiter::acquire",
            ready_for_ever!({ fast() }, async |limiter: &mut Arc<Limiter>| {
                limiter.acquire(1).await.unwrap();
            }),
        ),
        (
            "acquire by_deadline",
            ready_for_ever!({ fast() }, async |limiter: &mut Arc<Limiter>| {
                limiter.acquire(1).by_deadline().await.unwrap();
            }),
        ),
        (
            "Limiter::reserve",
            ready_for_ever!({ fast() }, async |limiter: &mut Arc<Limiter>| {
                drop(limiter.reserve(1).await.unwrap());
            }),
        ),
        (
            "RateLimited",
            ready_for_ever!(
                { rate_limited_stream(FromIter::new(0_u64..), fast()) },
                async |stream: &mut selvedge::rate::RateLimited<
                    FromIter<std::ops::RangeFrom<u64>>,
                >| {
                    stream.next().await.unwrap();
                }
            ),
        ),
        (
            "Token::cancelled",
            ready_for_ever!(
                {
                    let token = Token::new();
                    token.cancel();
                    token
                },
                async |token: &mut Token| {
                    token.cancelled().await;
                }
            ),
        ),
        (
            "offload job",
            ready_for_ever!({ Pool::inline() }, async |pool: &mut Pool| {
                let Ok(job) = pool.try_submit(|_| 1) else { panic!("there is room") };
                assert_eq!(job.await, Outcome::Ok(1));
            }),
        ),
        (
            "collect_in_place",
            ready_for_ever!({}, async |(): &mut ()| {
                assert!(gather([async { Ok::<_, ()>(1) }]).collect_in_place().await.is_ok());
            }),
        ),
        ("GatherStream", || {
            Box::pin(async {
                let start = Instant::now();
                // The lanes are on this thread as well: they fill the window while
                // the stream gives way.
                let items = std::iter::repeat_with(|| async { Ok::<_, ()>(1) });
                let mut stream = gather(items).window(nz!(100_000)).stream();
                while start.elapsed() < PATIENCE {
                    assert!(StreamExt::next(&mut stream).await.unwrap().is_ok());
                }
            })
        }),
        (
            "recv_many by_deadline",
            ready_for_ever!({ full() }, async |(tx, rx): &mut (
                queue::Sender<u8>,
                queue::Receiver<u8>
            )| {
                let mut items = Vec::new();
                rx.recv_many_async(&mut items, nz!(4)).by_deadline().await.unwrap();
                items.into_iter().for_each(|item| tx.send(item).unwrap());
            }),
        ),
        (
            "reserve by_deadline",
            ready_for_ever!({ fast() }, async |limiter: &mut Arc<Limiter>| {
                drop(limiter.reserve(1).by_deadline().await.unwrap());
            }),
        ),
        (
            "Pool::submit",
            ready_for_ever!({ Pool::inline() }, async |pool: &mut Pool| {
                // Unpolled, it is not run.
                drop(pool.submit(|_| 1).await.ok().unwrap());
            }),
        ),
        (
            "Pool::run",
            ready_for_ever!({ Pool::inline() }, async |pool: &mut Pool| {
                assert_eq!(pool.run(|_| 1).await, Outcome::Ok(1));
            }),
        ),
        (
            "to_thread",
            ready_for_ever!({}, async |(): &mut ()| {
                assert_eq!(to_thread(|_| 1).await, Outcome::Ok(1));
            }),
        ),
        (
            "collect",
            ready_for_ever!({}, async |(): &mut ()| {
                assert!(gather([async { Ok::<_, ()>(1) }]).collect().await.is_ok());
            }),
        ),
        (
            "try_collect",
            ready_for_ever!({}, async |(): &mut ()| {
                assert!(gather([async { Ok::<_, ()>(1) }]).try_collect().await.is_ok());
            }),
        ),
        (
            "partition",
            ready_for_ever!({}, async |(): &mut ()| {
                assert!(gather([async { Ok::<_, ()>(1) }]).partition().await.is_ok());
            }),
        ),
        (
            "try_collect_in_place",
            ready_for_ever!({}, async |(): &mut ()| {
                assert!(gather([async { Ok::<_, ()>(1) }]).try_collect_in_place().await.is_ok());
            }),
        ),
        (
            "collect_in_place of much",
            ready_for_ever!({}, async |(): &mut ()| {
                let items = (0..1_000_000).map(|n| async move { Ok::<_, ()>(n) });
                assert!(gather(items).collect_in_place().await.is_ok());
            }),
        ),
        ("GatherStream::next", || {
            Box::pin(async {
                let start = Instant::now();
                let items = std::iter::repeat_with(|| async { Ok::<_, ()>(1) });
                let mut stream = gather(items).window(nz!(100_000)).stream();
                while start.elapsed() < PATIENCE {
                    assert!(stream.next().await.unwrap().is_ok());
                }
            })
        }),
        (
            "scope",
            ready_for_ever!({}, async |(): &mut ()| {
                let exit = scope::<()>().run(|_| async { Ok(1) }).await;
                assert_eq!(exit.outcome, Outcome::Ok(1));
            }),
        ),
        (
            "Flow::fold",
            ready_for_ever!({}, async |(): &mut ()| {
                let lines = std::iter::repeat_n("1", 100_000);
                let flow = Flow::lines("lines", lines).fold(0, |count, _| {
                    *count += 1;
                    Ok(())
                });
                assert_eq!(flow.await.unwrap().totals, 100_000);
            }),
        ),
        (
            "Flow::totals",
            ready_for_ever!({}, async |(): &mut ()| {
                let flow =
                    Flow::lines("lines", ["a:1"]).tasks("parse", nz!(1), |line| async move {
                        key_value(&line).map(|it| (it.key.to_owned(), it.value))
                    });
                assert_eq!(flow.totals(Overflow::Error).await.unwrap().totals.get("a"), Some(1));
            }),
        ),
    ];
    #[cfg(target_os = "linux")]
    all.extend(of_processes::loops());
    all
}

#[cfg(target_os = "linux")]
mod of_processes {
    use super::*;
    use selvedge::process::{self, Fault, Report};
    use serde::{Deserialize, Serialize, Serializer};

    /// No task of it gets to a process, and each has its report at once.
    #[derive(Debug, Clone, Deserialize)]
    struct Refused;

    impl Serialize for Refused {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("refused"))
        }
    }

    fn is_refused(report: &Report<()>) {
        assert!(matches!(report.outcome, Outcome::Err(Fault::Encode(_))), "{report:?}");
    }

    fn pool() -> process::Pool {
        process::Pool::builder().workers(nz!(1)).build().unwrap()
    }

    pub(super) fn loops() -> Vec<(&'static str, Endless)> {
        vec![
            (
                "process::Handle",
                ready_for_ever!({ pool() }, async |pool: &mut process::Pool| {
                    is_refused(&pool.submit(|_: Refused| (), Refused).await);
                }),
            ),
            (
                "process::submit_async",
                ready_for_ever!({ pool() }, async |pool: &mut process::Pool| {
                    drop(pool.submit_async(|_: Refused| (), Refused).await);
                }),
            ),
            (
                "process::map_async",
                ready_for_ever!({ pool() }, async |pool: &mut process::Pool| {
                    assert!(pool.map_async(|_: Refused| (), [Refused; 0]).await.is_ok());
                }),
            ),
            ("process::Stream", || {
                Box::pin(async {
                    let (start, pool) = (Instant::now(), pool());
                    let mut stream =
                        pool.stream(|_: Refused| (), std::iter::repeat(Refused), nz!(4));
                    while start.elapsed() < PATIENCE {
                        is_refused(&StreamExt::next(&mut stream).await.unwrap());
                    }
                })
            }),
        ]
    }
}
