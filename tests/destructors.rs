//! Destructors that panic, at every place where a block drops what a user
//! gave it: the block's promise holds. One test a block, one row a place.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use selvedge::cancel::Token;
use selvedge::outcome::Outcome;
use selvedge::scope::{Scope, scope};
use selvedge::timeout::with_timeout;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;
use support::paused;
use tokio::time::sleep;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Panics when it is dropped.
#[derive(Debug, PartialEq, Eq)]
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(Payload(self.0));
    }
}

/// A payload that panics in turn.
struct Payload(&'static str);

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("the payload of {}", self.0);
    }
}

/// A future beside a bomb, which goes off when the future is dropped.
struct Armed<F>(Pin<Box<F>>, #[expect(dead_code, reason = "held")] Option<Bomb>);

impl<F: Future> Future for Armed<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(context)
    }
}

/// One that ends or not.
fn armed<T>(what: &'static str, ends: Option<T>) -> Armed<impl Future<Output = T>> {
    let future = async move {
        match ends {
            Some(value) => value,
            None => std::future::pending().await,
        }
    };
    Armed(Box::pin(future), Some(Bomb(what)))
}

fn is_panic<T, E>(outcome: &Outcome<T, E>) -> bool {
    matches!(outcome, Outcome::Panicked(_))
}

/// What is dropped in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BodyAtItsEnd,
    BodyAtACancel,
    BodyThatFailed,
    ClosureOfTheBody,
    ValueOfTheBody,
    ChildAtItsEnd,
    ChildAtACancel,
    ChildNeverPolled,
    ChildBesideAFailure,
    CleanupAtItsEnd,
    CleanupAtItsDeadline,
    PayloadOfTheBody,
    SecondError,
}

#[test]
fn of_a_scope() {
    #[derive(Debug, PartialEq, Eq)]
    enum Error {
        First,
        Armed(Bomb),
    }
    use Place::*;
    for place in [
        BodyAtItsEnd,
        BodyAtACancel,
        BodyThatFailed,
        ClosureOfTheBody,
        ValueOfTheBody,
        ChildAtItsEnd,
        ChildAtACancel,
        ChildNeverPolled,
        ChildBesideAFailure,
        CleanupAtItsEnd,
        CleanupAtItsDeadline,
        PayloadOfTheBody,
        SecondError,
    ] {
        let ran = Arc::new(Mutex::new(Vec::new()));
        let exit = paused().block_on(async {
            let says = |what| {
                let ran = Arc::clone(&ran);
                async move {
                    ran.lock().unwrap().push(what);
                    Ok(())
                }
            };
            let builder = scope::<Error>().on_exit("last", says("last")).cleanup_within(ms(30));
            let builder = match place {
                CleanupAtItsEnd => builder.on_exit("armed", armed("cleanup", Some(Ok(())))),
                CleanupAtItsDeadline => builder.on_exit("armed", armed("cleanup", None)),
                _ => builder.on_exit("armed", async { Ok(()) }),
            };
            let builder = builder.on_exit("first", says("first"));
            let closure = (place == ClosureOfTheBody).then(|| Bomb("closure"));
            let body = move |scope: Scope<Error>| {
                let closure = closure;
                drop(closure);
                let holds = matches!(place, BodyAtItsEnd | BodyThatFailed | BodyAtACancel);
                let body = async move {
                    match place {
                        BodyThatFailed => return Err(Error::First),
                        BodyAtACancel => {
                            scope.cancel_because("from inside");
                            std::future::pending::<()>().await;
                        }
                        ValueOfTheBody => {
                            scope.cancel_because("from inside");
                            return Ok(Some(Bomb("value")));
                        }
                        ChildAtItsEnd => {
                            scope.spawn(armed("child", Some(Ok(()))));
                        }
                        ChildAtACancel => {
                            scope.spawn(armed("child", None));
                            scope.spawn(armed("another", None));
                            sleep(ms(5)).await;
                            scope.cancel_because("from inside");
                        }
                        ChildNeverPolled => {
                            let bomb = Bomb("child");
                            scope.spawn(async move {
                                let _bomb = bomb;
                                Ok(())
                            });
                            scope.cancel_because("from inside");
                        }
                        ChildBesideAFailure => {
                            scope.spawn(armed("child", None));
                            scope.spawn(async { Err(Error::First) });
                            sleep(ms(5)).await;
                        }
                        PayloadOfTheBody => panic_any(Payload("body")),
                        SecondError => {
                            scope.spawn(async { Err(Error::First) });
                            scope.spawn(async { Err(Error::Armed(Bomb("error"))) });
                            sleep(ms(5)).await;
                        }
                        _ => {}
                    }
                    Ok(None)
                };
                Armed(Box::pin(body), holds.then(|| Bomb("body")))
            };
            builder.run(body).await
        });
        assert_eq!(*ran.lock().unwrap(), ["first", "last"], "{place:?}");
        assert_eq!(exit.cleanup.len(), 3, "{place:?}");
        assert!(exit.drained, "{place:?}");
        let armed = &exit.cleanup[1].outcome;
        let of_cleanup = matches!(place, CleanupAtItsEnd | CleanupAtItsDeadline);
        assert_eq!(is_panic(armed), of_cleanup, "{place:?}: {armed:?}");
        match place {
            BodyThatFailed | ChildBesideAFailure | SecondError => {
                assert_eq!(exit.outcome, Outcome::Err(Error::First), "{place:?}");
            }
            _ if of_cleanup => assert_eq!(exit.outcome, Outcome::Ok(None), "{place:?}"),
            _ => assert!(is_panic(&exit.outcome), "{place:?}: {:?}", exit.outcome),
        }
    }
}

/// Dropped, it runs its cleanups all the same, and its caller goes on.
#[test]
fn of_a_scope_that_is_dropped() {
    paused().block_on(async {
        let (cleaned, count) = mpsc::channel();
        let running = scope::<()>()
            .on_exit("count", async move {
                cleaned.send(()).unwrap();
                Ok(())
            })
            .on_exit("armed", armed("cleanup", Some(Ok(()))))
            .run(|scope| {
                scope.spawn(armed("child", None));
                armed::<Result<(), ()>>("body", None)
            });
        assert!(with_timeout(running, ms(10)).await.is_err());
        sleep(ms(10)).await;
        assert_eq!(count.try_iter().count(), 1);
    });
}

/// What `with_timeout` and `run_until_cancelled` are given is their caller's:
/// the panic of its destructor surfaces there.
#[test]
fn of_a_timeout_and_of_a_token() {
    let unwound = |run: &dyn Fn()| match catch_unwind(AssertUnwindSafe(run)) {
        Ok(()) => false,
        Err(payload) => {
            std::mem::forget(payload);
            true
        }
    };
    assert!(unwound(&|| {
        let _ = paused().block_on(with_timeout(armed::<()>("future", None), ms(10)));
    }));
    assert!(unwound(&|| {
        let token = Token::new();
        let stopped = token.clone();
        let armed = async move {
            let _bomb = Bomb("future");
            stopped.cancel();
            std::future::pending::<()>().await;
        };
        let _ = paused().block_on(token.run_until_cancelled(armed));
    }));
}
