//! Tests that change the whole process, or count what it has.

use std::process::Command;

/// Set for the test binary when it runs one test only.
pub(crate) const ALONE: &str = "SELVEDGE_ALONE";

/// Runs the test called `name` in a process of its own; `false` inside it.
pub(crate) fn in_a_process_of_its_own(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
    true
}
