//! The example `fetch`, run as a person runs it, against a server of its own.
#![cfg(all(unix, not(loom)))]

#[path = "../../tests/program/mod.rs"]
mod program;
mod server;

use program::{Ran, feed};
use serde_json::Value;
use server::Server;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command};

fn command(args: &[&str]) -> Command {
    program::command("fetch", args)
}

fn run(args: &[&str], input: &str) -> Ran {
    feed(&mut command(args), input.as_bytes())
}

/// The columns of each row but the one that tells the time.
fn rows(ran: &Ran) -> Vec<Vec<&str>> {
    ran.out
        .lines()
        .map(|line| {
            let mut columns: Vec<&str> = line.split('\t').collect();
            columns.remove(3).parse::<f64>().expect("seconds");
            columns
        })
        .collect()
}

/// The last line of standard error, up to the time it took.
fn summary(ran: &Ran) -> &str {
    let last = ran.err.lines().last().unwrap_or_default();
    last.split(" in ").next().unwrap_or_default()
}

/// Ctrl-C.
fn interrupt(child: &Child) {
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
    let mut names: Vec<String> = entries.map(|entry| name(entry).expect("plain")).collect();
    names.sort();
    names
}

#[test]
fn rows_are_in_input_order_whoever_ends_first() {
    let server = Server::start();
    // The first is answered only when the second has been.
    let [first, second] = [server.url("/bytes/3?after=bytes"), server.url("/bytes/5")];
    let ran = run(&[&first, &second], "");
    assert_eq!((ran.code, ran.err.lines().count()), (Some(0), 1), "{}", ran.err);
    assert_eq!(rows(&ran), [["fetched", "200", "3", &first], ["fetched", "200", "5", &second]]);
    assert_eq!(summary(&ran), "fetch: 2 of 2 fetched, 0 failed, 0 timed out, 0 cancelled; 8 bytes");
}

#[test]
fn never_more_at_a_time_than_the_limit() {
    let server = Server::start();
    // Three have to be there at once for any to be answered.
    let urls = vec![server.url("/meet"); 12].join("\n");
    let ran = run(&["--limit", "3", "-"], &urls);
    assert_eq!((ran.code, rows(&ran).len()), (Some(0), 12), "{}", ran.err);
    assert_eq!(server.most_at_once(), 3);
}

#[test]
fn failures_are_rows_when_told_to_keep_going() {
    let server = Server::start();
    let paths = [
        "/bytes/1",
        "/status/404",
        "/status/500",
        "/drop",
        "/reset",
        "/garbage",
        "/loop",
        "/trickle",
        "/empty",
        "/redirect/3",
        "/relative/a",
    ];
    let urls = paths.map(|path| server.url(path));
    let mut args =
        vec!["--keep-going", "ftp://127.0.0.1/x", "no url\tat all", "http://127.0.0.1:1/"];
    args.extend(urls.iter().map(String::as_str));
    let ran = run(&args, "");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let rows = rows(&ran);
    let short: Vec<_> = rows.iter().map(|row| (row[0], row[1], row[2])).collect();
    assert_eq!(
        short,
        [
            ("failed", "-", "0"),
            ("failed", "-", "0"),
            ("failed", "-", "0"),
            ("fetched", "200", "1"),
            ("failed", "404", "0"),
            ("failed", "500", "0"),
            ("failed", "200", "10"),
            ("failed", "-", "0"),
            ("failed", "-", "0"),
            ("failed", "302", "0"),
            ("fetched", "200", "50"),
            ("fetched", "204", "0"),
            ("fetched", "200", "4"),
            ("fetched", "200", "8"),
        ],
        "{}",
        ran.out
    );
    let why = |row: usize, reason: &str| {
        assert!(rows[row].last().unwrap().contains(reason), "{:?}", rows[row]);
    };
    why(0, "not an HTTP or HTTPS URL");
    why(1, "not a URL");
    assert_eq!(rows[1][3], "no url\\tat all");
    why(2, "refused");
    why(4, "HTTP 404 Not Found");
    why(5, "HTTP 500 Internal Server Error");
    why(9, "more than 10 redirects");
    assert_eq!(
        summary(&ran),
        "fetch: 5 of 14 fetched, 9 failed, 0 timed out, 0 cancelled; 73 bytes"
    );
}

