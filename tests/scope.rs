//! Scopes on tokio: the paused clock under perturbed schedules.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::unit_arg, reason = "bodies whose value is that of a sleep")]

mod support;

use selvedge::cancel::Token;
use selvedge::outcome::Outcome;
use selvedge::scope::{Cleaned, scope};
use selvedge::timeout::{current, with_timeout};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{paused, perturbed};
use tokio::time::{Instant, sleep};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn says(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
    fn cleanup(
        &self,
        what: &'static str,
    ) -> impl Future<Output = Result<(), &'static str>> + Send + use<> {
        let log = self.clone();
        async move {
            sleep(ms(10)).await;
            log.says(what);
            Ok(())
        }
    }
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn names<E>(cleaned: &[Cleaned<E>]) -> Vec<&'static str> {
    cleaned.iter().map(|one| one.name).collect()
}

#[test]
fn cleanup_runs_on_every_way_out_in_reverse_order() {
    perturbed(|perturb| async move {
        for way in ["value", "error", "panic", "cancel", "child error", "child panic"] {
            let log = Log::default();
            let exit = scope()
                .on_exit("first", perturb.around(log.cleanup("first")))
                .on_exit("second", perturb.around(log.cleanup("second")))
                .run(|scope| {
                    let (log, perturb) = (log.clone(), perturb.clone());
                    perturb.clone().around(async move {
                        assert!(scope.on_exit("third", log.cleanup("third")));
                        sleep(ms(10)).await;
                        log.says("body");
                        match way {
                            "error" => return Err("body"),
                            "panic" => panic!("body"),
                            "cancel" => assert!(scope.cancel_because("from inside")),
                            "child error" => {
                                assert!(scope.spawn(perturb.around(async { Err("child") })))
                            }
                            "child panic" => {
                                scope.spawn(perturb.around(async { panic!("child") }));
                            }
                            _ => return Ok(7),
                        }
                        sleep(ms(60_000)).await;
                        log.says("not reached");
                        Ok(8)
                    })
                })
                .await;
            assert_eq!(log.take(), ["body", "third", "second", "first"], "{way}");
            assert_eq!(names(&exit.cleanup), ["third", "second", "first"]);
            assert!(exit.drained && exit.cleanup.iter().all(|one| one.outcome.is_ok()));
            match (way, exit.outcome) {
                ("value", Outcome::Ok(7))
                | ("error", Outcome::Err("body"))
                | ("child error", Outcome::Err("child")) => {}
                ("panic" | "child panic", Outcome::Panicked(panic)) => {
                    assert_eq!(panic.message(), if way == "panic" { "body" } else { "child" });
                }
                ("cancel", Outcome::Cancelled(why)) => assert_eq!(why.cause(), Some("from inside")),
                (way, other) => panic!("{way}: {other:?}"),
            }
        }
    });
}

#[test]
fn a_cleanup_that_fails_panics_or_never_ends_does_not_stop_the_others() {
    perturbed(|perturb| async move {
        let (start, log) = (Instant::now(), Log::default());
        let exit = scope()
            .on_exit("last", log.cleanup("last"))
            .cleanup_within(ms(200))
            .on_exit("hangs", perturb.around(std::future::pending()))
            .on_exit("panics", perturb.around(async { panic!("cleanup") }))
            .on_exit("fails", perturb.around(async { Err("no") }))
            .run(|_| async { Ok(()) })
            .await;
        let [fails, panics, hangs, last] = &exit.cleanup[..] else { panic!("{exit:?}") };
        assert_eq!(fails.outcome, Outcome::Err("no"));
        assert!(matches!(&panics.outcome, Outcome::Panicked(p) if p.message() == "cleanup"));
        assert!(matches!(&hangs.outcome, Outcome::TimedOut(_)));
        assert!(last.outcome.is_ok() && exit.outcome.is_ok());
        assert_eq!(start.elapsed(), ms(210));
    });
}

