//! What goes wrong, where it is found, and that nothing outlives it.

use super::support::{paused, perturbed};
use super::{Alive, ms, number, numbers};
use selvedge::cancel::Token;
use selvedge::nz;
use selvedge::pipeline::{Bound, Error, Flow, Input, Overflow, Pipeline, Reason, key_value};
use selvedge::queue;
use std::future::poll_fn;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::time::sleep;

/// Which part of the flow panics at which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boom {
    Call,
    Poll,
    Drop,
    Fold,
    Payload,
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

fn boom() {
    panic!("boom")
}

/// Lines 4 and 7 panic, the later one much sooner: it is the first in order
/// that is reported, after all lines before it were folded.
#[test]
fn the_first_panic_in_order_fails_the_run_at_its_line() {
    for what in [Boom::Call, Boom::Poll, Boom::Drop, Boom::Fold, Boom::Payload] {
        perturbed(|perturb| async move {
            let (alive, mut folded) = (Alive::default(), 0);
            let flow = Flow::lines("numbers", numbers(1..)).tasks("work", nz!(8), {
                let alive = alive.clone();
                move |line| {
                    let n = number(&line).unwrap();
                    let hit = n == 4 || n == 7;
                    if hit && what == Boom::Call {
                        boom();
                    }
                    let (one, early) = (alive.one(), if n == 7 { 0 } else { perturb.below(50) });
                    let bomb = (hit && what == Boom::Drop).then(|| Bomb);
                    let mut work = Box::pin(async move {
                        let _one = one;
                        sleep(ms(early)).await;
                        match what {
                            Boom::Poll if hit => boom(),
                            Boom::Payload if hit => std::panic::panic_any(Bomb),
                            _ => {}
                        }
                        Ok(n)
                    });
                    // Dropped with the future, and not before.
                    poll_fn(move |context| {
                        let _bomb = &bomb;
                        work.as_mut().poll(context)
                    })
                }
            });
            let fold = |last: &mut u32, n| {
                assert_eq!(n, *last + 1, "boom");
                if n == 4 && what == Boom::Fold {
                    boom();
                }
                folded = n;
                *last = n;
                Ok(())
            };
            let error = flow.fold(0, fold).await.unwrap_err();
            assert_eq!((alive.count(), folded), (0, 3));
            let Error::Panicked { at, stage, panic } = &error else { panic!("{error}") };
            assert_eq!((at.line, at.offset), (4, 6));
            assert_eq!(*stage, Some(if what == Boom::Fold { "aggregate" } else { "work" }));
            let told =
                if what == Boom::Payload { "a payload that is not a string" } else { "boom" };
            assert_eq!(panic.message(), told);
            assert!(error.to_string().starts_with("numbers:4: the stage \""), "{error}");
        });
    }
}

#[test]
fn a_panic_on_threads_fails_the_run_at_its_line() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for workers in [nz!(1), nz!(2), nz!(8)] {
        let flow = Flow::lines("numbers", numbers(1..)).threads("compute", workers, |line| {
            let n = number(&line)?;
            assert!(n % 40 != 0, "forty");
            Ok(n)
        });
        let error = runtime.block_on(flow.fold(0, |count, _| {
            *count += 1;
            assert!(*count < 40, "beyond the panic");
            Ok(())
        }));
        let Err(Error::Panicked { at, stage, panic }) = error else { panic!("it went well") };
        assert_eq!((at.line, stage, panic.message()), (40, Some("compute"), "forty"));
    }
}

#[test]
fn a_source_that_panics_fails_the_run_where_it_stood() {
    paused().block_on(async {
        let source = (1..).inspect(|n| assert!(*n != 3, "the source"));
        let flow = Flow::lines("numbers", numbers(source));
        let error = flow.fold(0, |_, _| Ok(())).await.unwrap_err();
        assert_eq!(error.to_string(), "numbers:3: the stage \"source\" panicked: the source");
    });
}

