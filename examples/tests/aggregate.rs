//! The example `aggregate`, run as a person runs it.
#![cfg(not(loom))]

mod program;

use program::{Ran, command, feed};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::Stdio;

/// Runs it in `folder` with `input` on its standard input, a pipe.
fn run_in(folder: &Path, args: &[&str], input: &[u8]) -> Ran {
    feed(command("aggregate", args).current_dir(folder), input)
}

fn run(args: &[&str], input: &[u8]) -> Ran {
    feed(&mut command("aggregate", args), input)
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("it can be written");
    }
    folder
}

#[test]
fn totals_a_pipe_largest_first() {
    let ran = run(&[], b"a:1\nb:2\na:3\nurl:x:5\r\nc:2");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "url:x:5\na:4\nb:2\nc:2\n"));
    assert_eq!(ran.err, "");
    // What it prints it can read.
    assert_eq!(run(&[], ran.out.as_bytes()).out, ran.out);
    assert_eq!(run(&["-"], b"a:1\n").out, "a:1\n");
}

#[test]
fn nothing_in_nothing_out() {
    let ran = run(&[], b"");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", ""));
}

#[test]
fn totals_several_files_and_numbers_lines_in_each() {
    let folder = folder(&[("one", b"a:1\nbad\na:2"), ("two", b"b:9\n\n"), ("empty", b"")]);
    let ran = run_in(folder.path(), &["one", "empty", "-", "two"], b"a:10\nworse\n");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "a:13\nb:9\n"));
    assert_eq!(
        ran.err,
        "aggregate: one:2: no colon: \"bad\"\n\
         aggregate: standard input:2: no colon: \"worse\"\n\
         aggregate: two:2: empty line\n\
         aggregate: 3 of 7 lines malformed\n"
    );
}

#[test]
fn each_kind_of_malformed_line_is_located_and_explained() {
    let input = b"ok:1\n\nbad\n:1\na:\na:x\na:9223372036854775808\n\xff\xfe:1\nk\xff:1\nok:2\n";
    let ran = run(&["--max-line", "25"], input);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "ok:3\n"));
    assert_eq!(
        ran.err.lines().collect::<Vec<_>>(),
        [
            "aggregate: standard input:2: empty line",
            "aggregate: standard input:3: no colon: \"bad\"",
            "aggregate: standard input:4: nothing before the colon: \":1\"",
            "aggregate: standard input:5: nothing after the colon: \"a:\"",
            "aggregate: standard input:6: value is not a whole number: \"a:x\"",
            "aggregate: standard input:7: value does not fit a signed 64-bit integer: \
             \"a:9223372036854775808\"",
            "aggregate: standard input:8: not UTF-8: \"\\xff\\xfe:1\"",
            "aggregate: standard input:9: not UTF-8: \"k\\xff:1\"",
            "aggregate: 8 of 10 lines malformed",
        ]
    );
}

#[test]
fn the_first_few_malformed_lines_stand_for_the_rest() {
    let ran = run(&[], &[&b"bad\n".repeat(25), &b"a:1\n"[..]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "a:1\n"));
    assert_eq!(ran.err.lines().count(), 12);
    assert!(ran.err.contains("aggregate: and 15 more\n"), "{}", ran.err);
}

#[test]
fn strict_makes_malformed_lines_an_error() {
    let ran = run(&["--strict"], b"a:1\nbad\n");
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("standard input:2: no colon: \"bad\""), "{}", ran.err);
    assert!(ran.err.ends_with("aggregate: 1 of 2 lines are malformed (--strict)\n"), "{}", ran.err);
    assert_eq!(run(&["--strict"], b"a:1\n").code, Some(0));
}

#[test]
fn json_is_one_object() {
    let ran = run(&["--json", "--top", "2"], b"a:1\nb:2\nbad\nc \"d\":9\n");
    assert_eq!(ran.code, Some(0));
    let object: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    let expected = json!({
        "totals": { "c \"d\"": 9, "b": 2 },
        "keys": 3,
        "lines": 4,
        "malformed": 1,
        "samples": [{
            "file": "standard input", "line": 3, "offset": 8,
            "reason": "no colon", "excerpt": "bad",
        }],
    });
    assert_eq!(object, expected);
    // In order, although an object has none.
    assert!(ran.out.find("c \\\"d").unwrap() < ran.out.find("\"b\"").unwrap(), "{}", ran.out);
}

