//! The example `tour`, run as a person runs it.
#![cfg(all(target_os = "linux", not(loom)))]

mod program;

use program::command;
use std::fs;
use std::process::Output;

fn tour(args: &[&str]) -> Output {
    command("tour", args).output().expect("it starts")
}

/// The rows: number, whether it was right, name and what was told.
fn rows(output: &Output) -> Vec<(usize, bool, String, String)> {
    let text = std::str::from_utf8(&output.stdout).expect("it prints text");
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let right = match words.next()? {
            "right" => true,
            "WRONG" => false,
            _ => return None,
        };
        let took: f64 = words.next()?.parse().ok()?;
        assert!(took >= 0.0 && words.next() == Some("ms"));
        let name = words.next()?.strip_suffix(':')?.to_owned();
        Some((number, right, name, words.collect::<Vec<_>>().join(" ")))
    };
    text.lines().filter_map(row).collect()
}

const NAMES: [&str; 12] = [
    "SafeCounter",
    "map_threaded",
    "pipeline",
    "primes_count",
    "gather_limited",
    "cancel_demo",
    "run_mixed",
    "with_timeout",
    "compute_off_thread",
    "concurrent_map",
    "rate_limited",
    "aggregate",
];

#[track_caller]
fn all_right(output: &Output) -> Vec<(usize, bool, String, String)> {
    let rows = rows(output);
    let shown: Vec<_> = rows.iter().map(|(number, _, name, _)| (*number, name.as_str())).collect();
    assert_eq!(shown, (1..).zip(NAMES).collect::<Vec<_>>());
    let wrong: Vec<_> = rows.iter().filter(|(_, right, ..)| !right).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    rows
}

#[test]
fn all_twelve_are_right_on_files_of_this_machine() {
    all_right(&tour(&["--files", "300"]));
}

#[test]
fn all_twelve_are_right_on_files_that_are_known() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).expect("room");
    write("a.txt", b"one\ntwo\n");
    write("b.txt", b"three");
    write("c.rs", b"fn main() {}\n");
    write("none", b"");
    fs::create_dir(folder.path().join("d")).expect("room");
    write("d/e.rs", b"\xff\n\n\n");
    let rows = all_right(&tour(&[folder.path().to_str().expect("a plain path")]));
    assert_eq!(rows[0].3, "5 threads count the newlines of 5 files: 6 [one thread splits them]");
    assert_eq!(
        rows[11].3,
        "tasks parse, double and total 5 lines, 64 at a time: \
         2 keys, most in \"rs\": 34 [a loop]"
    );
    assert_eq!(
        rows[7].3.split_once(": ").expect("a result").1,
        "3 in time, 2 timed out [the short ones and no other]"
    );
}

#[test]
fn where_there_are_no_files_they_are_made_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = tour(&[folder.path().to_str().expect("a plain path"), "--files", "40"]);
    all_right(&output);
    assert!(output.stdout.starts_with(b"40 files, "), "{output:?}");
}

/// The checks can fail: held against other input, all that have input do.
#[test]
fn what_is_wrong_is_told_and_is_the_exit_code() {
    let output = tour(&["--files", "60", "--spoil"]);
    let right: Vec<_> =
        rows(&output).into_iter().filter(|row| row.1).map(|(_, _, name, _)| name).collect();
    assert_eq!(right, ["cancel_demo", "run_mixed"]);
    assert_eq!(output.status.code(), Some(1));
    let last = String::from_utf8_lossy(&output.stdout);
    assert!(last.lines().last().expect("a verdict").starts_with("10 of 12 WRONG, in "), "{last}");
}

/// Its files have no size, and some have no end.
#[test]
fn files_of_the_kernel_are_read_in_bounds() {
    let output = tour(&["/proc/self", "--files", "200"]);
    all_right(&output);
}

#[test]
fn whoever_reads_the_lines_may_leave() {
    let mut child = command("tour", &["--files", "20"]).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// Where descriptors run out an exercise cannot be run, and is not wrong.
#[test]
fn what_cannot_be_run_is_not_wrong() {
    for descriptors in [8, 12] {
        let limited = format!("ulimit -n {descriptors}; exec \"$0\" --files 20");
        let tour = program::program("tour");
        let output = std::process::Command::new("sh").args(["-c", &limited]).arg(tour).output();
        let output = output.expect("there is a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("WRONG"), "{descriptors}: {text}");
        if output.status.code() == Some(0) {
            assert!(text.contains("all 12 right"), "{descriptors}: {text}");
        } else {
            let told = text.contains(" not run") || output.stderr.starts_with(b"tour: ");
            assert!(told, "{descriptors}: {output:?}");
        }
        assert!(output.stderr.iter().filter(|byte| **byte == b'\n').count() <= 1, "{output:?}");
    }
}
