//! The seeded-bug runner on a small project of its own: it must tell a bug that
//! is caught from everything that only looks like it.
#![cfg(not(loom))]

use clap::Parser as _;
use loom_tests::seeded::{self, Options};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SOURCE: &str = "\
pub fn three() -> u32 {
    3
}
pub fn unwatched() -> u32 {
    4
}
";

const TESTS: &str = "\
#[test]
fn three_is_three() {
    assert_eq!(mini::three(), 3);
}
#[test]
#[should_panic]
fn three_is_not_four() {
    assert_eq!(mini::three(), 4);
}
#[test]
fn red() {
    assert_eq!(mini::three(), 4);
}
";

/// A project whose only bugs are `bugs`: a name, a line of the source, what it
/// becomes, and the rest of the row.
fn project(bugs: &[(&str, &str, &str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("Cargo.toml", "[package]\nname = 'mini'\nedition = '2024'\n[workspace]\n");
    write("src/lib.rs", SOURCE);
    write("tests/mini.rs", TESTS);
    let mut table = String::new();
    for (name, line, instead, row) in bugs {
        write(&format!("loom-tests/seeded/mini/{name}.patch"), &patch(line, instead));
        table += &format!(
            "[[bug]]\nname = '{name}'\nbreaks = 'it'\nengine = 'std'\npackage = 'mini'\n\
             target = '--test mini'\n{row}\n"
        );
    }
    write("loom-tests/seeded/mini/table.toml", &table);
    root
}

/// A patch of one line, with a line of context on each side.
fn patch(line: &str, instead: &str) -> String {
    let lines: Vec<&str> = SOURCE.lines().collect();
    let at = lines.iter().position(|l| *l == line).unwrap();
    let (before, after) = (lines[at - 1], lines[at + 1]);
    format!(
        "--- a/src/lib.rs\n+++ b/src/lib.rs\n@@ -{at},3 +{at},3 @@\n \
         {before}\n-{line}\n+{instead}\n {after}\n"
    )
}

/// Runs it and returns whether all were caught, and what was printed.
fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let target = root.join("target");
    let common = ["seeded", "--target-dir", target.to_str().unwrap()];
    let options = Options::parse_from(common.iter().chain(arguments));
    let mut out = Vec::new();
    let all = seeded::run(root, &options, &mut out)?;
    Ok((all, String::from_utf8(out)?))
}

fn word<'a>(output: &'a str, bug: &str) -> &'a str {
    let line = output.lines().find(|line| line.contains(&format!("mini/{bug} "))).unwrap();
    line.split_whitespace().next().unwrap()
}

const THREE: &str = "test = 'three_is_three'";
const NOT_FOUR: &str = "test = 'three_is_not_four'";

#[test]
fn tells_caught_from_missed_and_from_broken() {
    let endless = "loop { std::thread::sleep(std::time::Duration::from_secs(1)) }";
    // Time for cargo to start the test, which is no part of the hang.
    let hangs = format!("{THREE}\nhangs = true\ntimeout = 6");
    let late = format!("{THREE}\ntimeout = 6");
    let root = project(&[
        ("fails", "    3", "    4", THREE),
        ("fails_as_it_stops_panicking", "    3", "    4", NOT_FOUR),
        ("dies", "    3", "    std::process::abort()", THREE),
        ("hangs", "    3", endless, &hangs),
        ("late", "    3", endless, &late),
        ("missed", "    4", "    5", THREE),
        ("broken", "    3", "    three", THREE),
    ]);
    let (all, output) = run(root.path(), &[]).unwrap();
    assert!(!all, "{output}");
    for bug in ["fails", "fails_as_it_stops_panicking", "dies", "hangs"] {
        assert_eq!(word(&output, bug), "caught", "{bug}\n{output}");
    }
    assert!(output.contains("the test process died, signal: 6"), "{output}");
    assert_eq!(word(&output, "late"), "MISSED", "{output}");
    assert_eq!(word(&output, "missed"), "MISSED", "{output}");
    assert_eq!(word(&output, "broken"), "ERROR", "{output}");
    assert!(output.ends_with("caught 4 of 7\n"), "{output}");
    assert_eq!(fs::read_to_string(root.path().join("src/lib.rs")).unwrap(), SOURCE);

    // Filters choose, and each bug starts from the good source.
    let (all, output) = run(root.path(), &["mini/fails", "dies"]).unwrap();
    assert!(all && output.ends_with("caught 3 of 3\n"), "{output}");
    assert!(run(root.path(), &["no_such_bug"]).is_err());
    assert_eq!(run(root.path(), &["--list"]).unwrap().1.lines().count(), 7);
}

#[test]
fn a_stale_patch_is_an_error() {
    let root = project(&[("fails", "    3", "    4", THREE)]);
    let changed = SOURCE.replace("    3", "    1 + 2");
    fs::write(root.path().join("src/lib.rs"), changed).unwrap();
    let error = format!("{:#}", run(root.path(), &[]).unwrap_err());
    assert!(error.contains("stale patch mini/fails"), "{error}");
}

#[test]
fn a_test_that_is_missing_or_red_anyway_is_an_error() {
    for test in ["no_such_test", "red"] {
        let row = format!("test = '{test}'");
        let root = project(&[("fails", "    3", "    4", &row)]);
        let error = format!("{:#}", run(root.path(), &[]).unwrap_err());
        assert!(error.contains(&format!("without any bug: {test}")), "{error}");
    }
}