#[test]
fn a_port_that_is_none_is_no_url() {
    for url in ["http://127.0.0.1:99999/", "http://127.0.0.1:-1/", "http://127.0.0.1:x/"] {
        let ran = run(&[url], "");
        assert_eq!(
            (ran.code, rows(&ran)[0].last()),
            (Some(1), Some(&"not a URL: invalid port number"))
        );
    }
}

#[test]
fn a_redirect_may_have_spaces_in_it() {
    let ran = run(&[&Server::start().url("/spaces")], "");
    assert_eq!(
        (ran.code, &rows(&ran)[0][..3]),
        (Some(0), &["fetched", "200", "6"][..]),
        "{}",
        ran.out
    );
}

/// They go to the server, and to where it sends us on the same server.
#[test]
fn a_name_and_a_password_are_sent() {
    let server = Server::start();
    let url = server.url("/known").replace("://", "://warp:we%20ft@");
    let ran = run(&[&url], "");
    assert_eq!(
        (ran.code, &rows(&ran)[0][..3]),
        (Some(0), &["fetched", "200", "5"][..]),
        "{}",
        ran.out
    );
    let ran = run(&[&server.url("/known")], "");
    assert_eq!((ran.code, rows(&ran)[0][1]), (Some(1), "401"));
    // Another server does not hear of them.
    let other = Server::start();
    let ran = run(&[&url.replace("/known", &format!("/to/{}", other.port()))], "");
    assert_eq!((ran.code, rows(&ran)[0][1]), (Some(1), "401"), "{}", ran.out);
}

/// It waits for them, though all the servers hang.
#[test]
fn descriptors_that_are_fewer_than_the_limit_are_waited_for() {
    let server = Server::start();
    let url = server.url("/bytes/3?after=bytes");
    let limited = "ulimit -n 24; exec \"$0\" --limit 60 \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(program::program("fetch"));
    command.args(std::iter::repeat_n(&url, 60)).arg(server.url("/bytes/4"));
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("there is a shell");
    // The first of them to end lets the others end.
    server.happens("bytes");
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert_eq!(rows(&ran).len(), 61);
}

#[test]
fn the_first_failure_cancels_the_others() {
    let server = Server::start();
    let urls = [server.url("/status/404?after=hang"), server.url("/hang"), server.url("/bytes/1")];
    let mut args = vec!["--limit", "2"];
    args.extend(urls.iter().map(String::as_str));
    let ran = run(&args, "");
    assert_eq!(ran.code, Some(1));
    let rows = rows(&ran);
    assert_eq!(rows[0][..4], ["failed", "404", "0", &urls[0]]);
    assert_eq!(rows[1][..4], ["cancelled", "-", "0", &urls[1]]);
    let cause = format!("{} HTTP 404 Not Found", urls[0]);
    assert_eq!(rows[1][4], format!("cancelled: {cause}"));
    // The third was not started, or was and was cancelled at once.
    assert!(!ran.out.contains("fetched"), "{}", ran.out);
    assert!(ran.err.ends_with(&format!("(stopped: {cause})\n")), "{}", ran.err);
}

#[test]
fn a_hanging_server_costs_one_timeout() {
    let server = Server::start();
    let urls = ["/hang", "/hang-body", "/bytes/2"].map(|path| server.url(path));
    let mut args = vec!["--timeout", "5s", "--keep-going", "--limit", "2"];
    args.extend(urls.iter().map(String::as_str));
    let ran = run(&args, "");
    assert_eq!(ran.code, Some(1));
    let rows = rows(&ran);
    assert_eq!(rows[0], ["timed out", "-", "0", &urls[0], "timed out: timeout of 5s passed"]);
    assert_eq!(rows[1], ["timed out", "200", "10", &urls[1], "timed out: timeout of 5s passed"]);
    assert_eq!(rows[2], ["fetched", "200", "2", &urls[2]]);
}

