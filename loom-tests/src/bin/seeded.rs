//! Puts known bugs into a copy of the source and shows that each is caught:
//! `cargo run -p loom-tests --bin seeded [-- FILTER… | --list]`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;
    use loom_tests::seeded;

    let options = seeded::Options::parse();
    let out = &mut std::io::stdout();
    loom_tests::exit(seeded::run(&loom_tests::workspace_root(), &options, out))
}
