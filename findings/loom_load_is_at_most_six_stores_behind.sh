#!/usr/bin/env bash
# loom 0.7.3 (and 0.7.2).
#
# What happens: loom keeps the last seven values of each atomic. A Relaxed load
# that nothing orders after the stores may return any of the last seven, so it
# is at most six stores behind, however many were made. Executions in which it
# is further behind are never tried, and nothing says so: the run is green.
#
# Why one guesses wrong: without a preemption bound loom "runs an exhaustive
# check of your program's possible concurrent executions". Its lists of
# limitations (README, crate docs) name SeqCst, load buffering and the number
# of threads, for which it also panics; this limit is a private constant, and
# going beyond it is silent. A model of a ring or a version counter with eight
# or more stores looks covered and is not.
#
# Source: src/rt/mod.rs of loom 0.7.3 (MAX_ATOMIC_HISTORY = 7); seen by running
# this.
#
# Harmless: one thread that stores, one that loads.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
loom = "=0.7.3"
TOML
cat >src/main.rs <<'RUST'
use loom::sync::atomic::AtomicUsize;
use loom::sync::Arc;
use std::sync::atomic::{AtomicUsize as Unseen, Ordering::Relaxed};

/// The most that a load was behind the stores made before it, in any execution.
fn most_behind(stores: usize) -> usize {
    // loom sees none of std's atomics: they order nothing.
    let most = std::sync::Arc::new(Unseen::new(0));
    let seen = most.clone();
    loom::model(move || {
        let made = std::sync::Arc::new(Unseen::new(0));
        let cell = Arc::new(AtomicUsize::new(0));
        let writer = loom::thread::spawn({
            let (made, cell) = (made.clone(), cell.clone());
            move || {
                for n in 1..=stores {
                    cell.store(n, Relaxed);
                    made.store(n, Relaxed);
                }
            }
        });
        let read = cell.load(Relaxed);
        seen.fetch_max(made.load(Relaxed).saturating_sub(read), Relaxed);
        writer.join().unwrap();
    });
    most.load(Relaxed)
}

fn main() {
    let seen = [4, 6, 8, 12, 20].map(|stores| (stores, most_behind(stores)));
    for (stores, behind) in seen {
        println!("{stores:2} stores: a load is at most {behind} behind (C++ and Rust allow {stores})");
    }
    assert_eq!(seen, [(4, 4), (6, 6), (8, 6), (12, 6), (20, 6)], "loom has changed");
}
RUST
RUSTFLAGS="--cfg loom" cargo run -q