#[test]
fn top_prints_the_largest() {
    let input = b"a:1\nb:5\nc:3\n";
    assert_eq!(run(&["--top", "2"], input).out, "b:5\nc:3\n");
    assert_eq!(run(&["--top", "9"], input).out, "b:5\nc:3\na:1\n");
    assert_eq!(run(&["--top", "0"], input).out, "");
}

#[test]
fn factor_multiplies_and_its_overflow_is_a_malformed_line() {
    assert_eq!(run(&["--factor", "2"], b"a:1\nb:2\nbad\na:3\n").out, "a:8\nb:4\n");
    assert_eq!(run(&["--factor", "-3"], b"a:1\n").out, "a:-3\n");
    let ran = run(&["--factor", "2"], b"a:9223372036854775807\na:1\n");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "a:2\n"));
    assert!(
        ran.err.contains("standard input:1: value times 2 does not fit a signed 64-bit integer"),
        "{}",
        ran.err
    );
}

#[test]
fn a_total_that_overflows_is_an_error_unless_told() {
    let input = b"a:9223372036854775807\na:1\n";
    let ran = run(&[], input);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert_eq!(
        ran.err,
        "aggregate: the total of \"a\", 9223372036854775808, does not fit a signed 64-bit integer\n"
    );
    assert_eq!(run(&["--overflow", "saturate"], input).out, "a:9223372036854775807\n");
    assert_eq!(run(&["--overflow", "widen"], input).out, "a:9223372036854775808\n");
    let json = run(&["--overflow", "widen", "--json"], input).out;
    assert!(json.contains("\"a\":9223372036854775808}"), "{json}");
}

#[test]
fn an_input_that_cannot_be_read_is_named() {
    let folder = folder(&[("fine", b"a:1\n")]);
    for (args, message) in [
        (["fine", "nowhere"], "cannot read nowhere: No such file or directory (os error 2)"),
        (["fine", "."], "cannot read .: Is a directory (os error 21)"),
    ] {
        for mode in ["--json", "--async"] {
            let [fine, bad] = args;
            let ran = run_in(folder.path(), &["--overflow", "error", fine, bad, fine], b"");
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), "a:2\n"));
            assert_eq!(ran.err, format!("aggregate: {message}\n"));
            let ran = run_in(folder.path(), &[mode, fine, bad, fine], b"");
            assert_eq!((ran.code, ran.err), (Some(1), format!("aggregate: {message}\n")));
            assert!(ran.out.contains('a') && ran.out.contains('2'), "{}", ran.out);
        }
    }
}

/// The zeros have no end, and no line.
#[test]
fn a_deadline_ends_a_line_without_an_end() {
    for mode in [None, Some("--async")] {
        let args: Vec<&str> = ["--within", "100ms", "/dev/zero"].into_iter().chain(mode).collect();
        let ran = run(&args, b"");
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""));
        assert!(ran.err.contains("stopped after 0 lines"), "{}", ran.err);
    }
}

#[test]
fn binary_input_is_malformed_lines_and_no_crash() {
    // Every byte value, in an order that repeats late.
    let byte = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let binary: Vec<u8> = b"a:1\n".iter().copied().chain((0..300_000).map(byte)).collect();
    let lines = binary.split_inclusive(|&byte| byte == b'\n').count();
    let ran = run(&["--json"], &binary);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let object: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(object["lines"], lines);
    assert!(object["malformed"].as_u64().unwrap() > 0);

    // A program as input: this test, which has large numbers in it.
    let test = std::env::current_exe().unwrap();
    let test = test.to_str().unwrap();
    assert_eq!(run(&["--overflow", "widen", test], b"").code, Some(0));
}

