//! What the parent does with signals, with its children and with itself is no
//! affair of its workers.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "signals, terminals and forks")]

mod alone;

use alone::{ALONE, in_a_process_of_its_own};
use selvedge::nz;
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::{Fault, Pool};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn within(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Whether the kernel keeps the status of a child that somebody else reaped.
fn statuses_are_kept() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6_u32, 15_u32)
}

/// Crashes of all kinds in a program that does not get to wait for its
/// children: what the kernel keeps is told, and nothing else is made up.
fn crashes_are_told() {
    let pool = Pool::builder()
        .workers(nz!(2))
        .deadline(Duration::from_secs(2))
        .memory_limit(128 << 20)
        .env("RUST_BACKTRACE", "0")
        .build()
        .unwrap();
    let task = |n: u32| {
        match n % 6 {
            1 => std::process::exit(3),
            2 => std::process::abort(),
            // SAFETY: ends this worker.
            3 => assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGKILL) }, 0),
            4 => loop {
                std::thread::park();
            },
            5 => drop(std::hint::black_box(vec![1_u8; 1 << 40])),
            _ => {}
        }
        n
    };
    let seen = |crash| if statuses_are_kept() { crash } else { Crash::Unseen };
    for (n, end) in pool.map_outcomes(task, 0..18).into_iter().enumerate() {
        assert_eq!(end.attempt, 1);
        match (n % 6, end.outcome) {
            (0, Outcome::Ok(value)) => assert_eq!(value as usize, n),
            (1, Outcome::Crashed(crash)) => assert_eq!(crash, seen(Crash::Exit(3))),
            (2, Outcome::Crashed(crash)) => assert_eq!(crash, seen(Crash::Signal(6))),
            (3, Outcome::Crashed(crash)) => assert_eq!(crash, seen(Crash::Signal(9))),
            (4, Outcome::TimedOut(_)) => {}
            (5, Outcome::Crashed(Crash::OutOfMemory(_))) => {}
            (_, other) => panic!("task {n}: {other:?}"),
        }
    }
    let pids = pool.worker_pids();
    drop(pool);
    assert!(!pids.iter().any(|pid| alive(*pid)), "workers are gone");
}

#[test]
fn deaths_are_told_where_sigchld_is_ignored() {
    if in_a_process_of_its_own("deaths_are_told_where_sigchld_is_ignored") {
        return;
    }
    // SAFETY: a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    crashes_are_told();
}

#[test]
fn deaths_are_told_where_children_leave_no_zombies() {
    if in_a_process_of_its_own("deaths_are_told_where_children_leave_no_zombies") {
        return;
    }
    // SAFETY: a valid disposition.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_NOCLDWAIT;
        assert_eq!(libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()), 0);
    }
    crashes_are_told();
}

/// As a program does that supervises children of its own, and as process 1 of
/// a container has to.
#[test]
fn deaths_are_told_where_another_thread_waits_for_any_child() {
    if in_a_process_of_its_own("deaths_are_told_where_another_thread_waits_for_any_child") {
        return;
    }
    std::thread::spawn(|| {
        loop {
            // SAFETY: waits, and stores nothing.
            if unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } == -1 {
                std::thread::yield_now();
            }
        }
    });
    let pool = Pool::builder().workers(nz!(2)).build().unwrap();
    for n in 0..50 {
        let end = pool.submit(|_: u32| -> u32 { std::process::exit(3) }, n).wait();
        let Outcome::Crashed(crash) = end.outcome else { panic!("{end:?}") };
        let told = crash == Crash::Exit(3) || crash == Crash::Unseen && !statuses_are_kept();
        assert!(told, "{crash}");
    }
}

/// Ignores and blocks every signal there is.
fn deafen() {
    // SAFETY: valid calls on this process's own dispositions and mask.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

#[test]
fn workers_hear_every_signal() {
    if in_a_process_of_its_own("workers_hear_every_signal") {
        return;
    }
    deafen();
    let pool = Pool::builder().workers(nz!(1)).build().unwrap();
    let signals = |()| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        (line("SigBlk:"), line("SigIgn:"))
    };
    let (blocked, ignored) = pool.submit(signals, ()).wait().into_result().unwrap();
    let bit = |signal: i32| 1_u64 << (signal - 1);
    assert_eq!(blocked, 0);
    // Two are the C library's own, which it lets nobody change.
    let ignored = ignored & !(bit(32) | bit(33));
    assert_eq!(ignored, bit(libc::SIGPIPE) | bit(libc::SIGTTOU) | bit(libc::SIGTTIN));
    // A task's child ends by SIGTERM, and the task sees how it ended.
    let ended = |()| {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        // SAFETY: a signal to a child that was not waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        child.wait().unwrap().signal()
    };
    assert_eq!(pool.submit(ended, ()).wait().outcome, Outcome::Ok(Some(libc::SIGTERM)));
}

