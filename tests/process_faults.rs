//! Faults, injected into real worker processes.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "tasks that break their process on purpose")]

use selvedge::nz;
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::{Fault, Pool, Report};
use std::time::Duration;

/// What each of three items comes to if the middle one meets `fault`: the
/// others are unharmed.
fn middle(pool: &Pool, f: impl Fn(u32) -> u32 + Copy + Send + 'static) -> Outcome<u32, Fault> {
    let mut ends: Vec<Report<u32>> = pool.map_outcomes(f, 0..3);
    assert_eq!(ends[0].outcome, Outcome::Ok(0));
    assert_eq!(ends[2].outcome, Outcome::Ok(2));
    let end = ends.swap_remove(1);
    assert_eq!((end.index, end.attempt), (1, 1));
    // The pool is as good as before.
    assert_eq!(pool.map(|n: u32| n + 1, 0..3).unwrap(), [1, 2, 3]);
    end.outcome
}

fn two() -> Pool {
    Pool::builder().workers(nz!(2)).build().unwrap()
}

fn one() -> Pool {
    Pool::builder().workers(nz!(1)).build().unwrap()
}

#[test]
fn segmentation_fault() {
    let outcome = middle(&two(), |n| {
        if n == 1 {
            // SAFETY: none. This is the fault.
            unsafe { std::ptr::null_mut::<u32>().write_volatile(7) };
        }
        n
    });
    assert_eq!(outcome, Outcome::Crashed(Crash::Signal(libc::SIGSEGV)));
}

#[test]
fn abort() {
    let outcome = middle(&two(), |n| if n == 1 { std::process::abort() } else { n });
    assert_eq!(outcome, Outcome::Crashed(Crash::Signal(libc::SIGABRT)));
}

#[test]
fn exit_3() {
    let outcome = middle(&two(), |n| if n == 1 { std::process::exit(3) } else { n });
    assert_eq!(outcome, Outcome::Crashed(Crash::Exit(3)));
}

#[test]
#[allow(unconditional_recursion, reason = "the fault")]
fn stack_overflow() {
    fn deeper(n: u32) -> u32 {
        let page = std::hint::black_box([n; 1024]);
        deeper(n + 1) + page[n as usize % 1024]
    }
    let outcome = middle(&two(), |n| if n == 1 { deeper(n) } else { n });
    assert_eq!(outcome, Outcome::Crashed(Crash::Signal(libc::SIGSEGV)));
}

#[test]
fn memory_hog() {
    let limit = 256 << 20;
    let pool = Pool::builder().workers(nz!(2)).memory_limit(limit).build().unwrap();
    let outcome = middle(&pool, |n| {
        let mut hog = Vec::new();
        if n == 1 {
            loop {
                hog.push(vec![1_u8; 16 << 20]);
            }
        }
        n
    });
    assert_eq!(outcome, Outcome::Crashed(Crash::OutOfMemory(limit)));
    // An abort that has nothing to do with memory is told apart.
    let outcome = middle(&pool, |n| if n == 1 { std::process::abort() } else { n });
    assert_eq!(outcome, Outcome::Crashed(Crash::Signal(libc::SIGABRT)));
}

/// With `RUST_BACKTRACE` a failed allocation prints where it was, and that
/// changes the error number.
#[test]
fn memory_hog_with_a_backtrace() {
    let limit = 256 << 20;
    for backtrace in ["0", "1", "full"] {
        let pool = Pool::builder()
            .workers(nz!(2))
            .memory_limit(limit)
            .env("RUST_BACKTRACE", backtrace)
            .build()
            .unwrap();
        // At once, with all the memory left that printing wants; and bit by bit.
        let outcome = middle(&pool, |n| {
            vec![1_u8; if n == 1 { 1 << 40 } else { 1 }];
            n
        });
        assert_eq!(outcome, Outcome::Crashed(Crash::OutOfMemory(limit)), "{backtrace}");
        let outcome = middle(&pool, |n| {
            let mut hog = Vec::new();
            if n == 1 {
                loop {
                    hog.push(vec![1_u8; 1 << 20]);
                }
            }
            n
        });
        assert_eq!(outcome, Outcome::Crashed(Crash::OutOfMemory(limit)), "{backtrace}");
        let outcome = middle(&pool, |n| if n == 1 { std::process::abort() } else { n });
        assert_eq!(outcome, Outcome::Crashed(Crash::Signal(libc::SIGABRT)), "{backtrace}");
    }
}