#[test]
fn a_refusal_of_any_stage_is_a_malformed_line() {
    perturbed(|perturb| async move {
        let flow = Flow::lines("numbers", ["0", "1", "two", "3", "4", "5", "6"])
            .tasks("parse", nz!(2), move |line| perturb.around(async move { number(&line) }))
            .tasks("check", nz!(2), |n| async move {
                if n == 4 { Err(Reason::rejected("four")) } else { Ok(n) }
            });
        let report = flow.fold(0, |sum, n| {
            if n == 5 {
                return Err(Reason::rejected("five"));
            }
            *sum += n;
            Ok(())
        });
        let report = report.await.unwrap();
        assert_eq!((report.totals, report.read.lines, report.read.malformed), (10, 7, 3));
        let samples: Vec<_> = report.samples.iter().map(ToString::to_string).collect();
        assert_eq!(
            samples,
            [
                "numbers:3: value is not a whole number: \"two\"",
                "numbers:5: four: \"4\"",
                "numbers:6: five: \"5\""
            ]
        );
        assert_eq!(report.samples[1].at.offset, 10);
    });
}

/// The same limit, the same verdict and samples, in both forms.
#[test]
fn one_malformed_line_too_many_fails_the_run() {
    let text = "a:1\nx\nb:1\ny\nz\nc:1\n";
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for limit in 0..5 {
        let input = || [Input::reader("lines", io::Cursor::new(text))];
        let flow = Flow::inputs(input(), nz!(100))
            .tasks("parse", nz!(4), |line| async move {
                let record = key_value(&line)?;
                Ok((record.key.to_owned(), record.value))
            })
            .malformed_at_most(limit);
        let flow = runtime.block_on(flow.totals(Overflow::Error));
        for block_size in [nz!(1), nz!(5), nz!(1000)] {
            let pipeline = Pipeline::key_value().block_size(block_size).malformed_at_most(limit);
            match (&flow, &pipeline.run(input())) {
                (Ok(flow), Ok(pipeline)) if limit >= 3 => {
                    assert_eq!(flow.samples, pipeline.samples)
                }
                (
                    Err(flow @ Error::TooManyMalformed { samples, .. }),
                    Err(pipeline @ Error::TooManyMalformed { samples: others, .. }),
                ) if limit < 3 => {
                    assert_eq!((samples, samples.len() as u64), (others, limit + 1));
                    assert_eq!(flow.to_string(), pipeline.to_string());
                }
                other => panic!("{limit}: {other:?}"),
            }
        }
    }
}

#[test]
fn inputs_that_cannot_be_read_are_named() {
    struct Failing(&'static [u8]);
    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::Error::other("the cable is out")),
                count => Ok(count),
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let run = |inputs: Vec<Input>| {
        let flow = Flow::inputs(inputs, nz!(100));
        runtime.block_on(flow.fold(0, |_, _| Ok(()))).unwrap_err()
    };
    let fine = || Input::reader("fine", &b"1\n2\n"[..]);
    let error = run(vec![fine(), Input::file("/no/such/file"), fine()]);
    assert_eq!(error.to_string(), "cannot read /no/such/file");
    let error = run(vec![fine(), Input::reader("it", Failing(b"1\n2\n")), fine()]);
    assert_eq!(error.to_string(), "cannot read it beyond line 2 (byte 4)");

    // What was done is there, and the rest too if it is to keep going.
    let inputs = || [Input::reader("it", Failing(b"a:1\nb:")), Input::reader("b", &b"b:2\n"[..])];
    let flow = || {
        Flow::inputs(inputs(), nz!(100)).tasks("parse", nz!(2), |line| async move {
            key_value(&line).map(|record| (record.key.to_owned(), record.value))
        })
    };
    let Err(Error::Input { at, so_far: Some(so_far), .. }) =
        runtime.block_on(flow().totals(Overflow::Error))
    else {
        panic!("it can be read");
    };
    assert_eq!((at.line, at.offset, so_far.totals.sorted()), (2, 4, vec![("a", 1)]));
    let report = runtime.block_on(flow().keep_going().totals(Overflow::Error)).unwrap();
    assert_eq!((report.totals.sorted(), report.read.lines), (vec![("b", 2), ("a", 1)], 2));
    assert_eq!(
        report.unreadable[0].to_string(),
        "cannot read it beyond line 1 (byte 4): the cable is out"
    );
}