/// A task that has become another program, in which nothing of ours runs.
#[test]
fn a_replaced_worker_dies_with_its_parent() {
    const NAME: &str = "a_replaced_worker_dies_with_its_parent";
    if std::env::var_os(ALONE).is_some() {
        deafen();
        let pool = Pool::builder().workers(nz!(1)).build().unwrap();
        let _task =
            pool.submit(|()| -> () { panic!("{}", Command::new("sleep").arg("60").exec()) }, ());
        let replaced = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        };
        within(Duration::from_secs(60), "a worker is replaced", || {
            pool.worker_pids().iter().any(replaced)
        });
        println!("\npid {}", pool.worker_pids()[0]);
        loop {
            std::thread::park();
        }
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(ALONE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid =
        lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("pid ")?.to_owned()));
    let pid: u32 = pid.unwrap().parse().unwrap();
    assert!(alive(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    within(Duration::from_secs(30), "the replaced worker is gone", || !alive(pid));
}

/// On a terminal that stops background processes that write to it.
#[test]
fn a_task_prints_where_the_terminal_stops_output() {
    const NAME: &str = "a_task_prints_where_the_terminal_stops_output";
    if std::env::var_os(ALONE).is_some() {
        // SAFETY: reads and sets the flags of this process's terminal.
        unsafe {
            let mut flags: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(1, &raw mut flags), 0);
            flags.c_lflag |= libc::TOSTOP;
            assert_eq!(libc::tcsetattr(1, libc::TCSANOW, &raw const flags), 0);
        }
        let pool = Pool::builder().workers(nz!(1)).build().unwrap();
        let print = |n: u32| {
            println!("task {n} prints");
            // Nor does reading from it stop a task.
            let read = std::fs::File::open("/dev/tty").unwrap().read(&mut [0]);
            (n, read.is_err())
        };
        assert_eq!(pool.map(print, [1, 2]).unwrap(), [(1, true), (2, true)]);
        println!("all done");
        return;
    }
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: makes two descriptors, which are nobody else's.
    let (ours, theirs) = unsafe {
        let none = std::ptr::null_mut();
        let made = libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast());
        assert_eq!(made, 0);
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", NAME, "--nocapture"])
        .env(ALONE, "1")
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs);
    // SAFETY: async-signal-safe calls: a session of its own on that terminal.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    let mut program = command.spawn().unwrap();
    drop(command);
    let (said_to, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Ends with an error once nobody has the terminal any more.
        let mut terminal = std::fs::File::from(ours);
        let mut bytes = [0; 1024];
        while let Ok(n) = terminal.read(&mut bytes) {
            if n == 0 || said_to.send(bytes[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut all = Vec::new();
    let end = Instant::now() + Duration::from_secs(30);
    while let Ok(some) = said.recv_timeout(end.saturating_duration_since(Instant::now())) {
        all.extend(some);
    }
    let _ = program.kill();
    let status = program.wait().unwrap();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("task 2 prints") && all.contains("all done"), "{status}: {all}");
}

/// Runs `child` in a process that is forked from this one: whether it ended
/// with 0 in time.
fn forked(child: impl FnOnce()) -> bool {
    // SAFETY: the child runs code that does not rely on other threads, which
    // is what is tested, and ends without unwinding into the parent's.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(ran.is_err())) };
    }
    let mut status = 0;
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        // SAFETY: waits for a child of ours.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } {
            0 if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            0 => {
                // SAFETY: a child that was not waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                return false;
            }
            _ => return status == 0,
        }
    }
}

