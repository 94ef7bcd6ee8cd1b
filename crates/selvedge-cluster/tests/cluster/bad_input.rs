//! What cannot work ends in a clear error, soon, and leaves nothing behind.

use crate::support::{LEASE, Server, Worker};
use async_nats::jetstream;
use selvedge::outcome::Outcome;
use selvedge::process::Fault;
use selvedge_cluster::{Cluster, Error};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(3);

/// The error of a connection, which took no longer than it may.
fn refused(builder: selvedge_cluster::Builder) -> Error {
    let begun = Instant::now();
    let error = builder.connect_within(WITHIN).connect().expect_err("it must not connect");
    // The machine may be loaded; what is made is taken away again meanwhile.
    assert!(begun.elapsed() < 2 * WITHIN + Duration::from_secs(5), "{:?}", begun.elapsed());
    println!("{error}");
    error
}

/// Does something to a server by hand.
fn by_hand<T>(server: &Server, with: impl AsyncFnOnce(jetstream::Context) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let url = format!("nats://127.0.0.1:{}", server.port);
        let client = async_nats::connect(url).await.expect("a connection");
        with(jetstream::new(client)).await
    })
}

/// The names of all streams; a bucket is one too.
fn streams(server: &Server) -> Vec<String> {
    by_hand(server, async |js| {
        use futures_util::TryStreamExt as _;
        js.stream_names().try_collect().await.expect("names")
    })
}

#[test]
fn no_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let error = refused(Cluster::builder(&format!("nats://ann:secret@127.0.0.1:{port}/test")));
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");
    // Someone who listens, and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("an address").port();
    let error = refused(Cluster::builder(&format!("nats://127.0.0.1:{port}")));
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

#[test]
fn nonsense() {
    for url in ["http://h", "nats://h/a.b", "nats://", "nats://h?x=1"] {
        let error = Cluster::builder(url).connect().expect_err("nonsense");
        assert!(matches!(error, Error::Settings(_)), "{error:?}");
    }
    let short = Cluster::builder("nats://h").lease(Duration::from_millis(1));
    assert!(matches!(short.connect(), Err(Error::Settings(_))));
}

#[test]
fn wrong_credentials() {
    let users = "jetstream { store_dir: STORE }\nauthorization { user: ann, password: right }";
    let Some(server) = Server::start_with(users) else { return };
    let port = server.port;
    for user in ["ann:wrong@", "bob:right@", ""] {
        let error = refused(Cluster::builder(&format!("nats://{user}127.0.0.1:{port}/test")));
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("wrong") && !text.contains("right"), "{text}");
    }
    let mut worker = Worker::start(&format!("nats://ann:wrong@127.0.0.1:{port}/test"));
    assert_eq!(worker.ended(), Some(1), "a worker that is refused ends");
    let url = format!("nats://ann:right@127.0.0.1:{port}/test");
    let _worker = Worker::start(&url);
    let cluster = Cluster::builder(&url).lease(LEASE).connect().expect("the right ones");
    assert_eq!(cluster.map(|n: u8| n, [1, 2]).expect("values"), [1, 2]);
}

#[test]
fn a_server_without_jetstream() {
    let Some(server) = Server::start_with("") else { return };
    let error = refused(server.builder());
    assert!(matches!(error, Error::NoJetStream(_)), "{error:?}");
}

#[test]
fn a_stream_with_another_configuration() {
    let Some(server) = Server::start() else { return };
    by_hand(&server, async |js| {
        let config = jetstream::stream::Config {
            name: "SELVEDGE_test".into(),
            subjects: vec!["selvedge.test.tasks.>".into()],
            ..Default::default()
        };
        js.create_stream(config).await.expect("a stream");
    });
    let error = refused(server.builder());
    let Error::OtherSettings(why) = &error else { panic!("{error:?}") };
    for what in ["SELVEDGE_test", "retention is Limits and not WorkQueue", "discard is Old"] {
        assert!(why.contains(what), "{why}");
    }
    assert_eq!(streams(&server), ["SELVEDGE_test"], "what others made stays");
}

#[test]
fn another_lease() {
    let Some(server) = Server::start() else { return };
    let _worker = Worker::start(&server.url());
    let _cluster = server.builder().connect().expect("a cluster");
    let error = refused(server.builder().lease(LEASE * 2));
    let Error::OtherSettings(why) = &error else { panic!("{error:?}") };
    assert!(why.contains("its lease is 1s and not 2s"), "{why}");
}

#[test]
fn a_server_without_room() {
    let Some(server) = Server::start_with("jetstream { store_dir: STORE, max_file: 1MB }") else {
        return;
    };
    let error = refused(server.builder());
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    assert!(streams(&server).is_empty());
}

