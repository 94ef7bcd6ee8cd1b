//! Births and deaths: nothing is left behind, whoever dies.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "kills processes and forks")]

mod alone;

use alone::{ALONE, in_a_process_of_its_own};
use selvedge::nz;
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::Pool;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Waits until `holds`, looking every few milliseconds.
fn within(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Far more than the kernel needs, and far less than what was left would sleep.
fn soon() -> Duration {
    Duration::from_secs(30)
}

/// Whether the process exists and is not a zombie.
fn alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn kill(pid: u32) {
    // SAFETY: sends a signal to a process that this test started.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

/// What this process has: descriptors, threads, children.
fn belongings() -> (usize, usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (mut threads, mut children) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let of = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        threads += usize::from(is_at_work(&of("stat")));
        children += of("children").split_whitespace().count();
    }
    (descriptors, threads, children)
}

/// Whether a thread with this `stat` has not begun to end: the kernel still
/// lists one for a moment after it was joined.
fn is_at_work(stat: &str) -> bool {
    const EXITING: u64 = 4;
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6));
    flags.is_some_and(|flags| flags.parse::<u64>().unwrap() & EXITING == 0)
}

/// xorshift64*: the kills are the same in every run, as far as the scheduler
/// lets them be.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

/// 10,000 tasks, in batches, while workers are killed from outside: at seeded
/// points, whatever they do then, and in the middle of each hundredth task,
/// which waits for that. Every task has one outcome; each start is noted in a
/// file of its own, so that none can run twice unseen; a task is blamed only for
/// a kill.
#[test]
fn ten_thousand_tasks_under_fire() {
    const TASKS: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap().to_owned();
    let pool = Pool::builder()
        .workers(nz!(3))
        .batch(NonZeroU32::new(16).unwrap())
        .context(folder)
        .build()
        .unwrap();
    let task = |folder: &String, n: u32| {
        use std::io::Write;
        let note = |file: &str, number: u32| {
            let path = format!("{folder}/{file}");
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().write_all(&number.to_le_bytes()).unwrap();
        };
        note("starts", n);
        if n % 100 == 50 {
            note("waiting", std::process::id());
            loop {
                std::thread::park();
            }
        }
        (n, std::process::id())
    };
    let numbers = |file: &str| -> Vec<u32> {
        let bytes = std::fs::read(dir.path().join(file)).unwrap_or_default();
        bytes.chunks_exact(4).map(|n| u32::from_le_bytes(n.try_into().unwrap())).collect()
    };
    let mut dice = Dice(0x5e1_7ed6e);
    let (killed, over) = (Mutex::new(BTreeSet::new()), AtomicBool::new(false));
    let shoot = |pid| {
        // It may have died since, and its number be another's.
        if pool.worker_pids().contains(&pid) {
            killed.lock().unwrap().insert(pid);
            kill(pid);
        }
    };
    let mut crashed = 0;
    std::thread::scope(|scope| {
        let ends = Ends(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                numbers("waiting").into_iter().for_each(shoot);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut stream = pool.stream_with(task, 0..TASKS as u32, nz!(300));
        let mut next_kill = dice.roll(100);
        for n in 0..TASKS {
            if n as u64 == next_kill {
                pool.worker_pids().get(dice.roll(3) as usize).copied().into_iter().for_each(shoot);
                next_kill += 1 + dice.roll(100);
            }
            let report = stream.next().expect("one report a task");
            assert_eq!(report.index, n);
            assert_eq!(report.attempt, 1);
            match report.outcome {
                Outcome::Ok((value, _)) => assert_eq!(value as usize, n),
                Outcome::Crashed(Crash::Signal(libc::SIGKILL)) => crashed += 1,
                other => panic!("task {n}: {other:?}"),
            }
        }
        assert!(stream.next().is_none(), "one report a task and no more");
        drop(ends);
    });
    pool.shutdown();
    let starts = numbers("starts");
    let distinct: BTreeSet<u32> = starts.iter().copied().collect();
    assert_eq!(starts.len(), distinct.len(), "a task ran twice");
    // A killed task may have died before it could note its start.
    assert!(starts.len() + crashed >= TASKS, "a task has an outcome and did not run");
    let killed = killed.into_inner().unwrap();
    assert!(crashed <= killed.len(), "{crashed} blamed for {} kills", killed.len());
    assert!(crashed >= TASKS / 100, "{crashed} of {} kills hit a task", killed.len());
    println!("{} kills, {crashed} tasks blamed", killed.len());
}

/// Says that it is over, also where a check fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each task kills its own process: each crash is blamed on it and on no
/// other, among 10,000 tasks in batches.
#[test]
fn every_kill_is_blamed_on_the_task_in_flight() {
    let pool = Pool::builder().workers(nz!(3)).batch(NonZeroU32::new(64).unwrap()).build().unwrap();
    let victim = |n: u32| n.wrapping_mul(2_654_435_761) % 97 == 5;
    let task = |n: u32| {
        if n.wrapping_mul(2_654_435_761) % 97 == 5 {
            kill(std::process::id());
        }
        n
    };
    for (n, end) in pool.map_outcomes(task, 0..10_000).into_iter().enumerate() {
        let expected = if victim(n as u32) {
            Outcome::Crashed(Crash::Signal(libc::SIGKILL))
        } else {
            Outcome::Ok(n as u32)
        };
        assert_eq!(end.outcome, expected, "task {n}");
    }
}

#[test]
fn a_grandchild_dies_with_its_worker() {
    let pool = Pool::builder().workers(nz!(1)).build().unwrap();
    // It holds every descriptor of the worker, the socket among them.
    let fork = |()| {
        // SAFETY: the child only sleeps.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: sleeps.
                unsafe { libc::pause() };
            }
        }
        child as u32
    };
    let killed = pool.submit(fork, ()).wait().into_result().unwrap();
    assert!(alive(killed));
    let report = pool.submit(|()| std::process::abort(), ()).wait();
    assert_eq!(report.outcome, Outcome::<(), _>::Crashed(Crash::Signal(libc::SIGABRT)));
    within(soon(), "the grandchild of a crashed worker is gone", || !alive(killed));
    let left = pool.submit(fork, ()).wait().into_result().unwrap();
    pool.shutdown();
    within(soon(), "the grandchild of a pool that was shut down is gone", || !alive(left));
}