#[test]
fn bad_arguments_are_refused() {
    for (args, complaint) in [
        (["--workers", "0"], "invalid value '0' for '--workers <N>'"),
        (["--factor", "x"], "invalid value 'x' for '--factor <N>'"),
        (["--workers", "100000"], "invalid value '100000' for '--workers <N>': at most 1024"),
        (["--max-line", "0"], "invalid value '0' for '--max-line <BYTES>'"),
        (["--top", "-1"], "unexpected argument '-1'"),
    ] {
        let ran = run(&args, b"a:1\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
        assert!(ran.err.contains(complaint), "{}", ran.err);
    }
}

#[test]
fn any_number_of_workers_prints_the_same_bytes() {
    let mut input = String::new();
    for line in 0..100_000_u64 {
        match line % 97 {
            0 => input.push_str("bad\n"),
            _ => input.push_str(&format!("key{}:{}\n", line * 7919 % 1009, line % 500)),
        }
    }
    let one = run(&["--workers", "1", "--json"], input.as_bytes());
    assert_eq!(one.code, Some(0));
    for workers in ["2", "8"] {
        let many = run(&["--workers", workers, "--json"], input.as_bytes());
        assert_eq!((&many.out, &many.err), (&one.out, &one.err));
    }
}

#[test]
fn a_closed_output_pipe_ends_quietly() {
    let mut input = String::new();
    for key in 0..100_000 {
        input.push_str(&format!("key{key}:1\n"));
    }
    let folder = folder(&[("lines", input.as_bytes())]);
    for json in [&[][..], &["--json"]] {
        let mut child = command("aggregate", json)
            .arg(folder.path().join("lines"))
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut first = [0; 1];
        let mut out = child.stdout.take().expect("it was asked for");
        out.read_exact(&mut first).expect("it prints something");
        drop(out);
        let ran = Ran::from(child.wait_with_output().expect("it ends"));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    }
}

/// The longest that the process has been, in KiB.
#[cfg(target_os = "linux")]
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// `MEBIBYTES` without a newline: longer takes long where nothing is optimised.
#[cfg(target_os = "linux")]
#[test]
fn an_endless_line_takes_bounded_memory() {
    const MEBIBYTES: usize = 256;
    let mut child = command("aggregate", &[]).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(b"a:1\n").expect("it reads");
    let mebibyte = vec![b'x'; 1 << 20];
    for _ in 0..MEBIBYTES {
        stdin.write_all(&mebibyte).expect("it reads");
    }
    let peak = peak_memory(child.id());
    assert!(peak < 32 << 10, "{peak} KiB");
    stdin.write_all(b":1\na:2\n").expect("it reads");
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "a:3\n"));
    assert_eq!(
        ran.err,
        "aggregate: standard input:2: longer than 1048576 bytes\n\
         aggregate: 1 of 3 lines malformed\n"
    );
}

/// The form of tasks prints what the form of blocks does, to the byte.
#[test]
fn tasks_print_the_same_bytes_as_blocks() {
    let mut input = Vec::new();
    for line in 0..3_000_u64 {
        match line % 97 {
            0 => input.extend(b"bad\r\n"),
            1 => input.extend(b"\xff:1\n"),
            2 => input.extend(b"a key that is too long:1\n"),
            3 => input.extend(format!("k:{}\n", i64::MAX).bytes()),
            _ => input.extend(format!("key{}:{}\n", line * 7919 % 101, line % 500).bytes()),
        }
    }
    input.extend(b"last:1");
    let folder = folder(&[("lines", &input)]);
    let common = ["lines", "-", "--factor", "-3", "--max-line", "20", "--overflow", "saturate"];
    for form in [&[][..], &["--json", "--top", "7"]] {
        let blocks = run_in(folder.path(), &[&common[..], form].concat(), &input);
        assert_eq!(blocks.code, Some(0));
        for tasks in [
            &["--async", "--latency", "0s"][..],
            &["--async", "--at-once", "500"],
            &["--async", "--latency", "0s", "--at-once", "1", "--workers", "1"],
            &["--per-second", "1000000", "--latency", "0s"],
        ] {
            let ran = run_in(folder.path(), &[&common[..], form, tasks].concat(), &input);
            assert_eq!((&ran.out, &ran.err), (&blocks.out, &blocks.err), "{tasks:?}");
        }
    }
}

#[test]
fn lines_are_taken_in_no_faster_than_told() {
    let start = std::time::Instant::now();
    let ran = run(&["--per-second", "50", "--stages"], &b"a:1\n".repeat(11));
    let elapsed = start.elapsed();
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "a:11\n"));
    assert!(elapsed.as_secs_f64() >= 10.0 / 50.0 * 0.9, "{elapsed:?}");
    let at_last = |line: &&str| !line.ends_with(" lines so far");
    let stages: Vec<_> =
        ran.err.lines().filter(at_last).filter_map(|it| it.split(',').next()).collect();
    assert_eq!(
        stages,
        ["source", "intake", "parse", "transform", "aggregate"]
            .map(|stage| format!("aggregate: {stage}: 11 done"))
    );
    let blocks = run(&["--stages"], b"a:1\n");
    assert!(blocks.err.starts_with("aggregate: read: 1 done, 0 waiting, 0 in hand (most 1), "));
}

