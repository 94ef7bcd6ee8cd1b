//! Writes `loom-tests/CLASSES.md`: `cargo run -p loom-tests --bin classes`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;
    use loom_tests::classes;

    let options = classes::Options::parse();
    loom_tests::exit(classes::run(&loom_tests::workspace_root(), &options).map(|()| true))
}