#[test]
fn the_deadline_of_the_whole_stops_it_and_is_named() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let urls = ["/bytes/2", "/hang-body", "/hang"].map(|path| server.url(path));
    let out = folder.path().to_str().unwrap();
    let mut args = vec!["--deadline", "5s", "--limit", "2", "--output", out];
    args.extend(urls.iter().map(String::as_str));
    let ran = run(&args, "");
    assert_eq!(ran.code, Some(1));
    let rows = rows(&ran);
    assert_eq!(rows[0], ["fetched", "200", "2", &urls[0]]);
    for row in &rows[1..] {
        assert!(row[0] == "timed out" || row[0] == "cancelled", "{row:?}");
        assert!(row[4].contains("deadline of 5s passed"), "{row:?}");
    }
    assert!(ran.err.contains("deadline of 5s passed"), "{}", ran.err);
    assert_eq!(names(folder.path()), ["0001-2"]);
}

#[test]
fn saves_whole_files_and_no_partial_ones() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("new").join("pages");
    let urls = ["/bytes/200000", "/drop", "/", "/trickle?a=/b", "/status/404"];
    let urls = urls.map(|path| server.url(path));
    let mut args = vec!["--keep-going", "--json", "--output", out.to_str().unwrap()];
    args.extend(urls.iter().map(String::as_str));
    let ran = run(&args, "");
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""));
    assert_eq!(names(&out), ["0001-200000", "0003-index", "0004-trickle"]);
    assert_eq!(fs::read(out.join("0001-200000")).unwrap(), vec![b'x'; 200_000]);
    assert_eq!(
        fs::read(out.join("0004-trickle")).unwrap(),
        b"trickle trickle trickle trickle trickle trickle . "
    );
    let rows: Vec<Value> =
        ran.out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(rows[0]["file"], out.join("0001-200000").to_str().unwrap());
    assert_eq!((&rows[0]["number"], &rows[0]["bytes"]), (&1.into(), &200_000.into()));
    assert_eq!((&rows[1]["outcome"], &rows[1]["file"]), (&"failed".into(), &Value::Null));
    let summary = &rows[5]["summary"];
    assert_eq!((&summary["fetched"], &summary["failed"]), (&3.into(), &2.into()));
}

#[test]
fn ctrl_c_cleans_up_and_reports_what_was_done() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().to_str().unwrap();
    let urls = ["/bytes/5", "/hang-body", "/hang", "/bytes/7"].map(|path| server.url(path));
    let mut args = vec!["--keep-going", "--limit", "2", "--output", out];
    args.extend(urls.iter().map(String::as_str));
    let child = command(&args).spawn().expect("it starts");
    server.wait_for("hang");
    let part = folder.path().join("0002-hang-body.part");
    while !part.exists() {
        std::thread::yield_now();
    }
    interrupt(&child);
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let rows = rows(&ran);
    assert_eq!(rows.len(), 3, "{}", ran.out);
    assert_eq!(rows[0], ["fetched", "200", "5", &urls[0]]);
    assert_eq!((rows[1][0], rows[1][4]), ("cancelled", "cancelled: interrupted"));
    assert_eq!((rows[2][0], rows[2][4]), ("cancelled", "cancelled: interrupted"));
    let expected = "fetch: 1 of 4 fetched, 0 failed, 0 timed out, 2 cancelled, 1 not started";
    assert!(summary(&ran).starts_with(expected), "{}", ran.err);
    assert!(ran.err.ends_with("(stopped: interrupted)\n"), "{}", ran.err);
    assert_eq!(names(folder.path()), ["0001-5"]);
    // The server saw both connections go.
    server.wait_for("gone");
    server.wait_for("gone");
}