#[test]
fn cleanup_is_shielded_from_the_deadline_that_the_scope_is_under() {
    perturbed(|perturb| async move {
        let (log, token) = (Log::default(), Token::new());
        let cleanup = {
            let log = log.clone();
            async move {
                assert_eq!(current().unwrap().allowance(), ms(5_000));
                sleep(ms(300)).await;
                log.says("cleaned");
                Ok::<_, ()>(())
            }
        };
        let running = scope().token(&token).on_exit("slow", perturb.around(cleanup));
        let running = perturb.around(running.run(|_| sleep_ok(900)));
        let ended = with_timeout(running, ms(100)).or_grace(token, ms(1_000)).await;
        let selvedge::timeout::Graced::Late(exit, _) = ended else { panic!("{ended:?}") };
        assert!(matches!(exit.outcome, Outcome::Cancelled(_)));
        assert_eq!(log.take(), ["cleaned"]);
    });
}

async fn sleep_ok(n: u64) -> Result<(), ()> {
    sleep(ms(n)).await;
    Ok(())
}

#[test]
fn a_dropped_scope_cleans_up_in_the_background() {
    perturbed(|perturb| async move {
        let log = Log::default();
        let running = scope()
            .on_exit("cleaned", perturb.around(log.cleanup("cleaned")))
            .run(|_| async { Ok(sleep(ms(900)).await) });
        assert!(with_timeout(running, ms(perturb.below(100))).await.is_err());
        sleep(ms(20)).await;
        assert_eq!(log.take(), ["cleaned"]);
    });
}

#[test]
fn grace_lets_body_and_children_end_by_themselves() {
    perturbed(|perturb| async move {
        let (start, log) = (Instant::now(), Log::default());
        let token = Token::new();
        let canceller = {
            let token = token.clone();
            async move {
                sleep(ms(50)).await;
                token.cancel_because("enough");
            }
        };
        let canceller = tokio::spawn(perturb.around(canceller));
        let exit = scope::<()>()
            .token(&token)
            .grace(ms(100))
            .run(|scope| {
                let log = log.clone();
                let child = {
                    let (log, scope) = (log.clone(), scope.clone());
                    async move {
                        scope.token().cancelled().await;
                        sleep(ms(30)).await;
                        log.says("child");
                        Ok(())
                    }
                };
                assert!(scope.spawn(perturb.around(child)));
                assert!(scope.spawn(perturb.around(std::future::pending::<Result<(), ()>>())));
                perturb.around(async move {
                    scope.token().cancelled().await;
                    sleep(ms(20)).await;
                    log.says("body");
                    Ok("never swallowed")
                })
            })
            .await;
        canceller.await.unwrap();
        assert_eq!(log.take(), ["body", "child"]);
        assert!(matches!(exit.outcome, Outcome::Cancelled(why) if why.cause() == Some("enough")));
        // The deaf child had its grace from the end of the body on.
        assert_eq!(start.elapsed(), ms(170));
    });
}

#[test]
fn nested_scopes_cancelled_from_inside() {
    perturbed(|perturb| async move {
        let log = Log::default();
        let exit = scope::<&str>()
            .on_exit("outer", log.cleanup("outer"))
            .run(|outer| {
                let (log, perturb) = (log.clone(), perturb.clone());
                async move {
                    let inner = scope::<&str>().token(outer.token()).grace(ms(100));
                    let inner = inner.on_exit("inner", perturb.around(log.cleanup("inner")));
                    let exit = inner
                        .run(|inner| async move {
                            inner.cancel_because("inner only");
                            Ok(sleep(ms(900)).await)
                        })
                        .await;
                    assert!(matches!(exit.outcome, Outcome::Cancelled(_)));
                    assert!(!outer.token().is_cancelled());
                    Ok(exit.cleanup.len())
                }
            })
            .await;
        assert_eq!((exit.outcome, log.take()), (Outcome::Ok(1), vec!["inner", "outer"]));
    });
}

