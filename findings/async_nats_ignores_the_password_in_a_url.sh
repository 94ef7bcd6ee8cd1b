#!/usr/bin/env bash
# async-nats 0.51.0, against nats-server 2.9.10 (Debian's 2.9.10-1+b3).
#
# What happens: `async_nats::connect("nats://user:password@host")` sends neither
# user nor password. A server that asks for them answers with an authorization
# violation, though they are right. `ServerAddr` has `username()`, `password()` and
# `has_user_pass()`, and nothing in the crate calls them.
#
# Why one guesses wrong: URLs with a user and a password are what the server's own
# documentation and the clients for other languages use, and the accessors look
# as if they were for that. The error is the one of a wrong password.
#
# Where that stands: no call of these accessors in src/ of 0.51.0; seen by running
# this. `ConnectOptions::user_and_password` works.
#
# Harmless: a server of its own, on 127.0.0.1. It needs apt-get and dpkg.
set -euo pipefail
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
# Debian 12's package, unpacked and not installed.
(cd "$dir" && apt-get download -q nats-server=2.9.10-1+b3 >/dev/null && dpkg -x nats-server_*.deb server)
PATH=$dir/server/usr/sbin:$dir/server/usr/bin:$PATH
nats-server --version
cd "$dir"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
async-nats = { version = "=0.51.0", default-features = false, features = ["ring"] }
tokio = { version = "=1.54.1", features = ["macros", "rt", "time"] }
TOML
cat >src/main.rs <<'RUST'
use async_nats::{ConnectErrorKind, ConnectOptions};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).unwrap();
    let plain = format!("nats://127.0.0.1:{port}");
    while std::net::TcpStream::connect(&plain["nats://".len()..]).is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = ConnectOptions::with_user_and_password("ann".into(), "right".into());
    told.connect(&plain).await.expect("the password is right");
    let error = async_nats::connect(format!("nats://ann:right@127.0.0.1:{port}")).await.err();
    let error = error.expect("the password in the URL is used now");
    println!("{error}");
    assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation);
}
RUST
cargo build --quiet
port=$(( 20000 + RANDOM % 20000 ))
nats-server -a 127.0.0.1 -p "$port" --user ann --pass right >"$dir/log" 2>&1 &
server=$!
cargo run --quiet -- "$port"
echo "seen: the right password, in a URL, is refused"
