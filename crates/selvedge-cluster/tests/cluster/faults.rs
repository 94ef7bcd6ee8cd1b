//! Faults, one a test: no outcome is lost, none comes twice, and the tasks go
//! on within a few leases.
//!
//! `SELVEDGE_CLUSTER_TASKS=10000 cargo test -p selvedge-cluster --test cluster
//! faults -- --nocapture --test-threads 1` runs them at length and prints what
//! was executed and how long nothing came.

use crate::support::{LEASE, Server, Worker, say_loudly, start, tasks};
use rustix::process::Signal;
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge_cluster::Cluster;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// About how long the tasks of a fault take.
const TOGETHER: Duration = Duration::from_secs(3);

/// An item: its number, how long it takes, and where executions are counted.
type Item = (u64, u64, PathBuf);

/// Each execution adds a byte to a file, so that it is counted even if its
/// worker dies before it reports.
fn task((n, micros, count): Item) -> u64 {
    std::thread::sleep(Duration::from_micros(micros));
    let mut file = std::fs::File::options().append(true).create(true).open(count).expect("a file");
    file.write_all(b"x").expect("room");
    n * 7
}

fn items(count: u64, workers: u64, file: &Path) -> impl Iterator<Item = Item> + use<> {
    let micros = TOGETHER.as_micros() as u64 * workers / count;
    let file = file.to_owned();
    (0..count).map(move |n| (n, micros, file.clone()))
}

