//! Writes `loom-tests/BOUNDS.md`, or checks it:
//! `cargo run -p loom-tests --bin bounds [-- --check]`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;
    use loom_tests::bounds;

    let options = bounds::Options::parse();
    loom_tests::exit(bounds::run(&loom_tests::workspace_root(), &options).map(|()| true))
}