#[test]
fn a_thousand_children_are_joined_at_once() {
    perturbed(|perturb| async move {
        let start = Instant::now();
        let exit = scope::<()>()
            .run(|scope| async move {
                for _ in 0..1_000 {
                    scope.spawn(perturb.around(sleep_ok(60_000)));
                }
                scope.cancel_because("all of you");
                Ok(())
            })
            .await;
        assert!(matches!(exit.outcome, Outcome::Cancelled(_)));
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

/// What is written down as not promised.
#[test]
fn a_runtime_that_is_gone_runs_no_cleanup_and_a_forgotten_scope_neither() {
    let log = Log::default();
    let runtime = paused();
    let running =
        scope().on_exit("lost", log.cleanup("lost")).run(|_| async { Ok(sleep(ms(900)).await) });
    runtime.block_on(async {
        let mut running = Box::pin(running);
        assert!(with_timeout(running.as_mut(), ms(1)).await.is_err());
        let forgotten =
            scope().on_exit("forgotten", log.cleanup("forgotten")).run(|_| async { Ok(()) });
        std::mem::forget(forgotten);
        tokio::spawn(running);
        tokio::task::yield_now().await;
    });
    drop(runtime);
    assert!(log.take().is_empty());
}

#[test]
fn an_ended_scope_takes_nothing_more() {
    paused().block_on(async {
        let kept = Mutex::new(None);
        let exit =
            scope::<()>().run(|scope| async { Ok(*kept.lock().unwrap() = Some(scope)) }).await;
        assert!(exit.outcome.is_ok());
        let scope = kept.lock().unwrap().take().unwrap();
        assert!(!scope.spawn(async { Ok(()) }));
        assert!(!scope.on_exit("late", async { Ok(()) }));
    });
}

/// A scope that is dropped inside of another ends before that one goes on.
#[test]
fn an_inner_scope_ends_before_its_outer_one_goes_on() {
    for (way, grace) in [("child", 0), ("child", 15), ("body", 0), ("timeout", 0), ("gather", 0)] {
        perturbed(|perturb| async move {
            let log = Log::default();
            let outer = scope::<&str>().grace(ms(grace));
            let outer = outer.on_exit("outer", perturb.around(log.cleanup("outer")));
            let exit = outer
                .run(|scope| {
                    let (inner_log, perturb) = (log.clone(), perturb.clone());
                    async move {
                        let inner = |log: Log| {
                            selvedge::scope::scope::<&str>()
                                .on_exit("inner", log.cleanup("inner"))
                                .run(move |_| async move {
                                    let innermost = selvedge::scope::scope::<&str>()
                                        .on_exit("innermost", log.cleanup("innermost"))
                                        .run(|_| std::future::pending::<Result<(), _>>());
                                    innermost.await.outcome.into_result().map_err(|_| "stopped")
                                })
                        };
                        match way {
                            "child" => {
                                scope.spawn(perturb.around(async move {
                                    drop(inner(inner_log).await);
                                    Ok(())
                                }));
                            }
                            "timeout" => {
                                scope.spawn(perturb.around(async move {
                                    drop(with_timeout(inner(inner_log), ms(5)).await);
                                    Ok(())
                                }));
                            }
                            "gather" => {
                                scope.spawn(perturb.around(async move {
                                    let one = std::iter::once(async move {
                                        drop(inner(inner_log).await);
                                        Ok::<_, ()>(())
                                    });
                                    drop(selvedge::gather::gather(one).collect().await);
                                    Ok(())
                                }));
                            }
                            _ => {
                                let scope = scope.clone();
                                tokio::spawn(async move {
                                    sleep(ms(10)).await;
                                    scope.cancel_because("enough");
                                });
                                drop(inner(inner_log).await);
                            }
                        }
                        sleep(ms(10)).await;
                        assert!(scope.cancel_because("enough"));
                        std::future::pending::<Result<(), _>>().await
                    }
                })
                .await;
            log.says("returned");
            assert!(exit.cleanup[0].outcome.is_ok());
            sleep(ms(100)).await;
            assert_eq!(log.take(), ["innermost", "inner", "outer", "returned"], "{way}");
        });
    }
}

/// A cleanup that times out leaves no scope of its own behind: what it began
/// has its whole deadline, and the next cleanup waits for it.
#[test]
fn a_scope_inside_a_cleanup_keeps_its_own_deadline() {
    paused().block_on(async {
        let log = Log::default();
        let inner = {
            let log = log.clone();
            async move {
                let inner = scope::<&str>().on_exit("inner", async move {
                    sleep(ms(50)).await;
                    log.says("inner");
                    Ok(())
                });
                drop(inner.run(|_| std::future::pending::<Result<(), _>>()).await);
                Ok(())
            }
        };
        let outer = scope().on_exit("next", log.cleanup("next")).cleanup_within(ms(20));
        let start = Instant::now();
        let exit = outer.on_exit("holds one", inner).run(|_| async { Ok(()) }).await;
        assert_eq!(log.take(), ["inner", "next"]);
        assert!(matches!(exit.cleanup[0].outcome, Outcome::TimedOut(_)), "{exit:?}");
        assert_eq!(start.elapsed(), ms(20 + 50 + 10));
    });
}
