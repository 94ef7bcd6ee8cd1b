//! What a run of one test says, read from the lines of libtest.

/// How the process of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With status 0.
    Well,
    /// With another status.
    Badly,
    /// It was killed when its time was up.
    Late,
}

/// What a run of exactly one test showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The test ran and passed.
    Passed,
    /// The test ran and failed.
    Failed,
    /// The test began and took its process down, in the words of cargo.
    Died(String),
    /// The test began and its time ran out.
    Hung,
    /// Nothing like one test ran: why.
    NotRun(String),
}

/// Reads the output of `cargo test … -- --exact TEST`.
#[must_use]
pub(super) fn classify(stdout: &str, stderr: &str, ended: Ended) -> Verdict {
    match began(stdout) {
        None => return Verdict::NotRun("no test binary ran".into()),
        Some(0) => return Verdict::NotRun("there is no such test".into()),
        Some(1) => {}
        Some(n) => return Verdict::NotRun(format!("{n} tests ran instead of one")),
    }
    match (summary(stdout), ended) {
        (Some(Summary { passed: 1, failed: 0 }), Ended::Well) => Verdict::Passed,
        (Some(Summary { passed: 0, failed: 1 }), Ended::Badly) => Verdict::Failed,
        (None, Ended::Badly) => Verdict::Died(last_words(stderr)),
        (None, Ended::Late) => Verdict::Hung,
        (Some(Summary { passed: 0, failed: 0 }), _) => {
            Verdict::NotRun("the test is ignored".into())
        }
        (summary, ended) => {
            Verdict::NotRun(format!("cannot be read: {summary:?}, ended {ended:?}"))
        }
    }
}

/// How many tests passed, if every test that ran did.
#[must_use]
pub(super) fn all_passed(stdout: &str, ended: Ended) -> Option<usize> {
    match summary(stdout)? {
        Summary { passed, failed: 0 } if ended == Ended::Well => Some(passed),
        _ => None,
    }
}

/// Whether the output says that the test called `name` passed.
#[must_use]
pub(super) fn passed(stdout: &str, name: &str) -> bool {
    stdout.lines().any(|line| {
        line.strip_prefix("test ").and_then(|line| line.strip_prefix(name)).is_some_and(|rest| {
            matches!(rest.strip_prefix(" - should panic").unwrap_or(rest), " ... ok")
        })
    })
}

/// The message of the first panic that was reported, or that there was none
/// where there should have been.
pub(super) fn panic_message(stdout: &str, stderr: &str) -> Option<String> {
    if let Some(line) = stdout.lines().find(|line| line.contains("test did not panic")) {
        return Some(line.to_owned());
    }
    [stdout, stderr].into_iter().find_map(|output| {
        let mut lines = output.lines().skip_while(|line| !line.contains("panicked at "));
        lines.next()?;
        let ends = ["stack backtrace:", "note: run with `RUST_BACKTRACE"];
        let inside =
            |line: &&str| !line.is_empty() && !ends.iter().any(|end| line.starts_with(end));
        let message: Vec<&str> = lines.take_while(inside).take(6).collect();
        Some(message.join("\n"))
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Summary {
    passed: usize,
    failed: usize,
}

/// `running 1 test`
fn began(stdout: &str) -> Option<usize> {
    stdout.lines().find_map(|line| {
        let count = line.strip_prefix("running ")?;
        count.strip_suffix(" tests").or_else(|| count.strip_suffix(" test"))?.parse().ok()
    })
}

/// `test result: FAILED. 0 passed; 1 failed; 0 ignored; …`
fn summary(stdout: &str) -> Option<Summary> {
    let line = stdout.lines().rev().find_map(|line| line.strip_prefix("test result: "))?;
    let count = |what: &str| {
        let before = line.split(';').find_map(|part| part.trim().strip_suffix(what))?;
        before.split_whitespace().last()?.parse().ok()
    };
    Some(Summary { passed: count(" passed")?, failed: count(" failed")? })
}

/// What cargo says of a test process that ended early.
fn last_words(stderr: &str) -> String {
    let said = stderr.lines().rev().find_map(|line| {
        let at = line.find("(signal: ").or_else(|| line.find("(exit status: "))?;
        line[at + 1..].split(')').next()
    });
    said.unwrap_or("it ended early").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = "\nrunning 1 test\ntest a::b ... ok\n\n\
        test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 8 filtered out; finished in 0.00s\n";
    const FAILED: &str = "\nrunning 1 test\ntest a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\
        thread 'a::b' panicked at src/x.rs:1:2:\nassertion failed: x\n  left: 1\n\
        stack backtrace:\n   0: main\n\nfailures:\n    a::b\n\n\
        test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 8 filtered out; finished in 0.01s\n";
    const BEGUN: &str = "\nrunning 1 test\n";

    #[test]
    fn one_test_that_ran_is_read() {
        assert_eq!(classify(PASSED, "", Ended::Well), Verdict::Passed);
        assert_eq!(classify(FAILED, "", Ended::Badly), Verdict::Failed);
        assert_eq!(panic_message(FAILED, "").unwrap(), "assertion failed: x\n  left: 1");
        assert_eq!(panic_message(PASSED, ""), None);
        let calm = "---- a stdout ----\nnote: test did not panic as expected at x.rs:1:2\n";
        assert_eq!(panic_message(calm, "").unwrap(), calm.lines().nth(1).unwrap());
    }

    #[test]
    fn a_process_that_goes_down_with_its_test_is_told_from_one_that_never_ran() {
        let cargo = "error: test failed\n\nCaused by:\n  process didn't exit successfully: \
            `/t/x --exact a::b` (signal: 6, SIGABRT: process abort signal)\n";
        let died = Verdict::Died("signal: 6, SIGABRT: process abort signal".into());
        assert_eq!(classify(BEGUN, cargo, Ended::Badly), died);
        let compile = "error[E0425]: cannot find value `x`\nerror: could not compile `selvedge`\n";
        assert!(matches!(classify("", compile, Ended::Badly), Verdict::NotRun(_)));
    }

    #[test]
    fn time_that_runs_out_counts_only_once_the_test_began() {
        assert_eq!(classify(BEGUN, "", Ended::Late), Verdict::Hung);
        assert!(matches!(classify("", "", Ended::Late), Verdict::NotRun(_)));
    }

    #[test]
    fn nothing_but_one_test_is_accepted() {
        let none = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored\n";
        let ignored = "\nrunning 1 test\ntest a::b ... ignored\n\n\
            test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";
        let two = PASSED.replace("running 1 test", "running 2 tests");
        for output in [none, ignored, two.as_str()] {
            assert!(matches!(classify(output, "", Ended::Well), Verdict::NotRun(_)), "{output}");
        }
        // It says that it passed, and then its process fails all the same.
        assert!(matches!(classify(PASSED, "", Ended::Badly), Verdict::NotRun(_)));
    }

    #[test]
    fn a_batch_is_read_by_name() {
        let batch = "running 2 tests\ntest a ... ok\ntest b - should panic ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(all_passed(batch, Ended::Well), Some(2));
        assert_eq!(all_passed(FAILED, Ended::Badly), None);
        assert!(passed(batch, "a") && passed(batch, "b"));
        assert!(!passed(batch, "c") && !passed(FAILED, "a::b"));
    }
}
