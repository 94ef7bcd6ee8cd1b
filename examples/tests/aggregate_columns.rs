//! The example `aggregate` with columns, aggregates and formats.
//!
//! `examples/oracle/aggregate.py` holds it against an implementation of its own.
#![cfg(not(loom))]

mod program;

use program::{Ran, command, feed};
use serde_json::{Value, json};
use std::io::Write;

fn run(args: &[&str], input: &[u8]) -> Ran {
    feed(&mut command("aggregate", args), input)
}

fn out(args: &[&str], input: &[u8]) -> String {
    let ran = run(args, input);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{args:?}");
    ran.out
}

#[test]
fn lines_are_cut_where_told() {
    let passwd = b"root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/bash\n";
    assert_eq!(
        out(&["--separator", ":", "--key", "7", "--value", "3"], passwd),
        "/bin/bash:1000\n"
    );
    assert_eq!(
        out(&["--key", "2", "--value", "1"], b"4\t./a\n12   ./b\n1 ./a\n"),
        "./b:12\n./a:5\n"
    );
    assert_eq!(out(&["--separator", "->"], b"a->1\na->2.5\n"), "a:3.5\n");
    assert_eq!(out(&["--trim", "--agg", "sum"], b"a : 1\na:2\n"), "a:3\n");
    assert_eq!(out(&["--comment", "#"], b"# x:1\na:1\n"), "a:1\n");
}

#[test]
fn each_aggregate_is_what_it_says() {
    let input = b"a:3\na:1.5\na:-2\nb:1e3\na:10\n";
    let all = "sum,count,min,max,mean,p1,p50,p75,p100";
    assert_eq!(
        out(&["--agg", all, "--sort", "key"], input),
        "a\t12.5\t4\t-2\t10\t3.125\t-2\t1.5\t3\t10\n\
         b\t1000\t1\t1000\t1000\t1000\t1000\t1000\t1000\t1000\n"
    );
    assert_eq!(out(&["--agg", "mean"], b"a:1\na:0\na:0\n"), "a:0.333333\n");
    assert_eq!(out(&["--agg", "mean"], b"a:-0.000001\na:0\n"), "a:-0.0000005\n");
    // Words are counted, not read.
    assert_eq!(out(&["--key", "1", "--agg", "count"], b"GET x\nGET\nPUT y\n"), "GET:2\nPUT:1\n");
}

#[test]
fn numbers_are_exact() {
    assert_eq!(out(&["--agg", "sum"], b"a:0.1\na:0.2\n"), "a:0.3\n");
    let large = b"a:99999999999999999999.5\na:.5\n";
    assert_eq!(out(&["--agg", "sum"], large), "a:100000000000000000000\n");
    let units = b"a:1 kB\na:1Ki\na:1.5KiB\na:2M\nb:1E\nc:1E2\nd:3B\n";
    assert_eq!(out(&["--units"], units), "b:1000000000000000000\na:2003560\nc:100\nd:3\n");
}

#[test]
fn csv_and_tsv_have_quotes_and_names() {
    let csv = b"city,\"n\",x\n\"a, b\",1,7\n\"say \"\"hi\"\"\",2,\n\"a, b\",3,\n";
    let named = ["--from", "csv", "--header", "--key", "city", "--value", "n"];
    assert_eq!(out(&named, csv), "a, b:4\nsay \"hi\":2\n");
    let csv_out = out(&[&named[..], &["--csv", "--agg", "sum,max"]].concat(), csv);
    assert_eq!(csv_out, "city,sum,max\n\"a, b\",4,3\n\"say \"\"hi\"\"\",2,2\n");
    assert_eq!(out(&["--from", "tsv", "--value", "2,3"], b"a\t1\t2\na\t3\t4\n"), "a\t4\t6\n");
    assert_eq!(out(&["--from", "csv", "--separator", ";"], b"a;1\n"), "a:1\n");
    let ran = run(&["--from", "csv"], b"a,1\n\"b,2\nc\",3\n");
    assert!(ran.err.contains(":2: a quoted field that does not end on its line"), "{}", ran.err);
}

#[test]
fn json_lines_go_in_and_json_comes_out() {
    let lines = b"{\"k\":\"a\",\"v\":0.1,\"more\":[1]}\n{\"v\":\"0.2\",\"k\":\"a\"}\n{\"k\":7,\"v\":1}\n[]\n";
    let ran = run(&["--from", "jsonl", "--key", "k", "--value", "v", "--json"], lines);
    let printed: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(printed["groups"], json!([{"k": "7", "sum": 1}, {"k": "a", "sum": 0.3}]));
    assert_eq!((&printed["lines"], &printed["malformed"]), (&json!(4), &json!(1)));
}

