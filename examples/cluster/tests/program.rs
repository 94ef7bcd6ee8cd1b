//! The program, with real workers over a real `nats-server`: its totals are
//! awk's, while a worker is killed every second.
//!
//! Where there is no `nats-server`, the test says so and passes; with
//! `CI=true` it fails. `SELVEDGE_CLUSTER_LINES` says how many lines there are.

#![cfg(all(target_os = "linux", not(loom)))]

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cluster");

/// A process that goes when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(folder: &std::path::Path) -> Option<(Running, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let mut command = Command::new("nats-server");
    command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]);
    let Ok(child) = command.arg(folder).stderr(Stdio::null()).spawn() else {
        let why = "there is no nats-server here: this test DID NOT RUN";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
        println!("{why}");
        return None;
    };
    let server = Running(child);
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "the server does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((server, format!("nats://127.0.0.1:{port}/totals")))
}

fn worker(url: &str) -> Running {
    let mut command = Command::new(PROGRAM);
    command.env("SELVEDGE_CLUSTER", format!("{url}?workers=1"));
    Running(command.spawn().expect("a worker"))
}

fn awk(script: &str, file: &std::path::Path) -> String {
    let output = Command::new("awk").args(["-F:", script]).arg(file).output().expect("awk");
    let mut lines: Vec<&str> = std::str::from_utf8(&output.stdout).expect("text").lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn sorted(output: &Output) -> String {
    let mut lines: Vec<&str> = std::str::from_utf8(&output.stdout).expect("text").lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn totals_are_those_of_awk_with_a_worker_killed_every_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((_server, url)) = server(&folder.path().join("store")) else { return };
    let lines =
        std::env::var("SELVEDGE_CLUSTER_LINES").map_or(1_000_000, |n| n.parse().expect("n"));
    let file = folder.path().join("lines");
    let mut text = String::new();
    for at in 0..lines {
        writeln!(text, "key{}:{}", at * 7_919_u64 % 1_009, at % 5_000).expect("a string");
        if at % 100_000 == 50 {
            writeln!(text, "bad line {at}").expect("a string");
        }
    }
    std::fs::write(&file, &text).expect("room");
    drop(text);
    let mut workers: Vec<Running> = (0..3).map(|_| worker(&url)).collect();
    let mut command = Command::new(PROGRAM);
    command.args(["aggregate", "--cluster", &url, "--workers", "3", "--lease", "1000"]).arg(&file);
    let begun = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a caller");
    let done = std::thread::spawn(move || child.wait_with_output().expect("it ends"));
    let mut killed = 0;
    while !done.is_finished() {
        std::thread::sleep(Duration::from_millis(if killed == 0 { 300 } else { 1_000 }));
        let at = killed % workers.len();
        workers[at] = worker(&url);
        killed += 1;
    }
    let output = done.join().expect("no panic");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{lines} lines in {:?}, {killed} workers killed", begun.elapsed());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let expected =
        awk("NF == 2 { t[$1] += $2 } END { for (k in t) printf \"%s:%.0f\\n\", k, t[k] }", &file);
    assert!(sorted(&output) == expected, "other totals than awk's");
    let bad = lines.div_ceil(100_000).max(1);
    assert!(stderr.contains(&format!("{bad} of {} lines malformed", lines + bad)), "{stderr}");
    assert!(stderr.contains("lines:52: no colon: \"bad line 50\""), "{stderr}");
}

#[test]
fn exit_codes_and_messages_are_those_of_one_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((_server, url)) = server(&folder.path().join("store")) else { return };
    let _worker = worker(&url);
    let run = |files: &[&str], more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["aggregate", "--cluster", &url]).args(more);
        command.args(files).current_dir(folder.path()).output().expect("it runs")
    };
    std::fs::write(folder.path().join("a"), "x:1\ny:2\nbad\nx:4").expect("room");
    std::fs::write(folder.path().join("b"), "y:9223372036854775807\n").expect("room");
    let fine = run(&["a"], &["--top", "1"]);
    assert_eq!((fine.status.code(), &fine.stdout[..]), (Some(0), &b"x:5\n"[..]));
    let strict = run(&["a"], &["--strict"]);
    assert_eq!((strict.status.code(), &strict.stdout[..]), (Some(1), &b""[..]));
    let missing = run(&["a", "gone"], &[]);
    assert_eq!((missing.status.code(), &missing.stdout[..]), (Some(1), &b"x:5\ny:2\n"[..]));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot read gone"));
    let large = run(&["a", "b"], &[]);
    assert_eq!(large.status.code(), Some(1));
    let said = String::from_utf8_lossy(&large.stderr).into_owned();
    assert!(said.contains("the total of \"y\", 9223372036854775809, does not fit"), "{said}");
    let status = Command::new(PROGRAM).args(["status", &url]).output().expect("it runs");
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("1 workers") && said.contains("0 batches wait"), "{said}");
}
