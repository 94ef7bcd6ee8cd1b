//! tokio's paused clock and the threads of a run: it stands while they work,
//! and it moves while they wait.

use super::support::paused;
use super::{ms, number};
use selvedge::cancel::Token;
use selvedge::nz;
use selvedge::pipeline::{Bound, Error, Flow, Input};
use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn slow(n: u32) -> u32 {
    thread::sleep(ms(5));
    n
}

/// Folds into when each number was folded, beside a timer that is always about
/// to end.
async fn moments(flow: Flow<u32>) -> Vec<(u32, Duration)> {
    let start = Instant::now();
    let mut moments = Vec::new();
    let run = flow.fold((), |(), n| {
        moments.push((n, start.elapsed()));
        Ok(())
    });
    let ticks = async {
        loop {
            sleep(ms(1)).await;
        }
    };
    tokio::select! {
        report = run => drop(report.unwrap()),
        () = ticks => {}
    }
    moments
}

/// Numbers from 1 on; each comes a second after it was asked for.
fn a_number_a_second(numbers: u32) -> Flow<std::sync::Arc<str>> {
    let (tx, rx) = selvedge::queue::bounded(nz!(1));
    tokio::spawn(async move {
        for n in 1..=numbers {
            sleep(SECOND).await;
            tx.send_async(n.to_string()).await.unwrap();
        }
    });
    Flow::receiver("timer", rx)
}

fn seconds(numbers: impl Iterator<Item = u32>) -> Vec<(u32, Duration)> {
    numbers.map(|n| (n, SECOND * n)).collect()
}

#[test]
fn a_paused_clock_stands_while_threads_work() {
    paused().block_on(async {
        let start = Instant::now();
        let flow = Flow::lines("numbers", (0..4).map(|n| n.to_string()))
            .threads("slow", nz!(2), |line| Ok(slow(number(&line)?)))
            .fold(0, |sum, n| {
                *sum += n;
                Ok(())
            });
        let report = timeout(MINUTE, flow).await.expect("the threads need no minute").unwrap();
        assert_eq!((report.totals, start.elapsed()), (6, Duration::ZERO));
        sleep(MINUTE).await;
        assert_eq!(start.elapsed(), MINUTE, "it moves again");
    });
}

/// Threads that have nothing to do do not stop the timers that they wait for;
/// what they are handed, they have done before any other timer ends, be they
/// handed it by a task or by other threads.
#[test]
fn a_paused_clock_moves_while_threads_wait_for_lines() {
    paused().block_on(async {
        let one = a_number_a_second(5).threads("slow", nz!(2), |line| Ok(slow(number(&line)?)));
        assert_eq!(moments(one).await, seconds(1..6));
        let three = a_number_a_second(5)
            .threads("slow", nz!(1), |line| Ok(slow(number(&line)?)))
            .threads("again", nz!(2), |n| Ok(slow(n)))
            .tasks("between", nz!(2), |n| async move { Ok(n) })
            .threads("last", nz!(1), |n| Ok(slow(n)));
        assert_eq!(moments(three).await, seconds(1..6));
    });
}

/// Results that are done, and lines that wait for a thread that has no room for
/// what it has done, do not hold the clock.
#[test]
fn a_paused_clock_moves_while_results_wait() {
    paused().block_on(async {
        let one = || Bound::new(nz!(1)).waiting(nz!(1));
        let flow = Flow::lines("numbers", (1..=12).map(|n| n.to_string()))
            .threads("slow", one(), |line| Ok(slow(number(&line)?)))
            .threads("again", one(), |n| Ok(slow(n)))
            .tasks("second", one(), |n| async move {
                sleep(SECOND).await;
                Ok(n)
            });
        assert_eq!(moments(flow).await, seconds(1..13));
    });
}

/// Reads a digit and a newline at a time, in 5 ms each.
struct Slow(std::ops::RangeInclusive<u8>);

impl Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        thread::sleep(ms(5));
        Ok(self.0.next().map_or(0, |digit| {
            into[..2].copy_from_slice(&[b'0' + digit, b'\n']);
            2
        }))
    }
}

#[test]
fn a_paused_clock_stands_while_inputs_are_read_and_not_while_their_lines_wait() {
    paused().block_on(async {
        let inputs = || Flow::inputs([Input::reader("slow", Slow(1..=9))], nz!(100));
        let start = Instant::now();
        let count = inputs().fold(0, |count, _| {
            *count += 1;
            Ok(())
        });
        let report = timeout(MINUTE, count).await.expect("reading needs no minute").unwrap();
        assert_eq!((report.totals, start.elapsed()), (9, Duration::ZERO));
        for window in [nz!(1), nz!(1000)] {
            let flow = inputs()
                .tasks("second", Bound::new(nz!(1)).waiting(nz!(1)), |line| async move {
                    sleep(SECOND).await;
                    number(&line)
                })
                .window(window);
            assert_eq!(moments(flow).await, seconds(1..10));
        }
    });
}

/// Nobody waits any more for a thread of a run that was dropped, or for a
/// read of one that has ended.
#[test]
fn a_paused_clock_moves_when_a_run_is_given_up() {
    paused().block_on(async {
        let start = Instant::now();
        let (go_on, told) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let (heard, was_told) = mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let flow = Flow::lines("one", ["1"])
            .threads("stuck", nz!(1), move |_| {
                begun.send(()).unwrap();
                let in_time = told.lock().unwrap().recv_timeout(Duration::from_secs(5)).is_ok();
                heard.send(in_time).unwrap();
                Ok(())
            })
            .fold((), |(), ()| Ok(()));
        let mut flow = Box::pin(flow);
        while has_begun.try_recv().is_err() {
            let waited = timeout(Duration::ZERO, &mut flow).await;
            assert!(waited.is_err(), "{waited:?}");
        }
        drop(flow);
        sleep(MINUTE).await;
        assert_eq!(start.elapsed(), MINUTE);
        // It would have given up if the clock had waited for it.
        let _ = go_on.send(());
        assert!(was_told.recv().unwrap(), "the thread still works");

        let (reader, writer) = io::pipe().unwrap();
        let (token, start) = (Token::new(), Instant::now());
        let flow = Flow::inputs([Input::reader("pipe", reader)], nz!(100))
            .token(token.clone())
            .fold((), |(), _| Ok(()));
        let cancel = async {
            tokio::task::yield_now().await;
            token.cancel();
        };
        let (report, ()) = tokio::join!(flow, cancel);
        assert!(report.unwrap().stopped.is_some());
        sleep(MINUTE).await;
        assert_eq!(start.elapsed(), MINUTE);
        drop(writer);
    });
}

/// A failure, too, ends what was in work.
#[test]
fn a_paused_clock_moves_after_a_run_that_failed() {
    paused().block_on(async {
        let start = Instant::now();
        let flow = Flow::lines("numbers", (0..9).map(|n| n.to_string()))
            .threads("slow", nz!(2), |line| match slow(number(&line)?) {
                3 => panic!("three"),
                n => Ok(n),
            })
            .fold((), |(), _| Ok(()));
        let failed = timeout(MINUTE, flow).await.expect("the threads need no minute").unwrap_err();
        let Error::Panicked { at, .. } = failed else { panic!("{failed}") };
        assert_eq!((at.line, start.elapsed()), (4, Duration::ZERO));
        sleep(MINUTE).await;
        assert_eq!(start.elapsed(), MINUTE);
    });
}
