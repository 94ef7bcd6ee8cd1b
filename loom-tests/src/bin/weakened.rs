//! Weakens each memory ordering by one step and shows that a model notices:
//! `cargo run -p loom-tests --bin weakened [-- FILTER… | --list | --changed COMMIT]`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;
    use loom_tests::weakened;

    let options = weakened::Options::parse();
    let out = &mut std::io::stdout();
    loom_tests::exit(weakened::run(&loom_tests::workspace_root(), &options, out))
}
