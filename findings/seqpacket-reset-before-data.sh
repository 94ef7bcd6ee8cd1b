#!/usr/bin/env bash
# Linux (seen on 6.18), AF_UNIX SOCK_SEQPACKET, through rustix 1.1.6.
#
# When one end of a connected pair closes with a packet of ours still unread,
# our next recv fails with ECONNRESET, and only the ones after it return what
# that end had sent before. Nothing is lost: the error is reported once, ahead
# of the queue. A SOCK_STREAM pair does it the other way round: the data first,
# the error after it.
#
# A good engineer would guess that an error of the connection comes after the
# data that was received before it, as with TCP and with SOCK_STREAM, and take
# ECONNRESET for the end. Every packet that the other side sent last is then
# thrown away, in exactly the case where a process died.
#
# Source: net/unix/af_unix.c. unix_release_sock sets the peer's sk_err when its
# receive queue is not empty; unix_dgram_recvmsg, which serves SOCK_SEQPACKET too,
# receives by __skb_try_recv_datagram, which returns sk_err before it looks at the
# queue; unix_stream_read_generic looks at the queue first. unix(7) does not say.
set -euo pipefail
cd "$(mktemp -d)"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
rustix = { version = "=1.1.6", features = ["net"] }
TOML
cat >src/main.rs <<'RUST'
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

/// What three calls of recv say at the end that is left.
fn heard(kind: SocketType) -> Vec<String> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    send(&ours, b"never read", SendFlags::NOSIGNAL).unwrap();
    send(&theirs, b"last words", SendFlags::NOSIGNAL).unwrap();
    drop(theirs);
    let mut buffer = [0; 64];
    let say = |received: rustix::io::Result<(usize, usize)>, buffer: &[u8]| match received {
        Ok((0, _)) => "the end".to_owned(),
        Ok((len, _)) => String::from_utf8_lossy(&buffer[..len]).into_owned(),
        Err(error) => format!("{error:?}"),
    };
    (0..3).map(|_| say(recv(&ours, &mut buffer[..], RecvFlags::DONTWAIT), &buffer)).collect()
}

fn main() {
    let packets = heard(SocketType::SEQPACKET);
    let stream = heard(SocketType::STREAM);
    println!("SOCK_SEQPACKET: {packets:?}");
    println!("SOCK_STREAM:    {stream:?}");
    assert!(packets[0].contains("CONNRESET") || packets[0].contains("104"), "the error is not first any more");
    assert_eq!(packets[1..], ["last words", "the end"], "what was sent is not behind the error any more");
    assert_eq!(stream[0], "last words", "a stream does not hand over its data first any more");
}
RUST
cargo run --quiet
echo "seen: the error comes before the packets, and before the stream's bytes it does not"
