//! Links that are down for a while, in network namespaces: three workers and
//! the caller each in one, the server in ours.
//!
//! `SELVEDGE_CLUSTER_LINKS=1,5,30` says for how many seconds; one by default.
//! Where namespaces cannot be made (it takes root), the test says so and
//! passes.

use crate::faults::{caller, wait_for_a_third};
use crate::support::{Server, Worker, say_loudly, tasks};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Namespaces with a link to ours each.
struct Net {
    id: u32,
    count: u32,
}

fn ip(words: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Net {
    fn new(count: u32) -> Option<Self> {
        let net = Self { id: std::process::id(), count };
        let made = (0..count).all(|at| {
            let (space, link, ours, theirs) =
                (net.space(at), net.link(at), net.address(at, 1), net.address(at, 2));
            ip(&format!("netns add {space}"))
                && ip(&format!("link add {link} type veth peer name {link}p netns {space}"))
                && ip(&format!("addr add {ours}/30 dev {link}"))
                && ip(&format!("link set {link} up"))
                && ip(&format!("-n {space} addr add {theirs}/30 dev {link}p"))
                && ip(&format!("-n {space} link set {link}p up"))
                && ip(&format!("-n {space} link set lo up"))
        });
        made.then_some(net)
    }

    fn space(&self, at: u32) -> String {
        format!("sv{}-{at}", self.id)
    }

    fn link(&self, at: u32) -> String {
        format!("sv{}x{at}", self.id % 1_000_000)
    }

    fn address(&self, at: u32, side: u32) -> String {
        format!("10.{}.{}.{}", 100 + self.id % 100, self.id / 100 % 250, 4 * at + side)
    }

    fn url(&self, at: u32, port: u16) -> String {
        format!("nats://{}:{port}/test", self.address(at, 1))
    }

    /// This executable, in a namespace.
    fn program(&self, at: u32) -> Command {
        let mut command = Command::new("ip");
        let program = std::env::current_exe().expect("it has a path");
        command.args(["netns", "exec", &self.space(at)]).arg(program);
        command
    }

    fn cut(&self, which: std::ops::Range<u32>, time: Duration) {
        for at in which.clone() {
            assert!(ip(&format!("link set {} down", self.link(at))));
        }
        std::thread::sleep(time);
        for at in which {
            assert!(ip(&format!("link set {} up", self.link(at))));
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for at in 0..self.count {
            ip(&format!("link del {}", self.link(at)));
            ip(&format!("netns del {}", self.space(at)));
        }
    }
}

#[test]
fn the_link_of_each_party_is_down() {
    let Some(net) = Net::new(4) else {
        return say_loudly("network namespaces cannot be made: this test DID NOT RUN");
    };
    let Some(server) = Server::start_on("0.0.0.0") else { return };
    let _workers: Vec<_> =
        (0..3).map(|at| Worker::of(net.program(at), &net.url(at, server.port))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let seconds = std::env::var("SELVEDGE_CLUSTER_LINKS").unwrap_or("1".into());
    for seconds in seconds.split(',').map(|seconds| seconds.parse().expect("a number")) {
        let time = Duration::from_secs(seconds);
        for (who, which) in [("a worker", 0..1), ("the caller", 3..4), ("the broker", 0..4)] {
            let file = folder.path().join(format!("{who}-{seconds}").replace(' ', "-"));
            let mut caller = caller(net.program(3), &net.url(3, server.port), tasks(), &file);
            let out = caller.stdout.as_mut().expect("piped");
            wait_for_a_third(out);
            net.cut(which, time);
            let mut text = String::new();
            out.read_to_string(&mut text).expect("text");
            assert!(caller.wait().expect("it ends").success(), "{who}, {seconds} s: {text}");
            let line = text.lines().find(|line| line.starts_with("as a caller")).expect("it says");
            println!("the link of {who} is down for {seconds} s; {line}");
        }
    }
}