/// Half of a stream is not taken for all of it: the lines that came are
/// folded, and the run fails at the one that did not.
#[test]
fn a_producer_that_is_stopped_half_way_fails_the_run() {
    paused().block_on(async {
        for finishes in [true, false] {
            let (tx, rx) = queue::bounded(nz!(1));
            let producer = tx.into_producer();
            let sending = tokio::spawn(async move {
                for n in 0..3 {
                    producer.send_async(n.to_string()).await.unwrap();
                }
                if !finishes {
                    std::future::pending::<()>().await;
                }
                producer.finish();
            });
            let stopping = async {
                sleep(ms(10)).await;
                sending.abort();
            };
            let mut folded = Vec::new();
            let flow = Flow::receiver("feed", rx).fold((), |(), line| {
                folded.push(line.to_string());
                Ok(())
            });
            let (ended, ()) = tokio::join!(flow, stopping);
            assert_eq!(folded, ["0", "1", "2"]);
            match ended {
                Ok(_) => assert!(finishes),
                Err(Error::Source { at, closed }) => {
                    assert!(!finishes);
                    assert_eq!((at.line, &*at.input), (4, "feed"));
                    assert!(closed.cause().unwrap().is::<queue::Abandoned>());
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
}

#[test]
fn a_reader_that_panics_is_a_panic_of_the_source() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("in the reader")
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let inputs = [Input::reader("before", &b"1\n2"[..]), Input::reader("it", Panics)];
    let flow = Flow::inputs(inputs, nz!(100));
    let error = runtime.block_on(flow.fold(0, |_, _| Ok(()))).unwrap_err();
    let Error::Panicked { at, stage, panic } = error else { panic!("{error}") };
    assert_eq!((stage, panic.message()), (Some("source"), "in the reader"));
    assert_eq!(at.to_string(), "it:1");
}

/// What the run was given is dropped in its tasks and threads, at the end and
/// at a stop: a panic of a destructor is told, and not before all is done.
#[test]
fn a_destructor_that_panics_fails_the_run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for (what, stop) in (0..3).flat_map(|what| [(what, false), (what, true)]) {
        let (alive, token, mut folded) = (Alive::default(), Token::new(), 0);
        let bomb = |at| (what == at).then(|| Bomb);
        let (source, waits, computes) = (bomb(0), bomb(1), bomb(2));
        let (one, other, stopper) = (alive.one(), alive.one(), token.clone());
        let lines = numbers((1..).take_while(move |n| {
            let _ = &source;
            stop || *n <= 20
        }));
        let run = Flow::lines("numbers", lines)
            .tasks("waits", nz!(3), move |line| {
                let _ = (&waits, &one);
                async move { number(&line) }
            })
            .threads("computes", nz!(2), move |n| {
                let _ = (&computes, &other);
                Ok(n)
            })
            .token(token)
            .fold((), |(), n| {
                folded = n;
                if stop && n == 5 {
                    stopper.cancel();
                }
                Ok(())
            });
        let error = runtime.block_on(run).unwrap_err();
        assert_eq!(alive.count(), 0, "{what}");
        let Error::Panicked { at, stage, panic } = &error else { panic!("{error}") };
        assert_eq!((at.line, *stage, panic.message()), (folded.into(), None, "boom"), "{what}");
        assert!(stop || folded == 20, "{what}: {folded}");
    }
}

/// Five things go wrong, each at a line of its own: the first is reported.
#[test]
fn whatever_goes_wrong_first_is_reported() {
    perturbed(|perturb| async move {
        let wrong: [u64; 5] = std::array::from_fn(|_| perturb.below(30) + 1);
        let [source, call, refusal, second, fold] = wrong;
        let (alive, mut folded) = (Alive::default(), 0);
        let lines = (1..).inspect(move |n| assert!(u64::from(*n) != source, "boom"));
        let flow = Flow::lines("numbers", numbers(lines))
            .tasks("first", nz!(4), {
                let alive = alive.clone();
                move |line| {
                    let (one, random) = (alive.one(), perturb.below(5));
                    async move {
                        let _one = one;
                        sleep(ms(random)).await;
                        let n = u64::from(number(&line)?);
                        assert!(n != call, "boom");
                        if n < refusal { Ok(n) } else { Err(Reason::rejected("refused")) }
                    }
                }
            })
            .tasks("second", Bound::new(nz!(2)).waiting(nz!(1)), move |n| async move {
                assert!(n != second, "boom");
                Ok(n)
            })
            .malformed_at_most(0);
        let run = flow.fold((), |(), n| {
            assert!(n != fold, "boom");
            folded = n;
            Ok(())
        });
        let error = run.await.unwrap_err();
        assert_eq!(alive.count(), 0);
        let names = ["source", "first", "refused", "second", "aggregate"];
        let (first, name) = wrong.into_iter().zip(names).min_by_key(|(line, _)| *line).unwrap();
        assert_eq!(folded, first - 1);
        match error {
            Error::Panicked { at, stage, .. } => assert_eq!((at.line, stage), (first, Some(name))),
            Error::TooManyMalformed { samples, .. } => {
                assert_eq!((samples[0].at.line, name), (first, "refused"));
            }
            error => panic!("{error}"),
        }
    });
}

/// A reader that never returns holds up nobody but its thread.
#[test]
fn a_read_that_blocks_is_left_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let flow = Flow::inputs([Input::reader("pipe", reader)], nz!(100))
        .threads("compute", nz!(2), |line| number(&line))
        .threads("again", nz!(2), Ok)
        .within(ms(30));
    let report = runtime.block_on(flow.fold(0, |_, _| Ok(()))).unwrap();
    assert_eq!(report.read.lines, 0);
    assert!(report.stopped.is_some());
    drop(writer);
}

/// A run whose runtime goes away under it says so.
#[test]
fn a_runtime_that_shuts_down_is_no_end_of_input() {
    let flow = Flow::lines("numbers", numbers(0..))
        .tasks("wait", nz!(2), |_| async { std::future::pending::<Result<(), Reason>>().await });
    let mut run = Box::pin(flow.fold(0, |_, ()| Ok(())));
    let first = tokio::runtime::Builder::new_current_thread().build().unwrap();
    first.block_on(async {
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(run.as_mut().poll(context).is_pending())
        });
        assert!(polled.await);
        tokio::task::yield_now().await;
    });
    drop(first);
    let second = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(matches!(second.block_on(run), Err(Error::Shutdown)));
}