/// A parent with busy workers and their children is killed: all are gone.
#[test]
fn no_worker_outlives_a_killed_parent() {
    if std::env::var_os(ALONE).is_some() {
        return parent_to_be_killed();
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_worker_outlives_a_killed_parent", "--nocapture"])
        .env(ALONE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pids: Vec<u32> = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("pids ").map(|(_, pids)| pids.to_owned()))
        .unwrap()
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 7);
    assert!(pids.iter().all(|pid| alive(*pid)), "{pids:?}");
    parent.kill().unwrap();
    parent.wait().unwrap();
    within(soon(), "workers and their children are gone", || !pids.iter().any(|pid| alive(*pid)));
}

fn parent_to_be_killed() {
    // Of four workers three have a child and are in an endless loop, one has
    // ended its task and is idle.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let pool = Pool::builder().workers(nz!(4)).build().unwrap();
    let busy = |path: String| -> u32 {
        // SAFETY: the child only sleeps.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: sleeps.
                unsafe { libc::pause() };
            }
        }
        std::fs::write(format!("{path}/{child}"), "").unwrap();
        loop {
            std::hint::spin_loop();
        }
    };
    let _busy: Vec<_> = (0..3).map(|_| pool.submit(busy, path.clone())).collect();
    pool.map(|n: u32| n, [1]).unwrap();
    within(Duration::from_secs(60), "three children", || {
        std::fs::read_dir(&path).unwrap().count() == 3 && pool.worker_pids().len() == 4
    });
    let mut pids: Vec<String> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pids.extend(pool.worker_pids().iter().map(u32::to_string));
    // On a line of its own, whatever the harness has printed before.
    println!("\npids {}", pids.join(" "));
    loop {
        std::thread::park();
    }
}

/// The thread that made the pool, and the one that used it, may end: workers
/// belong to the process.
#[test]
fn workers_outlive_the_thread_that_started_them() {
    let pool = std::thread::spawn(|| {
        let pool = Pool::builder().workers(nz!(2)).build().unwrap();
        pool.map(|n: u32| n, 0..10).unwrap();
        pool
    });
    let pool = pool.join().unwrap();
    let before = pool.worker_pids();
    assert_eq!(pool.map(|n: u32| n + 1, 0..10).unwrap(), (1..11).collect::<Vec<_>>());
    let after = pool.worker_pids();
    assert!(!before.is_empty() && before.iter().all(|pid| after.contains(pid)), "{before:?}");
}

