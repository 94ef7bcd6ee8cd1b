//! The example `primes`, run as a person runs it.
//!
//! `cargo test` builds the examples of a package before its tests; with
//! `--test primes` alone it does not, and this would run an old build.
#![cfg(all(target_os = "linux", not(loom)))]

use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
    let program = profile.join("examples").join("primes");
    assert!(program.exists(), "build it first: cargo build -p selvedge-examples --examples");
    program
}

struct Ran {
    ok: bool,
    out: String,
    err: String,
}

fn run(args: &[&str], input: &str) -> Ran {
    let mut child = Command::new(program())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_owned();
    // It may end without reading its input.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer does not panic");
    Ran {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).expect("it prints text"),
        err: String::from_utf8(output.stderr).expect("it prints text"),
    }
}

/// Runs it with each backend and expects the same of both.
fn both(args: &[&str], input: &str) -> Ran {
    let [process, thread] = ["process", "thread"]
        .map(|backend| run(&[args, &["--backend", backend, "--workers", "2"]].concat(), input));
    assert_eq!((process.ok, &process.out, &process.err), (thread.ok, &thread.out, &thread.err));
    process
}

#[test]
fn counts_a_range() {
    let ran = both(&["--range", "0..100000", "--json"], "");
    assert!(ran.ok, "{}", ran.err);
    let printed: Value = serde_json::from_str(&ran.out).expect("it prints JSON");
    assert_eq!(printed, json!({ "count": 9592, "checked": 100_000 }));
    assert_eq!(ran.err, "", "no progress bar where there is no terminal");
    assert_eq!(both(&["--range", "7..7"], "").out, "0 of 0 are prime\n");
}

#[test]
fn counts_a_pipe_and_a_file() {
    let numbers: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(both(&[], &numbers).out, "1229 of 10000 are prime\n");
    assert_eq!(both(&["-"], &numbers).out, "1229 of 10000 are prime\n");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &numbers).expect("it is written");
    let path = file.path().to_str().expect("a plain path");
    assert_eq!(both(&[path], "").out, "1229 of 10000 are prime\n");
}

#[test]
fn the_edges() {
    // Neither 0 nor 1 is prime; 2^64 - 1 is a product; spaces, blank lines and
    // a missing last line break do no harm.
    let ran = both(&["--json"], "0\n1\n\n 2 \r\n18446744073709551615\n3");
    let printed: Value = serde_json::from_str(&ran.out).expect("it prints JSON");
    assert_eq!(printed, json!({ "count": 2, "checked": 5 }));
    assert_eq!(both(&[], "").out, "0 of 0 are prime\n");
}

#[test]
fn what_is_no_number_is_an_error_with_its_line() {
    for (input, said) in [
        ("2\n-3\n5\n", "primes: line 2: \"-3\" is not an unsigned 64-bit integer\n"),
        ("2\n\n3.5\n", "primes: line 3: \"3.5\" is not an unsigned 64-bit integer\n"),
        (
            "18446744073709551616",
            "primes: line 1: \"18446744073709551616\" is not an unsigned 64-bit integer\n",
        ),
        ("seven", "primes: line 1: \"seven\" is not an unsigned 64-bit integer\n"),
    ] {
        let ran = both(&["--json"], input);
        assert!(!ran.ok);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", said));
    }
    let ran = both(&["no such file"], "");
    assert!(!ran.ok && ran.err.starts_with("primes: cannot read no such file: "), "{}", ran.err);
    for bad in ["9..3", "3", "a..b", "0..18446744073709551616"] {
        assert!(!run(&["--range", bad], "").ok, "{bad}");
    }
}

#[test]
fn a_number_past_its_deadline_is_an_error() {
    // The largest prime below 2^64 takes seconds, in a debug build minutes.
    let ran = run(&["--deadline", "0.05", "--workers", "1"], "2\n18446744073709551557\n3\n");
    assert!(!ran.ok);
    assert!(ran.err.contains("item 1: timed out"), "{}", ran.err);
    let ran = run(&["--deadline", "1", "--backend", "thread"], "2");
    assert!(!ran.ok && ran.err.contains("--deadline needs --backend process"), "{}", ran.err);
    assert!(!run(&["--deadline", "-1"], "2").ok);
    assert!(!run(&["--backend", "fork"], "2").ok);
}

#[test]
fn whoever_reads_the_output_may_leave() {
    let child = Command::new(program())
        .args(["--range", "0..10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut child = child;
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}