/// A batch that can never be stored, and one that has to wait for its turn.
#[test]
fn a_full_store_refuses_and_drops_nothing() {
    let Some(server) = Server::start() else { return };
    let _worker = Worker::start(&server.url());
    let small = server.builder().storage_limit(64 << 10).connect_within(WITHIN);
    let cluster = small.connect().expect("a cluster");
    let items = (0..200_u8).map(|n| vec![n; 5_000]);
    let firsts = cluster.map(|item: Vec<u8>| item[0], items).expect("each in its turn");
    assert!(firsts.into_iter().eq(0..200));
    let begun = Instant::now();
    let failed = cluster.map(|item: Vec<u8>| item.len(), [vec![0; 100 << 10]]).unwrap_err();
    assert!(begun.elapsed() < 3 * WITHIN, "{:?}", begun.elapsed());
    let Outcome::Err(Fault::Broken(why)) = &failed.outcome else { panic!("{failed:?}") };
    assert!(why.contains("the server refuses tasks") && why.contains("exceed"), "{why}");
    assert_eq!(cluster.map(|n: u8| n, [3]).expect("it goes on"), [3]);
}

/// This executable with another build id.
fn other_build(folder: &std::path::Path) -> std::path::PathBuf {
    let mut program = std::fs::read("/proc/self/exe").expect("this executable");
    let note = *b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = program.windows(note.len()).position(|bytes| bytes == note).expect("a build id");
    program[at + note.len()] ^= 1;
    let path = folder.join("other");
    std::fs::write(&path, program).expect("room");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("it is ours");
    path
}

#[test]
fn a_worker_of_another_build() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(other_build(folder.path()));
    command.stderr(Stdio::piped());
    let mut other = Worker::of(command, &server.url());
    let error = refused(server.builder());
    let Error::Workers { wanted: 1, seen: 0, others: 1 } = error else { panic!("{error:?}") };
    assert!(streams(&server).is_empty(), "nothing is left behind");
    other.signal(rustix::process::Signal::TERM);
    let mut said = String::new();
    other.stderr().read_to_string(&mut said).expect("text");
    assert!(said.contains("runs another build"), "{said}");
    // Beside one of the same build it takes nothing.
    let mut command = Command::new(other_build(folder.path()));
    command.stderr(Stdio::null());
    let _other = Worker::of(command, &server.url());
    let _worker = Worker::start(&server.url());
    let cluster = server.builder().connect().expect("a cluster");
    assert!(cluster.map(|n: u32| n, 0..500).expect("values").into_iter().eq(0..500));
    let others = cluster.workers().into_iter().filter(|worker| !worker.same_build);
    assert!(others.map(|worker| worker.executed).eq([0]));
}

#[test]
fn no_worker() {
    let Some(server) = Server::start() else { return };
    let error = refused(server.builder());
    assert!(matches!(error, Error::Workers { wanted: 1, seen: 0, others: 0 }), "{error:?}");
    assert!(streams(&server).is_empty(), "nothing is left behind");
    let patience = Duration::from_millis(500);
    let cluster = server.builder().workers(0).patience(patience).connect().expect("a cluster");
    let failed = cluster.map(|n: u8| n, [1]).unwrap_err();
    let Outcome::Err(Fault::Broken(why)) = &failed.outcome else { panic!("{failed:?}") };
    assert!(why.contains("no worker was heard"), "{why}");
}

/// Messages that are none of ours, where tasks are and where results are.
#[test]
fn messages_of_strangers_are_left_out() {
    let Some(server) = Server::start() else { return };
    let mut command = Command::new("/proc/self/exe");
    command.stderr(Stdio::null());
    let _worker = Worker::of(command, &server.url());
    let cluster = server.builder().connect().expect("a cluster");
    by_hand(&server, async |js| {
        let identity = selvedge::process::portable::identity();
        let mut tasks = vec![b"hello".to_vec(), Vec::new(), vec![0xff; 5_000]];
        // Ours to the head's end, and then a function that is none.
        let mut head = Vec::new();
        head.extend(0x5e1d_ed6e_u32.to_le_bytes());
        head.extend(1_u32.to_le_bytes());
        head.extend(identity.to_le_bytes());
        head.extend([1; 24 + 8 + 1 + 11]);
        tasks.push(head);
        for task in tasks {
            let subject = format!("selvedge.test.tasks.{identity:016x}.0.0");
            let ack = js.publish(subject, task.into()).await.expect("sent");
            ack.await.expect("stored");
        }
        for subject in ["workers", "callers", "results.0"] {
            let client = js.client();
            client
                .publish(format!("selvedge.test.{subject}"), "\u{ff}x=".into())
                .await
                .expect("sent");
        }
    });
    assert!(cluster.map(|n: u32| n, 0..100).expect("values").into_iter().eq(0..100));
}

/// Inside a task there is no cluster to be had.
#[test]
fn a_cluster_inside_of_a_worker() {
    let Some(server) = Server::start() else { return };
    let _worker = Worker::start(&server.url());
    let cluster = server.builder().connect().expect("a cluster");
    let inside = cluster.map(
        |url: String| {
            Cluster::builder(&url).workers(0).connect().err().map(|error| error.to_string())
        },
        [server.url()],
    );
    let inside = inside.expect("a value").remove(0);
    assert_eq!(inside.expect("refused"), "a worker cannot use a cluster of its own");
}
