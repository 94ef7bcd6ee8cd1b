#!/usr/bin/env bash
# serde_derive 1.0.229 with postcard 1.1.3 (any format that sends the number of
# a variant instead of its name).
#
# What happens: the derives number the variants of an enum differently once one
# of them carries #[serde(skip)]. Serialize counts all variants, Deserialize
# counts only those that it may produce. A variant behind the skipped one is
# therefore read as the NEXT variant if their contents look alike, with no
# error; the last one is an error.
#
# Why one guesses wrong: "skip" on a struct's field takes it out on both sides
# and the rest stays in step, so one expects the same of a variant, and a value
# that both derives of one type have made is expected to come back. Formats that
# send names (JSON, CBOR) do work, and so do the tests that use them.
#
# Source: serde-rs/serde#2614 and #2952 (both open); seen by running this.
#
# Harmless: four lines of valid input, values that come back changed.
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
serde = { version = "=1.0.229", features = ["derive"] }
serde_derive = "=1.0.229"
postcard = { version = "=1.1.3", features = ["alloc"] }
serde_json = "=1.0.154"
TOML
cat >src/main.rs <<'RUST'
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Order {
    #[serde(skip)]
    #[allow(dead_code)]
    Draft,
    Buy(u32),
    Sell(u32),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Fields {
    #[serde(skip)]
    draft: u32,
    buy: u32,
    sell: u32,
}

fn main() {
    let by_name: Order = serde_json::from_str(&serde_json::to_string(&Order::Buy(7)).unwrap()).unwrap();
    println!("JSON:     Buy(7) came back as {by_name:?}");
    assert_eq!(by_name, Order::Buy(7));

    let by_number: Order = postcard::from_bytes(&postcard::to_allocvec(&Order::Buy(7)).unwrap()).unwrap();
    println!("postcard: Buy(7) came back as {by_number:?}");
    assert_eq!(by_number, Order::Sell(7), "this has changed");

    let last = postcard::from_bytes::<Order>(&postcard::to_allocvec(&Order::Sell(7)).unwrap());
    println!("postcard: Sell(7) came back as {last:?}");
    assert!(last.is_err(), "this has changed");

    let fields = Fields { draft: 0, buy: 1, sell: 2 };
    let again: Fields = postcard::from_bytes(&postcard::to_allocvec(&fields).unwrap()).unwrap();
    println!("postcard: a struct with a skipped field came back as {again:?}");
    assert_eq!(again, fields);
}
RUST
cargo run -q
