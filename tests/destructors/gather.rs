//! What a gather drops: its source, its items, outcomes that nobody takes, and
//! the hook. Each item has its outcome, and the others have theirs.

use super::{Bomb, armed, bomb, ended, is_panic, ms};
use crate::support::paused;
use futures_core::Stream;
use selvedge::cancel::Token;
use selvedge::gather::{Gather, GatherError, Interrupted, gather, gather_stream};
use selvedge::nz;
use selvedge::outcome::Outcome;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::sleep;

type Item = Pin<Box<dyn Future<Output = Result<Bomb, Bomb>> + Send>>;

/// Item 0 ends well, 1 fails, the others never end. The source is beside a
/// bomb.
struct Source(usize, #[expect(dead_code, reason = "held")] Bomb);

impl Stream for Source {
    type Item = Item;
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Item>> {
        let n = self.0;
        self.0 += 1;
        Poll::Ready(match n {
            0 => Some(Box::pin(async { Ok(Bomb("value")) })),
            1 => Some(Box::pin(async { Err(Bomb("error")) })),
            2..=4 => Some(Box::pin(armed("item", None))),
            _ => None,
        })
    }
}

fn three(of_source: bool) -> Gather<Source> {
    gather_stream(Source(0, bomb(of_source, "source"))).limit(nz!(3))
}

/// Drops an outcome without a bang; what it was.
fn quiet(outcome: Outcome<Bomb, Bomb>) -> &'static str {
    match outcome {
        Outcome::Ok(bomb) | Outcome::Err(bomb) => bomb.disarm(),
        Outcome::Panicked(_) => "panicked",
        other => panic!("{other:?}"),
    }
}

/// The value and the error are there, and items whose destructor panics when
/// the gather stops have ended with that.
#[test]
fn of_a_gather_that_is_stopped() {
    for of_source in [false, true] {
        for spawned in [true, false] {
            let stopped = ended(|| {
                paused().block_on(async {
                    let token = Token::new();
                    let gather = three(of_source).token(token.clone());
                    tokio::spawn(async move {
                        sleep(ms(10)).await;
                        token.cancel_because("enough");
                    });
                    if spawned { gather.collect().await } else { gather.collect_in_place().await }
                })
            });
            let stopped = stopped.unwrap().unwrap_err();
            assert!(matches!(stopped.why, Interrupted::Cancelled(_)), "{:?}", stopped.why);
            let outcomes: Vec<_> =
                stopped.ended.into_iter().map(|(n, outcome)| (n, quiet(outcome))).collect();
            let panicked = (2..5).map(|n| (n, "panicked"));
            assert_eq!(
                outcomes,
                [(0, "value"), (1, "error")].into_iter().chain(panicked).collect::<Vec<_>>()
            );
        }
    }
}

/// The first failure stays, whatever the others do.
#[test]
fn of_a_gather_that_fails() {
    for of_source in [false, true] {
        for spawned in [true, false] {
            let failed = ended(|| {
                paused().block_on(async {
                    let gather = three(of_source);
                    if spawned {
                        gather.try_collect().await
                    } else {
                        gather.try_collect_in_place().await
                    }
                })
            });
            let Err(GatherError::Failed(failure)) = failed.unwrap() else { panic!("it failed") };
            assert_eq!(failure.index(), 1);
            let Outcome::Err(error) = failure.into_outcome() else { panic!("it is an error") };
            assert_eq!(error.disarm(), "error");
        }
    }
}

/// A stream gives what has ended, and no less because of what it drops; one
/// that is dropped drops its items, inputs and outcomes quietly.
#[test]
fn of_a_stream() {
    for of_source in [false, true] {
        for ordered in [true, false] {
            let taken = ended(|| {
                paused().block_on(async {
                    let gather = three(of_source);
                    let gather = if ordered { gather } else { gather.unordered() };
                    let mut stream = gather.stream();
                    sleep(ms(10)).await;
                    let first = stream.next().await.unwrap().unwrap();
                    drop(stream);
                    sleep(ms(10)).await;
                    (first.0, quiet(first.1))
                })
            });
            let taken = taken.unwrap();
            assert!(taken == (0, "value") || (!ordered && taken == (1, "error")), "{taken:?}");
        }
    }
}