#[test]
fn endless_loop() {
    // Far more than the others need, on a machine that does much else.
    let deadline = Duration::from_secs(2);
    let pool = Pool::builder().workers(nz!(2)).deadline(deadline).build().unwrap();
    let outcome = middle(&pool, |n| {
        if n == 1 {
            loop {
                std::hint::spin_loop();
            }
        }
        n
    });
    let Outcome::TimedOut(timed_out) = outcome else { panic!("{outcome:?}") };
    assert_eq!(timed_out.after(), deadline);
}

#[test]
fn a_deadline_is_the_tasks_and_not_the_batchs() {
    // Forty tasks of 80 ms in one batch under a deadline of three seconds: all
    // of them take longer, and one of them far less.
    let pool = Pool::builder()
        .workers(nz!(1))
        .batch(std::num::NonZeroU32::new(40).unwrap())
        .deadline(Duration::from_secs(3))
        .build()
        .unwrap();
    let slow = |n: u32| {
        std::thread::sleep(Duration::from_millis(80));
        n
    };
    assert_eq!(pool.map(slow, 0..40).unwrap(), (0..40).collect::<Vec<_>>());
}

#[test]
fn panic_with_text_and_place() {
    let line = line!() + 1;
    let outcome = middle(&two(), |n| if n == 1 { panic!("no {n}") } else { n });
    let Outcome::Panicked(panic) = outcome else { panic!("{outcome:?}") };
    assert_eq!(panic.message(), "no 1");
    let place = panic.location().unwrap();
    assert!(place.starts_with(&format!("tests/process_faults.rs:{line}:")), "{place}");
}

#[test]
fn panic_with_a_payload_that_is_no_string() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped too");
        }
    }
    let outcome = middle(&two(), |n| if n == 1 { std::panic::panic_any(17_u8) } else { n });
    let Outcome::Panicked(panic) = outcome else { panic!("{outcome:?}") };
    assert_eq!(panic.message(), "a payload that is not a string");
    let outcome = middle(&two(), |n| if n == 1 { std::panic::panic_any(Bomb) } else { n });
    assert!(matches!(outcome, Outcome::Panicked(_)), "{outcome:?}");
}

#[test]
fn noise_on_standard_output_is_not_the_protocols() {
    let outcome = middle(&two(), |n| {
        print!("noise from task {n}: \0\u{1}");
        println!("{}", "x".repeat(3000));
        // SAFETY: plain writes and reads of numbers that may be no descriptor.
        unsafe {
            for descriptor in 0..3 {
                libc::write(descriptor, b"!".as_ptr().cast(), 1);
            }
            let mut byte = 0_u8;
            assert_eq!(libc::read(0, (&raw mut byte).cast(), 1), 0, "standard input is empty");
        }
        n
    });
    assert_eq!(outcome, Outcome::Ok(1));
}

/// Writes to every descriptor that might be the socket, or closes it.
#[test]
fn a_task_that_breaks_the_protocol_costs_itself() {
    let outcome = middle(&one(), |n| {
        if n == 1 {
            // SAFETY: a write to our own socket.
            unsafe { libc::write(3, b"\xff\xffgarbage".as_ptr().cast(), 9) };
            loop {
                std::thread::park();
            }
        }
        n
    });
    assert!(matches!(outcome, Outcome::Crashed(Crash::Garbled(_))), "{outcome:?}");
    let outcome = middle(&one(), |n| {
        if n == 1 {
            // SAFETY: a packet longer than any of the protocol.
            unsafe { libc::write(3, vec![1_u8; 100_000].as_ptr().cast(), 100_000) };
            loop {
                std::thread::park();
            }
        }
        n
    });
    assert!(matches!(outcome, Outcome::Crashed(Crash::Garbled(_))), "{outcome:?}");
}