#[test]
fn a_pipe_is_fetched_as_it_comes_and_ctrl_c_does_not_wait_for_its_end() {
    let server = Server::start();
    let mut child = command(&["-"]).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let mut out = BufReader::new(child.stdout.take().expect("it was asked for"));
    for n in 1..4 {
        writeln!(stdin, "{}\n", server.url(&format!("/bytes/{n}"))).expect("it reads");
        let mut row = String::new();
        out.read_line(&mut row).expect("it prints");
        assert!(row.starts_with(&format!("fetched\t200\t{n}\t")), "{row}");
    }
    interrupt(&child);
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, Some(130));
    assert!(ran.err.starts_with("fetch: 3 of 3 fetched"), "{}", ran.err);
    assert!(ran.err.contains("the rest not read"), "{}", ran.err);
    drop(stdin);
}

#[test]
fn nobody_who_reads_the_rows_ends_it_quietly() {
    let server = Server::start();
    let mut child = command(&["--limit", "1", "-"]).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    drop(child.stdout.take());
    // Until it has noticed.
    while writeln!(stdin, "{}", server.url("/bytes/1")).is_ok() {
        if child.try_wait().expect("it can be waited for").is_some() {
            break;
        }
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn https_needs_a_certificate_that_the_system_trusts() {
    let server = Server::start_tls();
    let url = server.url("/bytes/9");
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/ca.pem");
    let trusting = command(&[&url]).env("SSL_CERT_FILE", authority).output().expect("it runs");
    let ran = Ran::from(trusting);
    assert_eq!(rows(&ran), [["fetched", "200", "9", &url]], "{}", ran.err);
    let ran = run(&[&url], "");
    assert_eq!(ran.code, Some(1));
    let row = &rows(&ran)[0];
    assert!(row[0] == "failed" && row[4].contains("certificate"), "{row:?}");
}

#[test]
fn certificates_may_be_given() {
    let server = Server::start_tls();
    let file = |name: &str| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let url = server.url("/bytes/3");
    let ran = run(&["--cacert", &file("ca.pem"), &url], "");
    assert_eq!(
        (ran.code, &rows(&ran)[0][..3]),
        (Some(0), &["fetched", "200", "3"][..]),
        "{}",
        ran.out
    );
    for (name, why) in [("nothing.pem", "No such file"), ("server.key", "no certificate in it")] {
        let ran = run(&["--cacert", &file(name), &url], "");
        let said = ran.err.starts_with("fetch: --cacert ") && ran.err.contains(why);
        assert!(ran.code == Some(1) && said && ran.err.lines().count() == 1, "{}", ran.err);
    }
}

#[test]
fn bad_arguments_are_refused() {
    for (args, complaint) in [
        (&["--limit", "0", "x"][..], "invalid value '0' for '--limit <N>'"),
        (&["--timeout", "2 parsecs", "x"], "invalid value '2 parsecs' for '--timeout <TIME>'"),
        (&[], "required arguments were not provided"),
    ] {
        let ran = run(args, "");
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
        assert!(ran.err.contains(complaint), "{}", ran.err);
    }
    let ran = run(&["--output", "/dev/null/x", "http://127.0.0.1:1/"], "");
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("fetch: cannot make /dev/null/x: "), "{}", ran.err);
}

#[test]
fn nothing_to_do_is_done() {
    let ran = run(&["-"], "\n\n");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    assert_eq!(summary(&ran), "fetch: 0 of 0 fetched, 0 failed, 0 timed out, 0 cancelled; 0 bytes");
    // A directory as standard input cannot be read.
    let folder = fs::File::open(".").expect("it can be opened");
    let mut child = command(&["-"]).stdin(folder).spawn().expect("it starts");
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).expect("it prints text");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert!(err.contains("cannot read standard input: "), "{err}");
}