fn executed(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

/// What a run looked like from where the outcomes come.
struct Seen {
    /// The longest time in which none came.
    pause: Duration,
}

/// Runs all tasks; calls `fault` when a third of them is done.
fn run(cluster: &Cluster, count: u64, file: &Path, fault: impl FnOnce() + Send) -> Seen {
    let reports = cluster.stream(task, items(count, 3, file), nz!(512));
    let (mut next, mut last, mut pause) = (0, Instant::now(), Duration::ZERO);
    std::thread::scope(|scope| {
        let mut fault = Some(fault);
        for report in reports {
            assert_eq!(report.index as u64, next, "in order, and each once");
            assert_eq!(report.outcome, Outcome::Ok(next * 7));
            pause = pause.max(last.elapsed());
            last = Instant::now();
            next += 1;
            if next == count / 3
                && let Some(fault) = fault.take()
            {
                scope.spawn(fault);
            }
        }
    });
    assert_eq!(next, count, "some were lost");
    Seen { pause }
}

fn say(what: &str, count: u64, file: &Path, seen: &Seen) {
    let (executed, leases) = (executed(file), seen.pause.as_secs_f64() / LEASE.as_secs_f64());
    println!(
        "{what}: {count} tasks, 0 lost, 0 doubled, {executed} executed, longest pause {leases:.1} leases"
    );
    assert!(executed >= count, "{executed} executed");
}

struct World {
    server: Server,
    folder: TempDir,
    count: u64,
}

impl World {
    fn new() -> Option<Self> {
        let server = Server::start()?;
        Some(Self { server, folder: tempfile::tempdir().expect("a folder"), count: tasks() })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("executed")
    }

    fn cluster(&self, workers: usize) -> Cluster {
        self.server.builder().workers(workers).connect().expect("a cluster")
    }
}

#[test]
fn a_worker_is_killed() {
    let Some(world) = World::new() else { return };
    let mut workers = Worker::many(&world.server.url(), 3);
    let cluster = world.cluster(3);
    let seen = run(&cluster, world.count, &world.file(), || drop(workers.pop()));
    say("a worker is killed", world.count, &world.file(), &seen);
}

#[test]
fn all_workers_are_killed_in_turn() {
    let Some(world) = World::new() else { return };
    let mut workers = Worker::many(&world.server.url(), 3);
    let cluster = world.cluster(3);
    let url = world.server.url();
    let seen = run(&cluster, world.count, &world.file(), || {
        for worker in &mut workers {
            *worker = Worker::start(&url);
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    say("all workers are killed in turn", world.count, &world.file(), &seen);
}

#[test]
fn the_broker_is_killed_and_started_again() {
    let Some(mut world) = World::new() else { return };
    let _workers = Worker::many(&world.server.url(), 3);
    let cluster = world.cluster(3);
    let (count, file) = (world.count, world.file());
    let server = &mut world.server;
    let seen = run(&cluster, count, &file, || server.restart());
    say("the broker is killed and started again", count, &file, &seen);
}

/// Everything that it kept is gone.
#[test]
fn the_broker_forgets_everything() {
    let Some(mut world) = World::new() else { return };
    let _workers = Worker::many(&world.server.url(), 3);
    let cluster = world.server.builder().in_memory().workers(3).connect().expect("a cluster");
    let (count, file) = (world.count, world.file());
    let server = &mut world.server;
    let seen = run(&cluster, count, &file, || server.restart());
    say("the broker forgets everything", count, &file, &seen);
}

#[test]
fn a_worker_stops_past_its_lease_and_wakes_up() {
    let Some(world) = World::new() else { return };
    let workers = Worker::many(&world.server.url(), 3);
    let cluster = world.cluster(3);
    let seen = run(&cluster, world.count, &world.file(), || {
        for worker in &workers[..2] {
            worker.signal(Signal::STOP);
            std::thread::sleep(LEASE * 2);
            worker.signal(Signal::CONT);
        }
    });
    say("a worker stops past its lease", world.count, &world.file(), &seen);
}

/// Another client sends each task and each result once more.
#[test]
fn everything_comes_twice() {
    let Some(world) = World::new() else { return };
    let _workers = Worker::many(&world.server.url(), 3);
    let cluster = world.cluster(3);
    let url = format!("nats://127.0.0.1:{}", world.server.port);
    let echo = async move {
        let client = async_nats::connect(url).await.expect("a connection");
        let mut tasks = client.subscribe("selvedge.test.tasks.>").await.expect("tasks");
        let mut results = client.subscribe("selvedge.test.results.>").await.expect("results");
        let mut known = std::collections::HashSet::new();
        loop {
            use futures_util::StreamExt as _;
            let next = tokio::select! {
                message = tasks.next() => message,
                message = results.next() => message,
            };
            let Some(message) = next else { return };
            if known.insert(message.payload.clone()) {
                client.publish(message.subject, message.payload).await.expect("published");
            }
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.spawn(echo);
    std::thread::sleep(Duration::from_millis(200));
    let seen = run(&cluster, world.count, &world.file(), || {});
    say("everything comes twice", world.count, &world.file(), &seen);
    let executed = executed(&world.file());
    assert!(executed > world.count, "nothing came twice: {executed}");
    runtime.shutdown_background();
}

/// The variable by which [`as_a_caller`] is more than nothing.
const CALLER: &str = "SELVEDGE_TEST_CALLER";

/// A caller of its own process, for tests that kill it or cut it off.
#[test]
fn as_a_caller() {
    let Ok(told) = std::env::var(CALLER) else { return };
    let [url, count, file] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let cluster = Cluster::builder(url).lease(LEASE).workers(3).connect().expect("a cluster");
    let count = count.parse().expect("a number");
    let seen = run(&cluster, count, Path::new(file), || println!("a third is done"));
    say("as a caller", count, Path::new(file), &seen);
}

pub(crate) fn caller(
    mut command: Command,
    url: &str,
    count: u64,
    file: &Path,
) -> std::process::Child {
    command.args(["--exact", "faults::as_a_caller", "--nocapture"]);
    command.env(CALLER, format!("{url} {count} {}", file.display()));
    command.stdout(Stdio::piped());
    start(command)
}

/// Reads until the caller says so.
pub(crate) fn wait_for_a_third(out: &mut impl std::io::Read) {
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.contains("a third is done") {
        assert_eq!(out.read(&mut byte).expect("a pipe"), 1, "it ended: {text}");
        text.push(byte[0].into());
    }
}

#[test]
fn the_caller_is_killed_and_started_again_under_the_same_name() {
    let Some(world) = World::new() else { return };
    let _workers = Worker::many(&world.server.url(), 3);
    let (url, count) = (world.server.url(), world.count);
    let first = world.folder.path().join("first");
    let mut caller_process = caller(Command::new("/proc/self/exe"), &url, count, &first);
    wait_for_a_third(caller_process.stdout.as_mut().expect("piped"));
    caller_process.kill().expect("it runs");
    caller_process.wait().expect("it ends");
    // Nothing of it runs longer than a lease, and what it takes to notice.
    std::thread::sleep(LEASE * 2);
    let then = executed(&first);
    assert!(then < count, "it was done already: {then}");
    let mut again = caller(Command::new("/proc/self/exe"), &url, count, &world.file());
    let mut text = String::new();
    again.stdout.as_mut().expect("piped").read_to_string(&mut text).expect("text");
    assert!(again.wait().expect("it ends").success(), "{text}");
    assert_eq!(executed(&first), then, "something of the dead caller went on");
    let line = text.lines().find(|line| line.starts_with("as a caller")).expect("it says");
    println!("the caller is killed ({then} of {count} executed) and started again; {line}");
}

/// Clocks of different machines are never compared: one is a day ahead, one
/// ten.
#[test]
fn the_clocks_of_workers_differ_by_days() {
    let ahead = |seconds: &str| {
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", seconds, "--monotonic", seconds, "--fork"]);
        command.arg("--kill-child");
        command
    };
    let works = ahead("86400").arg("true").stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        return say_loudly("time namespaces cannot be made: this test DID NOT RUN");
    }
    let Some(world) = World::new() else { return };
    let url = world.server.url();
    let program = std::env::current_exe().expect("it has a path");
    let _workers = ["86400", "864000", "0"].map(|seconds| {
        let mut command = ahead(seconds);
        command.arg(&program);
        Worker::of(command, &url)
    });
    let cluster = world.cluster(3);
    let seen = run(&cluster, world.count, &world.file(), || {});
    say("the clocks of workers differ by days", world.count, &world.file(), &seen);
}
