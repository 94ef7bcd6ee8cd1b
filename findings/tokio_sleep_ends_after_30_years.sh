#!/usr/bin/env bash
# tokio 1.54.1.
#
# What happens: `sleep` cuts each duration to 30 years, also one whose end the
# clock could hold: `sleep(40 years)` ends after 30. `sleep_until` and `timeout`
# cut nothing, and `timeout(Duration::MAX, f)` never elapses. On the paused clock
# of a test 30 years pass at once: `timeout` waits for the work, and a `select!` of
# the same work against `sleep` with the same duration gives up.
#
# Why one guesses wrong: `sleep` is documented as "equivalent to
# `sleep_until(Instant::now() + duration)`", and the note on its largest duration
# was taken out of the docs, since there was said to be none any more. `timeout`
# was cut in the same way until it was changed. So one takes
# `sleep(Duration::MAX)` for "never".
#
# Source: `safe_delay` in src/time/mod.rs, src/time/sleep.rs and
# src/time/timeout.rs of tokio 1.54.1; tokio-rs/tokio#3551 and #7301; seen by
# running this.
#
# Harmless: a paused clock and a few timers.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
tokio = { version = "=1.54.1", features = ["rt", "time", "macros", "test-util"] }
TOML
cat >src/main.rs <<'RUST'
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// How many years `wait` takes.
async fn years<F: Future>(wait: F) -> u64 {
    let start = Instant::now();
    wait.await;
    start.elapsed().as_secs() / YEAR.as_secs()
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let slept = years(sleep(40 * YEAR)).await;
    println!("sleep(40 years) took {slept} years");
    assert_eq!(slept, 30, "this has changed");
    let slept = years(sleep_until(Instant::now() + 40 * YEAR)).await;
    println!("sleep_until(now + 40 years) took {slept} years");
    assert_eq!(slept, 40);

    let work = || sleep_until(Instant::now() + 100 * YEAR);
    let waited = years(timeout(Duration::MAX, work())).await;
    println!("timeout(Duration::MAX, 100 years of work) took {waited} years");
    assert_eq!(waited, 100);
    let waited = years(async {
        tokio::select! {
            () = work() => {}
            () = sleep(Duration::MAX) => {}
        }
    });
    let waited = waited.await;
    println!("100 years of work against sleep(Duration::MAX) took {waited} years");
    assert_eq!(waited, 30, "this has changed");
}
RUST
cargo run -q
