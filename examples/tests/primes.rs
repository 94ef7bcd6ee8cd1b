//! The example `primes`, run as a person runs it.
#![cfg(all(target_os = "linux", not(loom)))]

mod program;

use program::{Ran, command, feed};
use serde_json::{Value, json};

fn run(args: &[&str], input: &str) -> Ran {
    feed(&mut command("primes", args), input.as_bytes())
}

/// Runs it with each backend and expects the same of both.
fn both(args: &[&str], input: &str) -> Ran {
    let [process, thread] = ["process", "thread"]
        .map(|backend| run(&[args, &["--backend", backend, "--workers", "2"]].concat(), input));
    assert_eq!((process.code, &process.out, &process.err), (thread.code, &thread.out, &thread.err));
    process
}

#[test]
fn counts_a_range() {
    let ran = both(&["--range", "0..100000", "--json"], "");
    assert!(ran.is_ok(), "{}", ran.err);
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
        assert!(!ran.is_ok());
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", said));
    }
    let ran = both(&["no such file"], "");
    assert!(
        !ran.is_ok() && ran.err.starts_with("primes: cannot read no such file: "),
        "{}",
        ran.err
    );
    for bad in ["9..3", "3", "a..b", "0..18446744073709551616"] {
        assert!(!run(&["--range", bad], "").is_ok(), "{bad}");
    }
}

#[test]
fn a_number_past_its_deadline_is_an_error() {
    // The largest prime below 2^64 takes seconds, in a debug build minutes.
    let ran = run(&["--deadline", "0.05", "--workers", "1"], "2\n18446744073709551557\n3\n");
    assert!(!ran.is_ok());
    assert!(ran.err.contains("item 1: timed out"), "{}", ran.err);
    let ran = run(&["--deadline", "50ms", "--workers", "1"], "18446744073709551557\n");
    assert!(ran.err.contains("item 0: timed out"), "{}", ran.err);
    for bad in ["0s", "5 parsecs", "1e99", "-1", "NaN"] {
        let ran = run(&[&format!("--deadline={bad}")], "2");
        assert!(ran.code == Some(2) && ran.err.contains("for '--deadline <TIME>'"), "{}", ran.err);
    }
    let ran = run(&["--deadline", "1", "--backend", "thread"], "2");
    assert!(!ran.is_ok() && ran.err.contains("--deadline needs --backend process"), "{}", ran.err);
    assert!(!run(&["--backend", "fork"], "2").is_ok());
}

#[test]
fn whoever_reads_the_output_may_leave() {
    let mut child = command("primes", &["--range", "0..10"]).spawn().expect("it starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

/// The zeros have no end, and no line.
#[test]
fn a_line_without_an_end_is_not_held() {
    let ran = run(&["/dev/zero"], "");
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), "primes: line 1: longer than 4096 bytes\n"));
}

/// Each worker is a process, so thousands would take a while, or fail.
#[test]
fn no_more_workers_than_numbers_are_started() {
    let numbers: String = (0..10).map(|n| format!("{n}\n")).collect();
    let ran = run(&["--workers", "50000"], &numbers);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "4 of 10 are prime\n"), "{}", ran.err);
    let ran = run(&["--workers", "50000", "--range", "0..10"], "");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "4 of 10 are prime\n"), "{}", ran.err);
    assert_eq!(run(&["--workers", "50000"], "").out, "0 of 0 are prime\n");
}