#[test]
fn a_thousand_pools_leave_nothing() {
    if in_a_process_of_its_own("a_thousand_pools_leave_nothing") {
        return;
    }
    drop(Pool::builder().workers(nz!(1)).build().unwrap());
    let before = belongings();
    for n in 0..1_000_u32 {
        let pool = Pool::builder().workers(nz!(1)).build().unwrap();
        match n % 4 {
            // Dropped before, while and after it starts, or drained.
            0 => drop(pool),
            1 => assert_eq!(pool.map(|n: u32| n + 1, [n]).unwrap(), [n + 1]),
            2 => {
                drop(pool.submit(|n: u32| n, n));
            }
            _ => {
                let handle = pool.submit(|n: u32| n, n);
                pool.shutdown();
                assert_eq!(handle.wait().outcome, Outcome::Ok(n));
            }
        }
    }
    assert_eq!(belongings(), before, "descriptors, threads, children");
}

/// Where no worker can be started, tasks end, and so does the pool.
#[test]
fn workers_that_cannot_be_started_break_the_pool() {
    if in_a_process_of_its_own("workers_that_cannot_be_started_break_the_pool") {
        return;
    }
    let before = belongings();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls on this process's own limit.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = 64;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    // Room for what a pool needs itself, and for nothing that a worker does.
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    taken.pop();
    let pool =
        Pool::builder().workers(nz!(2)).start_patience(Duration::from_millis(100)).build().unwrap();
    let failed = pool.map(|n: u32| n, 0..100).unwrap_err();
    assert!(failed.to_string().contains("a worker could not be started"), "{failed}");
    assert!(pool.is_broken());
    pool.shutdown();
    drop(taken);
    assert_eq!(belongings(), before, "descriptors, threads, children");
}

/// Started through the dynamic loader, a program cannot be started again by
/// what `/proc` calls it: its tasks end with an error that says so.
#[test]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn a_program_that_is_not_itself_has_no_workers() {
    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
    if std::env::var_os(ALONE).is_some() {
        let pool = Pool::builder().workers(nz!(1)).start_patience(Duration::ZERO).build().unwrap();
        let failed = pool.map(|n: u32| n, 0..3).unwrap_err();
        println!("{failed}");
        return;
    }
    let output = Command::new(LOADER)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_that_is_not_itself_has_no_workers", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the process pool is broken: while it started:"), "{said}");
}

/// A process that finds the workers' variable never gets to `main`, and a
/// worker's own children do not find it.
#[test]
fn no_fork_bomb() {
    // Without a socket: it says so, and ends.
    let lost = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_fork_bomb"])
        .env("SELVEDGE_WORKER", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(lost.status.code(), Some(112));
    assert!(lost.stdout.is_empty(), "its main ran");
    let said = String::from_utf8(lost.stderr).unwrap();
    assert!(said.contains("SELVEDGE_WORKER is set"), "{said}");
    // From a task the program runs as itself, not as a worker.
    let pool = Pool::builder().workers(nz!(1)).build().unwrap();
    let listed = pool.submit(
        |()| {
            let program = Command::new(std::env::current_exe().unwrap()).arg("--list").output();
            String::from_utf8(program.unwrap().stdout).unwrap()
        },
        (),
    );
    assert!(listed.wait().into_result().unwrap().contains("no_fork_bomb: test"));
}

#[test]
fn a_worker_inherits_no_descriptor() {
    // One that this process would leave open across an exec.
    // SAFETY: makes a descriptor, which nobody closes.
    assert!(unsafe { libc::dup(0) } >= 0);
    let pool = Pool::builder().workers(nz!(1)).build().unwrap();
    let open = |()| -> Vec<String> {
        let of = std::fs::read_dir("/proc/self/fd").unwrap();
        of.map(|entry| {
            let path = entry.unwrap().path();
            let to = std::fs::read_link(&path).map_or(String::new(), |to| to.display().to_string());
            format!("{} {to}", path.file_name().unwrap().display())
        })
        .filter(|fd| !["0", "1", "2"].contains(&fd.split(' ').next().unwrap()))
        .filter(|fd| !fd.ends_with("/fd"))
        .collect()
    };
    let open = pool.submit(open, ()).wait().into_result().unwrap();
    // The socket, and the copy that watches it.
    assert_eq!(open.len(), 2, "{open:?}");
    assert!(open.iter().all(|fd| fd.contains("socket:")), "{open:?}");
}
