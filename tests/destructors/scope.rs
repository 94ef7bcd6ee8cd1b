//! What a scope drops: its body, children, cleanups and surplus errors.

use super::{Armed, Bomb, Payload, armed, is_panic, ms};
use crate::support::paused;
use selvedge::outcome::Outcome;
use selvedge::scope::{Scope, scope};
use selvedge::timeout::with_timeout;
use std::panic::panic_any;
use std::sync::{Arc, Mutex, mpsc};
use tokio::time::sleep;

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