/// In a forked process a pool is broken, does not hang, and harms nothing of
/// its owner's.
#[test]
fn a_pool_does_not_hang_in_a_forked_process() {
    if in_a_process_of_its_own("a_pool_does_not_hang_in_a_forked_process") {
        return;
    }
    let pool = Pool::builder().workers(nz!(2)).submit_limit(nz!(2)).build().unwrap();
    let large = vec![7_u8; 1 << 20];
    assert_eq!(
        pool.submit(|x: Vec<u8>| x, large.clone()).wait().outcome,
        Outcome::Ok(large.clone())
    );
    let gate = tempfile::tempdir().unwrap();
    let path = gate.path().join("open").to_str().unwrap().to_owned();
    let wait = |path: String| {
        while !std::path::Path::new(&path).exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::process::id()
    };
    // Before both workers are busy: then nobody would be left for it.
    let mut stream = pool.stream(|n: u32| n, 0.., nz!(4));
    assert_eq!(stream.next().unwrap().outcome, Outcome::Ok(0));
    let busy = [pool.submit(wait, path.clone()), pool.submit(wait, path.clone())];
    within(Duration::from_secs(30), "two workers", || pool.worker_pids().len() == 2);
    let pids = pool.worker_pids();
    let broken = |fault: &Fault| matches!(fault, Fault::Broken(why) if why.contains("forked"));
    let mut parts = Some((pool, busy, stream));
    assert!(forked(|| {
        let (pool, [first, second], stream) = parts.take().unwrap();
        assert!(pool.is_broken() && pool.worker_pids().is_empty());
        let failed = pool.map(|n: u32| n, 0..3).unwrap_err();
        assert!(matches!(&failed.outcome, Outcome::Err(fault) if broken(fault)), "{failed}");
        // No place is left, and there never will be one here.
        let end = pool.submit(|x: Vec<u8>| x, vec![1; 1 << 20]).wait();
        assert!(matches!(&end.outcome, Outcome::Err(fault) if broken(fault)), "{end:?}");
        assert!(pool.try_submit(|n: u32| n, 1).is_ok());
        for report in stream.skip_while(|report| report.outcome.is_ok()).take(10) {
            assert!(matches!(&report.outcome, Outcome::Err(fault) if broken(fault)), "{report:?}");
        }
        first.cancel();
        assert!(matches!(first.wait().outcome, Outcome::Err(fault) if broken(&fault)));
        drop(second);
        drop(pool);
    }));
    let (pool, busy, mut stream) = parts.take().unwrap();
    std::fs::write(&path, "").unwrap();
    let ran: Vec<u32> = busy.map(|task| task.wait().into_result().unwrap()).to_vec();
    assert!(ran.iter().all(|pid| pids.contains(pid)), "the workers that were there before");
    assert_eq!(stream.next().unwrap().outcome, Outcome::Ok(1));
    drop(stream);
    let same = pool.submit(|x: Vec<u8>| x, large.clone()).wait();
    assert!(same.outcome == Outcome::Ok(large), "the child wrote into its parent's memory");
    assert!(forked(|| drop(pool)));
}

/// Its file may be touched while it runs.
#[test]
fn a_touched_executable_is_still_the_same() {
    const NAME: &str = "a_touched_executable_is_still_the_same";
    if std::env::var_os(ALONE).is_some() {
        let pool = Pool::builder().workers(nz!(1)).start_patience(Duration::ZERO).build().unwrap();
        let one = |n: u32| pool.map(|n: u32| n + 1, [n]).map_err(|failed| failed.to_string());
        assert_eq!(one(1), Ok(vec![2]));
        let this = std::fs::File::open("/proc/self/exe").unwrap();
        this.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        // SAFETY: a worker of this test's pool.
        unsafe { libc::kill(pool.worker_pids()[0] as i32, libc::SIGKILL) };
        within(Duration::from_secs(30), "it is gone", || pool.worker_pids().is_empty());
        assert_eq!(one(2), Ok(vec![3]), "touched");
        std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
        // SAFETY: as above.
        unsafe { libc::kill(pool.worker_pids()[0] as i32, libc::SIGKILL) };
        within(Duration::from_secs(30), "it is gone", || pool.worker_pids().is_empty());
        assert_eq!(one(3), Ok(vec![4]), "deleted");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    // By another process: a worker that another test forks meanwhile would have
    // a copy that this one writes open, and what is written to cannot be run.
    let cp = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status();
    assert!(cp.unwrap().success());
    let output = Command::new(&copy).args(["--exact", NAME]).env(ALONE, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
