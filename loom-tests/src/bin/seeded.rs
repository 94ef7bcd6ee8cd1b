//! Puts known bugs into a copy of the source and shows that each is caught:
//! `cargo run -p loom-tests --bin seeded [-- FILTER… | --list]`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> anyhow::Result<std::process::ExitCode> {
    use clap::Parser as _;
    use loom_tests::seeded;
    use std::process::ExitCode;

    let options = seeded::Options::parse();
    let all_caught = seeded::run(&loom_tests::workspace_root(), &options, &mut std::io::stdout())?;
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