#[test]
fn results_before_a_crash_are_kept_and_nothing_runs_twice() {
    // One worker, one batch; each task leaves a mark when it runs.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let pool = Pool::builder()
        .workers(nz!(1))
        .batch(std::num::NonZeroU32::new(100).unwrap())
        .build()
        .unwrap();
    let items: Vec<(String, u32)> = (0..100).map(|n| (path.clone(), n)).collect();
    let ends = pool.map_outcomes(
        |(path, n): (String, u32)| {
            use std::io::Write;
            let mark = format!("{path}/{n}");
            let mut mark =
                std::fs::OpenOptions::new().create(true).append(true).open(mark).unwrap();
            mark.write_all(b"x").unwrap();
            if n % 30 == 29 {
                // SAFETY: kills this process and nothing else.
                unsafe { libc::raise(libc::SIGKILL) };
            }
            n
        },
        items,
    );
    for (n, end) in ends.into_iter().enumerate() {
        let expected = if n % 30 == 29 {
            Outcome::Crashed(Crash::Signal(libc::SIGKILL))
        } else {
            Outcome::Ok(n as u32)
        };
        assert_eq!(end.outcome, expected, "item {n}");
        assert_eq!(std::fs::read(dir.path().join(n.to_string())).unwrap(), b"x", "item {n}");
    }
}

#[test]
fn an_idempotent_task_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tries").to_str().unwrap().to_owned();
    let pool = Pool::builder()
        .workers(nz!(1))
        .idempotent(std::num::NonZeroU32::new(3).unwrap())
        .build()
        .unwrap();
    let third_time_lucky = |(path, needed): (String, u64)| {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(b"x").unwrap();
        let tries = file.metadata().unwrap().len();
        if tries < needed { std::process::abort() } else { tries }
    };
    let report = pool.submit(third_time_lucky, (path.clone(), 3)).wait();
    assert_eq!((report.attempt, report.outcome), (3, Outcome::Ok(3)));
    let report = pool.submit(third_time_lucky, (path.clone(), 99)).wait();
    assert_eq!(
        (report.attempt, report.outcome),
        (3, Outcome::Crashed(Crash::Signal(libc::SIGABRT)))
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 6);
}

/// The memory that worker and parent share: progress words first.
fn shared_memory() -> *mut u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("memfd:selvedge-pool")).unwrap();
    let start = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    std::ptr::with_exposed_provenance_mut(start)
}