#[test]
fn totals_follow_the_overflow_policy() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let run = |policy| {
        let lines = [("a", i64::MAX), ("b", 1), ("a", 1), ("a", -1), ("a", 5)];
        let flow = Flow::lines("keys", lines.map(|(key, value)| format!("{key}:{value}")));
        let flow = flow.tasks("parse", nz!(2), |line| async move {
            key_value(&line).map(|it| (it.key.to_owned(), it.value))
        });
        runtime.block_on(flow.totals(policy)).map(|it| it.totals.get("a").unwrap())
    };
    let exact = i128::from(i64::MAX) + 5;
    assert_eq!(run(Overflow::Widen).unwrap(), exact);
    assert_eq!(run(Overflow::Saturate).unwrap(), i128::from(i64::MAX));
    let Err(Error::Overflow { key, total }) = run(Overflow::Error) else { panic!("it fits") };
    assert_eq!((key.as_str(), total), ("a", exact));
}

#[test]
fn the_exercise_panics_where_it_says() {
    let run = |line: String| {
        let runtime = paused();
        let run = || runtime.block_on(selvedge::exercises::aggregate([line]));
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        selvedge::outcome::Panic::from_payload(&*payload).message().to_owned()
    };
    assert!(run(format!("a:{}", i64::MAX)).starts_with("the doubled value fits an i64"));
}

#[test]
fn nothing_in_nothing_out() {
    paused().block_on(async {
        let nothing = std::iter::empty::<&str>();
        let report = Flow::lines("nothing", nothing)
            .tasks("parse", nz!(64), |line| async move { number(&line) })
            .fold(7, |_, _| Ok(()));
        let report = report.await.unwrap();
        assert_eq!((report.totals, report.read.lines, report.stopped), (7, 0, None));
        // No stage at all, and bounds that nobody reaches.
        let most = std::num::NonZeroUsize::MAX;
        let report = Flow::lines("one", ["1"])
            .tasks("parse", most, |line| async move { number(&line) })
            .window(most)
            .fold(0, |sum, n| {
                *sum += n;
                Ok(())
            });
        assert_eq!(report.await.unwrap().totals, 1);
    });
}
