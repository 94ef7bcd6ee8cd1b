//! What a pipeline drops: its source, its stages' closures and futures, lines
//! between the stages, the fold and what it made. The first failure stays, and
//! a run that would have ended well fails with the panic.

use super::{Armed, Bomb, bomb, ended, ms};
use crate::support::paused;
use selvedge::cancel::Token;
use selvedge::nz;
use selvedge::pipeline::{Error, Flow, Input, Pipeline, Reason, Record, key_value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::yield_now;
use tokio::time::sleep;

/// What is dropped in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Source,
    ClosureOfTasks,
    FutureOfTasks,
    ClosureOfThreads,
    /// Values between the stages and before the fold.
    Lines,
    Fold,
    Sum,
    Nothing,
}

use Place::*;

const PLACES: [Place; 8] =
    [Source, ClosureOfTasks, FutureOfTasks, ClosureOfThreads, Lines, Fold, Sum, Nothing];

/// How a run is to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    AtAFailure,
    /// While the other lines wait for the threads, which are at the first.
    AtACancel,
    /// The run is dropped.
    Never,
}

/// A line on its way, which is dropped quietly where it is folded.
struct Line(usize, Bomb);

/// Ten lines through tasks and threads. Line 5 fails, or is never done.
async fn run(place: Place, end: End) -> Result<u64, Error> {
    let of_source = bomb(place == Source, "source");
    let lines = (0..10).map(move |n| {
        let _held = &of_source;
        n.to_string()
    });
    let of_tasks = bomb(place == ClosureOfTasks, "tasks");
    let of_threads = bomb(place == ClosureOfThreads, "threads");
    let of_fold = bomb(place == Fold, "fold");
    let stop = Token::new();
    let (token, stopped) = (stop.clone(), stop.clone());
    let at_the_first = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&at_the_first);
    let flow = Flow::lines("lines", lines)
        .tasks("tasks", nz!(4), move |text| {
            let _held = &of_tasks;
            let (stop, begun) = (stop.clone(), Arc::clone(&begun));
            let armed = place == FutureOfTasks && (end == End::AtAFailure || &*text == "5");
            let work = async move {
                let n: usize = text.parse().unwrap();
                while n > 0 && end == End::AtACancel && !begun.load(Ordering::SeqCst) {
                    yield_now().await;
                }
                if n == 5 && end != End::AtAFailure {
                    // The others pass by.
                    for _ in 0..100 {
                        yield_now().await;
                    }
                    if end == End::AtACancel {
                        stop.cancel_because("enough");
                    }
                    std::future::pending::<()>().await;
                }
                Ok(Line(n, bomb(place == Lines, "line")))
            };
            Armed(Box::pin(work), armed.then(|| Bomb("future")))
        })
        .threads("threads", nz!(2), move |line: Line| {
            let _held = &of_threads;
            at_the_first.store(true, Ordering::SeqCst);
            while end == End::AtACancel && !stopped.is_cancelled() {
                std::thread::yield_now();
            }
            Ok::<_, Reason>(line)
        })
        .token(token);
    let folded = flow.fold((0, bomb(place == Sum, "sum")), move |(sum, _), line| {
        let _held = &of_fold;
        line.1.disarm();
        if line.0 == 5 {
            std::panic::panic_any("the fold's");
        }
        *sum += 1;
        Ok(())
    });
    folded.await.map(|report| {
        let (sum, bomb) = report.totals;
        bomb.disarm();
        sum
    })
}

#[test]
fn of_a_flow() {
    for end in [End::AtAFailure, End::AtACancel] {
        for place in PLACES {
            let ended = ended(|| paused().block_on(run(place, end)));
            let ended = ended.unwrap_or_else(|said| panic!("{place:?} {end:?}: {said}"));
            // How far it came before a cancel is up to the threads.
            match (end, place, &ended) {
                // A future fails its line where it ends, before the fold.
                (End::AtAFailure, FutureOfTasks, Err(Error::Panicked { at, stage, .. })) => {
                    assert_eq!((at.line, *stage), (1, Some("tasks")));
                }
                (End::AtAFailure, _, Err(Error::Panicked { at, stage, panic })) => {
                    let said = (at.line, *stage, panic.message());
                    assert_eq!(said, (6, Some("aggregate"), "the fold's"), "{place:?}");
                }
                // Lines were not to be done any more.
                (End::AtACancel, Nothing | Sum | Lines, Ok(0..=5)) => {}
                (End::AtACancel, _, Err(Error::Panicked { at, stage: None, .. })) => {
                    assert!(at.line <= 5, "{place:?}: {ended:?}");
                }
                _ => panic!("{place:?} {end:?}: {ended:?}"),
            }
        }
    }
}

/// Dropped half way: nothing of it panics out of the drop twice.
#[test]
fn of_a_flow_that_is_dropped() {
    for place in PLACES.into_iter().filter(|place| !matches!(place, Fold | Sum)) {
        let late = ended(|| {
            paused().block_on(async {
                let late = tokio::time::timeout(ms(5), run(place, End::Never)).await.is_err();
                sleep(ms(20)).await;
                late
            })
        });
        assert_eq!(late, Ok(true), "{place:?}");
    }
}

/// Its closures are the caller's; a failure stays.
#[test]
fn of_a_pipeline() {
    let inputs = || [Input::reader("lines", &b"a:1\na:2\nb:1\n"[..])];
    for of_parser in [true, false] {
        for fails in [true, false] {
            let (parser, transform) = (bomb(of_parser, "parser"), bomb(!of_parser, "transform"));
            let ended = ended(|| {
                Pipeline::parsing(move |line| {
                    let _held = &parser;
                    key_value(line)
                })
                .transform(move |record: Record<'_>| {
                    let _held = &transform;
                    assert!(!fails || record.value != 2, "two");
                    Ok(record)
                })
                .workers(nz!(2))
                .run(inputs())
            });
            match ended {
                Ok(Err(Error::Panicked { at, .. })) => assert!(fails && at.line == 2),
                Err(said) => {
                    assert!(!fails);
                    assert_eq!(said, if of_parser { "parser" } else { "transform" });
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