#[test]
fn keys_need_not_be_text() {
    let ran = command("aggregate", &["--agg", "sum"]).spawn().and_then(|mut child| {
        child.stdin.take().expect("it was asked for").write_all(b"k\xff:1\nk\xfe:2\nk\xff:3\n")?;
        child.wait_with_output()
    });
    assert_eq!(ran.expect("it runs").stdout, b"k\xff:4\nk\xfe:2\n");
    let json = out(&["--agg", "sum", "--json"], b"k\xff:1\n");
    assert!(json.contains(r#"{"key":"k\\xff","sum":1}"#), "{json}");
}

#[test]
fn rows_are_in_the_order_asked_for() {
    let input = b"b:1\na:3\nc:1\n";
    for (order, rows) in [
        ("largest", "a:3\nb:1\nc:1\n"),
        ("smallest", "b:1\nc:1\na:3\n"),
        ("key", "a:3\nb:1\nc:1\n"),
        ("key-down", "c:1\nb:1\na:3\n"),
    ] {
        assert_eq!(out(&["--sort", order], input), rows);
    }
    assert_eq!(out(&["--sort", "smallest", "--top", "2"], input), "b:1\nc:1\n");
    let table = out(&["--table", "--agg", "sum,count"], b"a:1.5\nlong key:20\n");
    assert_eq!(table, "key       sum  count\nlong key   20      1\na         1.5      1\n");
}

#[test]
fn compressed_inputs_are_known_by_their_content() {
    let input = "a:1\nb:2.5\n".repeat(50_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(input.as_bytes()).expect("room");
    let gzip = gzip.finish().expect("room");
    let zstd = zstd::encode_all(input.as_bytes(), 1).expect("room");
    let expected = "b:125000\na:50000\n";
    for whole in [&gzip, &zstd] {
        assert_eq!(out(&["--agg", "sum"], whole), expected);
        // Two of them, one behind the other.
        let twice = [&whole[..], whole].concat();
        assert_eq!(out(&["--agg", "sum"], &twice), "b:250000\na:100000\n");
        let ran = run(&["--agg", "sum"], &whole[..whole.len() - 7]);
        assert!(
            ran.code == Some(1) && ran.err.contains("cannot read standard input"),
            "{}",
            ran.err
        );
    }
    // What begins like one of them, and is none.
    assert_eq!(out(&["--agg", "sum"], b"(:1\n"), "(:1\n");
    assert_eq!(out(&["--agg", "sum"], b""), "");
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    for (args, complaint) in [
        (&["--separator", ""][..], "--separator: nothing separates nothing"),
        (&["--from", "csv", "--separator", "::"], "--separator: one character that CSV can have"),
        (&["--from", "csv", "--separator", "\""], "--separator: one character that CSV can have"),
        (&["--from", "tsv", "--separator", ","], "--separator is for --from lines and --from csv"),
        (&["--from", "jsonl"], "--from jsonl needs --key NAME"),
        (&["--from", "jsonl", "--key", "k"], "--from jsonl needs --value NAME"),
        (&["--from", "jsonl", "--key", "k", "--header"], "--header: an object of JSON has names"),
        (&["--key", "0"], "--key and --value: columns count from 1"),
        (&["--value", "2,"], "--key and --value: a column has a number or a name"),
        (&["--key", "name"], "column \"name\": only --header and --from jsonl give names"),
        (&["--agg", "sum", "--async"], "--async and --per-second: for key:value lines"),
        (&["--agg", "sum", "--factor", "2"], "--factor: for key:value lines"),
        (&["--agg", "sum", "--overflow", "widen"], "--overflow: for key:value lines"),
    ] {
        let ran = run(args, b"a:1\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}");
        assert!(ran.err.starts_with(&format!("aggregate: {complaint}")), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
    for (args, complaint) in [
        (&["--agg", "median"][..], "one of sum, count, min, max, mean, and p1 to p100"),
        (&["--agg", "p0"], "p1 to p100"),
        (&["--agg", "p101"], "p1 to p100"),
        (&["--from", "xml"], "invalid value 'xml' for '--from <FORMAT>'"),
        (&["--sort", "up"], "invalid value 'up' for '--sort <ORDER>'"),
        (&["--csv", "--json"], "cannot be used with"),
        (&["--csv", "--table"], "cannot be used with"),
    ] {
        let ran = run(args, b"a:1\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.err.contains(complaint), "{}", ran.err);
    }
    // What only the input shows.
    for (args, input, complaint) in [
        (
            &["--from", "csv", "--header", "--value", "n"][..],
            &b"a,b\nx,1\n"[..],
            "cannot read standard input: its header has no column \"n\"\n",
        ),
        (
            &["--agg", "sum"],
            b"a:99999999999999999999999999999999999999\na:99999999999999999999999999999999999999\n",
            "standard input:2: the total of \"a\" has more digits than can be added up exactly\n",
        ),
    ] {
        let ran = run(args, input);
        assert_eq!((ran.code, ran.err), (Some(1), format!("aggregate: {complaint}")));
    }
}

#[test]
fn each_malformed_value_says_why() {
    let ran = run(&["--units"], b"a:\na:x\na:1x\na:1 \na:1e-31\na:1e99\n:1\na\n\nok:1\n");
    let why: Vec<_> = ran.err.lines().filter_map(|line| line.splitn(4, ':').nth(3)).collect();
    let digits = " value has more digits than can be added up exactly";
    let reasons = [
        " no value",
        " value is not a number",
        " unknown unit",
        " unknown unit",
        digits,
        digits,
        " no key",
        " no colon",
        " empty line",
    ];
    for (why, reason) in why.iter().zip(reasons) {
        assert!(why.starts_with(reason), "{why} for {reason}");
    }
    assert_eq!((why.len(), ran.out.as_str()), (reasons.len(), "ok:1\n"));
}

/// It waits for a pipe that stays open.
#[cfg(target_os = "linux")]
#[test]
fn a_deadline_prints_what_is_done() {
    let mut child = command("aggregate", &["--agg", "count", "--within", "300ms"]);
    let mut child = child.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(b"a:1\na:2\na:3, not to its end").expect("it reads");
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    drop(stdin);
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), "a:2\n"), "{}", ran.err);
}