/// Dropped half way, at its deadline for instance.
#[test]
fn of_a_gather_that_is_dropped() {
    for spawned in [true, false] {
        let after = ended(|| {
            paused().block_on(async {
                let gather = three(false);
                let late = if spawned {
                    tokio::time::timeout(ms(10), gather.collect()).await.is_err()
                } else {
                    tokio::time::timeout(ms(10), gather.collect_in_place()).await.is_err()
                };
                sleep(ms(10)).await;
                late
            })
        });
        assert_eq!(after, Ok(true));
    }
}

/// A future whose destructor panics at its end has ended with that, and the
/// next item goes on.
#[test]
fn of_an_item_at_its_end() {
    let outcomes = paused().block_on(async {
        let items = (0..4)
            .map(|n| armed::<Result<i32, i32>>(if n == 1 { "item" } else { "" }, Some(Ok(n))));
        gather(items).limit(nz!(1)).collect().await
    });
    let outcomes = outcomes.unwrap().into_vec();
    assert!(is_panic(&outcomes[1]), "{outcomes:?}");
    assert_eq!(outcomes.into_iter().filter_map(Outcome::ok).collect::<Vec<_>>(), [0, 2, 3]);
}

/// A source that panics when it is dropped at its end is told; the outcomes
/// are there.
#[test]
fn of_a_source_at_its_end() {
    struct Two(u8, #[expect(dead_code, reason = "held")] Bomb);
    impl Iterator for Two {
        type Item = Item;
        fn next(&mut self) -> Option<Item> {
            self.0 += 1;
            (self.0 <= 2).then(|| Box::pin(async { Ok(Bomb("value")) }) as Item)
        }
    }
    for spawned in [true, false] {
        let ended = ended(|| {
            paused().block_on(async {
                let gather = gather(Two(0, Bomb("source"))).limit(nz!(1));
                if spawned { gather.collect().await } else { gather.collect_in_place().await }
            })
        });
        let stopped = ended.unwrap().unwrap_err();
        assert!(matches!(stopped.why, Interrupted::Panicked(_)), "{:?}", stopped.why);
        let outcomes: Vec<_> =
            stopped.ended.into_iter().map(|(_, outcome)| quiet(outcome)).collect();
        assert_eq!(outcomes, ["value", "value"]);
    }
}

/// The hook goes with the gather, and takes no outcome along.
#[test]
fn of_the_hook() {
    let ended = ended(|| {
        paused().block_on(async {
            let hook = Bomb("hook");
            let gather = gather((0..3).map(async |n: u8| Ok::<_, ()>(n)));
            gather.on_progress(move |_| assert_eq!({ &hook }.0, "hook")).collect().await
        })
    });
    assert_eq!(ended.unwrap().unwrap().all().unwrap(), [0, 1, 2]);
}

/// Values beside a failure, and failures behind the first.
#[test]
fn of_many_outcomes() {
    let outcomes = || {
        let value = || Outcome::Ok(Bomb("value"));
        let error = |what| Outcome::Err(Bomb(what));
        let all = [value(), value(), error("first"), error("second"), error("third"), value()];
        all.into_iter().collect::<selvedge::outcome::Outcomes<_, _>>()
    };
    let first = ended(|| outcomes().all()).unwrap().unwrap_err();
    assert_eq!((first.index(), quiet(first.into_outcome().widen())), (2, "first"));
    let all = ended(|| outcomes().all_or_failures()).unwrap().unwrap_err();
    let all: Vec<_> =
        all.into_iter().map(|failure| quiet(failure.into_outcome().widen())).collect();
    assert_eq!(all, ["first", "second", "third"]);
}
