//! Writes `loom-tests/BOUNDS.md`, or checks it:
//! `cargo run -p loom-tests --bin bounds [-- --check]`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> anyhow::Result<()> {
    use clap::Parser as _;
    use loom_tests::bounds;

    bounds::run(&loom_tests::workspace_root(), &bounds::Options::parse())
}
