//! Tasks a second, beside the raw client doing the same by hand, in one run.
//!
//! ```text
//! cargo run --release -p selvedge-cluster --example throughput
//! ```
//!
//! It starts a `nats-server` and two workers of each kind. The raw worker
//! decodes numbers, adds one to each, and sends them back on a plain subject:
//! no lease, no retry, no process pool, no check of anything.

#[cfg(not(all(target_os = "linux", not(loom))))]
fn main() {}

#[cfg(all(target_os = "linux", not(loom)))]
fn main() {
    bench::main();
}

#[cfg(all(target_os = "linux", not(loom)))]
mod bench {
    use async_nats::jetstream::{self, consumer::pull, stream};
    use futures_util::StreamExt as _;
    use selvedge_cluster::Cluster;
    use std::num::NonZeroUsize;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// Which processes are raw workers.
    const RAW: &str = "THROUGHPUT_RAW";

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    pub(super) fn main() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        if let Ok(url) = std::env::var(RAW) {
            return runtime.block_on(raw_worker(url));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
        let port = port.expect("an address").port();
        let mut server = Command::new("nats-server");
        server.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(folder.path());
        let _server = Running(server.stderr(Stdio::null()).spawn().expect("nats-server"));
        std::thread::sleep(Duration::from_millis(500));
        let plain = format!("nats://127.0.0.1:{port}");
        let url = format!("{plain}/bench");
        println!("{:>6} {:>14} {:>14} {:>6}", "batch", "raw tasks/s", "ours tasks/s", "ratio");
        for (batch, tasks) in [(1, 20_000), (100, 500_000), (1_000, 1_000_000)] {
            let raw = {
                let _workers = [worker(RAW, &plain), worker(RAW, &plain)];
                runtime.block_on(raw(&plain, batch, tasks))
            };
            let ours = {
                let of = format!("{url}?workers=1");
                let _workers = [worker("SELVEDGE_CLUSTER", &of), worker("SELVEDGE_CLUSTER", &of)];
                ours(&url, batch, tasks)
            };
            println!("{batch:>6} {raw:>14.0} {ours:>14.0} {:>6.2}", ours / raw);
        }
        let raw = {
            let _workers = [worker(RAW, &plain)];
            1e6 / runtime.block_on(round_trips(&plain))
        };
        let _worker = worker("SELVEDGE_CLUSTER", &format!("{url}?workers=1"));
        let cluster = Cluster::builder(&url).in_memory().connect().expect("a cluster");
        for n in 0..100_u64 {
            let _ = cluster.submit(|n: u64| n + 1, n).wait();
        }
        let begun = Instant::now();
        for n in 0..2_000_u64 {
            assert!(cluster.submit(|n: u64| n + 1, n).wait().outcome.is_ok());
        }
        let ours = begun.elapsed().as_secs_f64() / 2_000.0 * 1e6;
        println!("there and back: raw {raw:.0} us, ours {ours:.0} us, ratio {:.2}", ours / raw);
    }

    fn worker(variable: &str, value: &str) -> Running {
        let mut command = Command::new("/proc/self/exe");
        Running(command.env(variable, value).spawn().expect("a worker"))
    }

    fn ours(url: &str, batch: usize, tasks: u64) -> f64 {
        let batch = NonZeroUsize::new(batch).expect("not none");
        let window = NonZeroUsize::new(64 * batch.get()).expect("not none");
        let cluster = Cluster::builder(url).in_memory().workers(2).batch(batch).window(window);
        let cluster = cluster.connect().expect("a cluster");
        let _ = cluster.map(|n: u64| n + 1, 0..1_000).expect("values");
        let begun = Instant::now();
        let all = cluster.map(|n: u64| n + 1, 0..tasks).expect("values");
        assert!(all.into_iter().eq(1..=tasks));
        tasks as f64 / begun.elapsed().as_secs_f64()
    }

    async fn queue(url: &str) -> (async_nats::Client, jetstream::Context, stream::Stream) {
        let client = async_nats::connect(url).await.expect("a connection");
        let js = jetstream::new(client.clone());
        let config = stream::Config {
            name: "RAW".into(),
            subjects: vec!["raw.tasks".into()],
            retention: stream::RetentionPolicy::WorkQueue,
            storage: stream::StorageType::Memory,
            ..Default::default()
        };
        let stream = js.get_or_create_stream(config).await.expect("a stream");
        (client, js, stream)
    }

    async fn raw_worker(url: String) {
        let (client, _, stream) = queue(&url).await;
        let config = pull::Config { durable_name: Some("w".into()), ..Default::default() };
        let consumer = stream.get_or_create_consumer("w", config).await.expect("a consumer");
        let mut messages = consumer.messages().await.expect("messages");
        while let Some(Ok(message)) = messages.next().await {
            let numbers = message.payload.chunks_exact(8);
            let numbers = numbers.map(|n| u64::from_le_bytes(n.try_into().expect("eight")) + 1);
            let results: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
            client.publish("raw.results", results.into()).await.expect("sent");
            message.ack().await.expect("queued");
        }
    }

    async fn raw(url: &str, batch: usize, tasks: u64) -> f64 {
        let (client, js, _) = queue(url).await;
        let mut results = client.subscribe("raw.results").await.expect("results");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        let publish = async {
            for first in (0..tasks).step_by(batch) {
                let numbers = first..(first + batch as u64).min(tasks);
                let payload: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
                js.publish("raw.tasks", payload.into()).await.expect("sent");
            }
        };
        let collect = async {
            let mut came = 0;
            while came < tasks {
                let message = results.next().await.expect("a result");
                came += message.payload.len() as u64 / 8;
            }
        };
        tokio::join!(publish, collect);
        tasks as f64 / begun.elapsed().as_secs_f64()
    }

    /// Round trips a second, one after the other.
    async fn round_trips(url: &str) -> f64 {
        let (client, js, _) = queue(url).await;
        let mut results = client.subscribe("raw.results").await.expect("results");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        for n in 0..2_000_u64 {
            js.publish("raw.tasks", n.to_le_bytes().to_vec().into()).await.expect("sent");
            results.next().await.expect("a result");
        }
        2_000.0 / begun.elapsed().as_secs_f64()
    }
}