/// Endless input: what was totalled is printed, and the exit code says that it
/// is not all.
#[test]
fn a_deadline_prints_what_is_done() {
    for form in [&[][..], &["--async"], &["--per-second", "20"]] {
        let mut child = command("aggregate", &["--within", "200ms", "--json"])
            .args(form)
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("it was asked for");
        let writer = std::thread::spawn(move || {
            while stdin.write_all(&[b'a', b':', b'1', b'\n'].repeat(1000)).is_ok() {}
        });
        let ran = Ran::from(child.wait_with_output().expect("it ends"));
        writer.join().expect("it ends when nobody reads");
        assert_eq!(ran.code, Some(3), "{}", ran.err);
        let object: Value = serde_json::from_str(&ran.out).expect("it is JSON");
        let lines = object["lines"].as_u64().expect("a number");
        assert_eq!(
            (object["totals"]["a"].as_u64().unwrap_or(0), &object["malformed"]),
            (lines, &json!(0))
        );
        assert_eq!(object["stopped"], "timed out: run of 200ms passed");
        let told =
            format!("aggregate: stopped after {lines} lines: timed out: run of 200ms passed\n");
        assert_eq!(ran.err, told);
    }
}

#[test]
fn too_many_malformed_lines_are_an_error() {
    for form in [&[][..], &["--async"]] {
        let args = [&["--malformed-at-most", "1"][..], form].concat();
        let ran = run(&args, b"a:1\nbad\nworse\nworst\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
        assert_eq!(
            ran.err,
            "aggregate: more than 1 malformed lines, the first of them \
             standard input:2: no colon: \"bad\"\n"
        );
        assert_eq!(run(&args, b"a:1\nbad\n").code, Some(0));
    }
}

#[test]
fn no_record_at_all_is_an_error() {
    for form in [&[][..], &["--async"], &["--json"]] {
        let ran = run(form, b"bad\nworse\n");
        assert_eq!(ran.code, Some(1));
        let last = ran.err.lines().last();
        assert_eq!(last, Some("aggregate: no line is a record, of 2"), "{}", ran.err);
    }
}

/// Waits until a signal is listened for: 2 is SIGINT, 15 SIGTERM.
#[cfg(target_os = "linux")]
fn listens(pid: u32, signal: u32) {
    let catches = |status: String| {
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = u64::from_str_radix(caught.expect("Linux says").trim(), 16).expect("a mask");
        mask & 1 << (signal - 1) != 0
    };
    while !catches(fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs")) {
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
fn kill(pid: u32, signal: u32) {
    let args = [format!("-{signal}"), pid.to_string()];
    let kill = std::process::Command::new("kill").args(args).status();
    assert!(kill.expect("it is there").success());
}

/// Told while it waits for a pipe that stays open: what came before is shown
/// and counts.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_prints_what_is_done() {
    for form in [&[][..], &["--workers", "1"], &["--async"]] {
        for (signal, name) in [(2, "interrupted"), (15, "terminated")] {
            for lines in [0_u64, 6] {
                let mut child =
                    command("aggregate", &["--stages"]).args(form).spawn().expect("it starts");
                let mut stdin = child.stdin.take().expect("it was asked for");
                listens(child.id(), signal);
                let mut err =
                    std::io::BufReader::new(child.stderr.take().expect("it was asked for"));
                let mut said = String::new();
                for line in 1..=lines {
                    stdin.write_all(b"a:1\n").expect("it reads");
                    said.clear();
                    err.read_line(&mut said).expect("it says something");
                    assert_eq!(said, format!("aggregate: {line} lines so far\n"));
                }
                stdin.write_all(b"b:1, not to its end").expect("it reads");
                kill(child.id(), signal);
                said.clear();
                err.read_to_string(&mut said).expect("it ends");
                let ran = Ran::from(child.wait_with_output().expect("it ends"));
                drop(stdin);
                let total = if lines == 0 { "" } else { "a:6\n" };
                assert_eq!((ran.code, ran.out.as_str()), (Some(3), total), "{form:?}: {said}");
                let last = said.lines().last().expect("it says so");
                assert_eq!(
                    last,
                    format!("aggregate: stopped after {lines} lines: cancelled: {name}")
                );
            }
        }
    }
}

#[test]
fn it_has_a_version() {
    let ran = run(&["--version"], b"");
    assert_eq!((ran.code, ran.out.starts_with("aggregate 0.")), (Some(0), true), "{}", ran.out);
}