/// A task that writes wildly, and happens on what says how far it is; or that
/// fills the line to the parent. Its deadline ends it all the same,
/// and the next tasks are none the worse.
#[test]
fn a_deadline_ends_a_worker_that_lies() {
    let lie = |how: u32| -> u32 {
        let memory = shared_memory();
        for slot in 0..2 {
            for word in 0..2 {
                // SAFETY: none. This is the fault: a header of a slot has 128
                // bytes, its word and a time come first.
                let place = unsafe { memory.add(slot * 16 + word) };
                // Of a batch of one: over, all of it, not started, finished,
                // condemned; or the word as it is, and a start far ahead.
                let value = match how {
                    0 => 0,
                    1 => u64::MAX,
                    2 => 1 << 32,
                    3 => 1 << 32 | 2,
                    4 => 1 << 32 | 1 << 31 | 1,
                    5 if word == 1 => u64::MAX,
                    _ => continue,
                };
                // SAFETY: as above.
                unsafe { place.write_volatile(value) };
            }
        }
        if how == 6 {
            // SAFETY: writes to a descriptor that is not ours, for ever.
            while unsafe { libc::send(3, [0_u8; 1].as_ptr().cast(), 0, libc::MSG_NOSIGNAL) } == 0 {}
        }
        loop {
            std::thread::park();
        }
    };
    let is_ended = |how: u32| {
        let pool = Pool::builder()
            .workers(nz!(1))
            .batch(std::num::NonZeroU32::MIN)
            .deadline(Duration::from_secs(2))
            .build()
            .unwrap();
        let began = std::time::Instant::now();
        let outcome = pool.submit(lie, how).wait().outcome;
        assert!(
            matches!(outcome, Outcome::TimedOut(_) | Outcome::Err(Fault::Undelivered(_))),
            "{how}: {outcome:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(30), "{how}: {:?}", began.elapsed());
        assert_eq!(pool.map(|n: u32| n + 1, 0..3).unwrap(), [1, 2, 3], "{how}");
    };
    std::thread::scope(|scope| {
        for how in 0..7 {
            scope.spawn(move || is_ended(how));
        }
    });
}

/// A packet of no bytes looks like the end of the line.
#[test]
fn an_empty_packet_costs_nothing() {
    let pool = one();
    let outcome = middle(&pool, |n| {
        if n == 1 {
            // SAFETY: a write to our own socket.
            unsafe { libc::send(3, [0_u8; 1].as_ptr().cast(), 0, libc::MSG_NOSIGNAL) };
            std::thread::sleep(Duration::from_millis(20));
        }
        n
    });
    assert_eq!(outcome, Outcome::Ok(1));
}

/// A task that closes all descriptors costs nobody else anything: not those
/// behind it in its batch, not the files that they open, not large results
/// (which need a descriptor), nor the next batch.
#[test]
fn a_task_may_close_every_descriptor() {
    use std::io::{Read, Seek, Write};
    for (from, first) in [(3, 0), (3, 5), (4, 0), (4, 3)] {
        let pool = Pool::builder()
            .workers(nz!(1))
            .batch(std::num::NonZeroU32::new(8).unwrap())
            .build()
            .unwrap();
        let task = |(n, from, first): (u32, u32, u32)| {
            if n >= first && (n - first).is_multiple_of(20) {
                // SAFETY: closes what the worker has.
                unsafe { libc::close_range(from, u32::MAX, 0) };
            }
            // Files that get the numbers of those that were closed.
            let mut files: Vec<std::fs::File> = Vec::new();
            for _ in 0..6 {
                files.push(tempfile::tempfile().unwrap());
            }
            for file in &mut files {
                file.write_all(&n.to_le_bytes()).unwrap();
            }
            let result = (n, vec![n as u8; if n % 3 == 1 { 150_000 } else { 3 }]);
            // Kept open over what the worker sends meanwhile.
            static KEPT: std::sync::Mutex<Vec<(u32, std::fs::File)>> =
                std::sync::Mutex::new(Vec::new());
            let mut kept = KEPT.lock().unwrap();
            kept.extend(files.into_iter().map(|file| (n, file)));
            for (n, file) in kept.iter_mut().filter(|(_, file)| file.metadata().is_ok()) {
                let mut text = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut text).unwrap();
                assert_eq!(text, n.to_le_bytes(), "somebody else wrote to a task's file");
            }
            // Those that are closed may not be closed twice.
            let leaked = kept.drain(..).filter(|(_, file)| file.metadata().is_err());
            leaked.for_each(|(_, file)| std::mem::forget(file));
            result
        };
        for (n, end) in (0..).zip(pool.map_outcomes(task, (0..100).map(|n| (n, from, first)))) {
            let size = if n % 3 == 1 { 150_000 } else { 3 };
            assert_eq!(end.outcome, Outcome::Ok((n, vec![n as u8; size])), "{n}: {from} {first}");
        }
    }
}
