//! Inputs that are slow: what has been read is done, shown and kept.
#![cfg(all(target_os = "linux", not(loom)))]

use selvedge::cancel::Token;
use selvedge::nz;
use selvedge::pipeline::{Flow, Input, Pipeline, Report, Stopped, key_value};
use std::io::{self, PipeWriter, Read, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Nothing takes so long but what would last for ever.
const EVER: Duration = Duration::from_secs(30);

/// Gives one line a read, and the next when the one before has been done.
struct OneByOne {
    given: usize,
    done: mpsc::Receiver<()>,
}

const LINES: usize = 20;

impl Read for OneByOne {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.given > 0 {
            self.done.recv_timeout(EVER).map_err(|_| io::ErrorKind::TimedOut)?;
        }
        if self.given == LINES {
            return Ok(0);
        }
        self.given += 1;
        bytes[..4].copy_from_slice(b"a:1\n");
        Ok(4)
    }
}

#[test]
fn what_was_read_is_done_before_the_next_read() {
    for workers in [nz!(1), nz!(2), nz!(3)] {
        let (tell, done) = mpsc::channel();
        let report = Pipeline::parsing(|line| {
            tell.send(()).expect("the reader waits");
            key_value(line)
        })
        .workers(workers)
        .run([Input::reader("slow", OneByOne { given: 0, done })])
        .unwrap();
        assert_eq!(report.totals.sorted(), [("a", LINES as i128)]);
    }
}

#[tokio::test]
async fn what_was_read_is_folded_before_the_next_read() {
    let (tell, done) = mpsc::channel();
    let flow = Flow::inputs([Input::reader("slow", OneByOne { given: 0, done })], nz!(100)).tasks(
        "pass",
        nz!(3),
        |line| async move { Ok(line) },
    );
    let folded = flow.fold(0, |count, _| {
        *count += 1;
        tell.send(()).expect("the reader waits");
        Ok(())
    });
    assert_eq!(folded.await.unwrap().totals, LINES);
}

/// A pipe that stays open and silent after `bytes`, for as long as the guard
/// lives, but not for ever.
fn silent(bytes: &[u8]) -> (Input, mpsc::Sender<()>) {
    let (from, mut to) = io::pipe().unwrap();
    to.write_all(bytes).unwrap();
    (Input::descriptor("pipe", from), kept(to))
}

fn kept(to: PipeWriter) -> mpsc::Sender<()> {
    let (guard, gone) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = gone.recv_timeout(EVER);
        drop(to);
    });
    guard
}

fn counts(report: &Report) -> (u64, Vec<(&str, i128)>) {
    (report.read.lines, report.totals.sorted())
}

/// Also: the progress is told while there is nothing to read.
#[test]
fn a_token_ends_a_run_whose_pipe_is_silent() {
    for workers in [nz!(1), nz!(2)] {
        let (input, _open) = silent(b"a:1\nb:2\na:3\nb:4, and not to its end");
        let token = Token::new();
        let report = Pipeline::key_value()
            .workers(workers)
            .token(token.clone())
            .run_with([input], |read| {
                if read.lines == 3 {
                    token.cancel_because("enough");
                }
            })
            .unwrap();
        assert_eq!(counts(&report), (3, vec![("a", 4), ("b", 2)]));
        assert!(matches!(report.stopped, Some(Stopped::Cancelled(_))), "{:?}", report.stopped);
        assert_eq!(report.stages[0].items, report.stages[1].items, "{:?}", report.stages);
    }
}

#[test]
fn a_deadline_ends_a_run_whose_pipe_is_silent() {
    for bytes in [&b""[..], b"a:1\n", b"a:1\nlong without an end", &[b'x'; 5000]] {
        let (input, _open) = silent(bytes);
        let report = Pipeline::key_value()
            .max_line(nz!(100))
            .within(Duration::from_millis(100))
            .run([input])
            .unwrap();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(report.read.lines, lines as u64);
        assert!(matches!(report.stopped, Some(Stopped::TimedOut(_))), "{:?}", report.stopped);
    }
}

/// Whoever opens it for reading is not kept waiting for one who writes.
#[test]
fn a_deadline_ends_a_run_whose_named_pipe_nobody_writes_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let (guard, gone) = mpsc::channel::<()>();
    let opener = std::thread::spawn({
        let path = path.clone();
        move || {
            let late = gone.recv_timeout(EVER) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                drop(std::fs::OpenOptions::new().write(true).open(path));
            }
            late
        }
    });
    let within = Duration::from_millis(100);
    let report = Pipeline::key_value().within(within).run([Input::file(&path)]).unwrap();
    assert!(matches!(report.stopped, Some(Stopped::TimedOut(_))), "{:?}", report.stopped);
    drop(guard);
    assert!(!opener.join().unwrap(), "it waited for a writer");
    // And one who does is waited for.
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut to = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            for _ in 0..3 {
                to.write_all(b"a:1\n").unwrap();
            }
        }
    });
    let report = Pipeline::key_value().run([Input::file(&path)]).unwrap();
    writer.join().unwrap();
    assert_eq!(counts(&report), (3, vec![("a", 3)]));
}

/// Cancels when it gives the end of a line that is too long, and more.
struct LongThenStop(u8, Token);

impl Read for LongThenStop {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        let gives: &[u8] = match self.0 {
            1 => &[b'x'; 50],
            2 => {
                self.1.cancel();
                b"x\na:1\nb:2\nc"
            }
            _ => b"",
        };
        bytes[..gives.len()].copy_from_slice(gives);
        Ok(gives.len())
    }
}

#[test]
fn lines_that_were_read_behind_a_long_one_count_at_a_stop() {
    for size in [16, 64, 4096].map(|size| NonZeroUsize::new(size).unwrap()) {
        let token = Token::new();
        let report = Pipeline::key_value()
            .max_line(nz!(20))
            .block_size(size)
            .token(token.clone())
            .run([Input::reader("long", Whole(LongThenStop(0, token), Vec::new()))])
            .unwrap();
        assert!(report.stopped.is_some());
        if size.get() >= 64 {
            assert_eq!(counts(&report), (3, vec![("b", 2), ("a", 1)]));
            assert_eq!(report.read.malformed, 1);
        }
    }
}

/// Whatever the inner reader gives at once, in as many reads as it takes.
struct Whole<R>(R, Vec<u8>);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            let mut all = [0; 64];
            let read = self.0.read(&mut all)?;
            self.1.extend_from_slice(&all[..read]);
        }
        let count = self.1.len().min(bytes.len());
        bytes[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

/// Has nothing more to give until it was told that its line is done.
struct Interrupted<'a> {
    given: bool,
    told: &'a AtomicBool,
    since: Instant,
}

impl Read for Interrupted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.given, true) {
            bytes[..4].copy_from_slice(b"a:1\n");
            return Ok(4);
        }
        if self.told.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let late = self.since.elapsed() > EVER;
        Err(if late { io::ErrorKind::TimedOut } else { io::ErrorKind::Interrupted }.into())
    }
}

#[test]
fn a_read_that_is_interrupted_lets_the_run_tell_its_progress() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let reader = Interrupted { given: false, told: &TOLD, since: Instant::now() };
    let report = Pipeline::key_value()
        .run_with([Input::reader("turns", reader)], |read| {
            TOLD.fetch_or(read.lines == 1, Ordering::SeqCst);
        })
        .unwrap();
    assert_eq!(counts(&report), (1, vec![("a", 1)]));
}
