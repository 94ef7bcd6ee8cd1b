//! Servers, workers, and what is done to them.

use rustix::process::{Pid, Signal, kill_process};
use selvedge_cluster::{Builder, Cluster};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A lease for tests: deaths are noticed soon, and a loaded machine holds it.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// Tasks of each fault: `SELVEDGE_CLUSTER_TASKS`, or a few.
pub(crate) fn tasks() -> u64 {
    std::env::var("SELVEDGE_CLUSTER_TASKS").map_or(1_000, |tasks| tasks.parse().expect("a number"))
}

/// Past the test harness, which keeps what passing tests print.
pub(crate) fn say_loudly(what: &str) {
    let stderr = std::fs::File::options().append(true).open("/dev/stderr");
    let _ = stderr.and_then(|mut stderr| writeln!(stderr, "\n*** {what}"));
}

/// A `nats-server` with JetStream, and a store of its own.
pub(crate) struct Server {
    child: Option<Child>,
    host: String,
    pub(crate) port: u16,
    folder: TempDir,
    extra: String,
}

impl Server {
    /// `None`: there is no `nats-server` here, and that is not CI.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("jetstream { store_dir: STORE }")
    }

    /// With these lines of configuration; `STORE` is its folder.
    pub(crate) fn start_with(extra: &str) -> Option<Self> {
        Self::start_at("127.0.0.1", extra)
    }

    /// That listens there.
    pub(crate) fn start_on(host: &str) -> Option<Self> {
        Self::start_at(host, "jetstream { store_dir: STORE }")
    }

    fn start_at(host: &str, extra: &str) -> Option<Self> {
        let found = Command::new("nats-server").arg("-v").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            let why = "there is no nats-server here: this test DID NOT RUN";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
            say_loudly(why);
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Self { child: None, host: host.into(), port, folder, extra: extra.into() };
        server.restart();
        Some(server)
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        let config = self.folder.path().join("server.conf");
        let store = self.folder.path().join("store");
        let mut text = format!("listen: \"{}:{}\"\n", self.host, self.port);
        let extra = self.extra.replace("STORE", &format!("{store:?}"));
        writeln!(text, "{extra}").expect("a string");
        std::fs::write(&config, text).expect("a file");
        let log = self.folder.path().join("log");
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(&config).arg("-l").arg(&log);
        self.child = Some(start(command));
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                Instant::now() < until,
                "{}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// By SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}/test", self.port)
    }

    pub(crate) fn builder(&self) -> Builder {
        Cluster::builder(&self.url()).lease(LEASE).connect_within(Duration::from_secs(20))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a process that is killed when this one ends, however that is.
///
/// The signal comes when the *thread* ends that started it: one that stays
/// starts them all.
pub(crate) fn start(mut command: Command) -> Child {
    #[expect(unsafe_code, reason = "between fork and exec")]
    // SAFETY: one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        })
    };
    type Request = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, started) = mpsc::channel();
    STARTER.send((command, answer)).expect("the thread stays");
    started.recv().expect("the thread stays").expect("it starts")
}

/// A worker: this test's executable, started with a variable.
pub(crate) struct Worker {
    child: Child,
}

impl Worker {
    pub(crate) fn start(url: &str) -> Self {
        Self::of(Command::new("/proc/self/exe"), url)
    }

    pub(crate) fn of(mut command: Command, url: &str) -> Self {
        command.env("SELVEDGE_CLUSTER", format!("{url}?workers=1")).stdout(Stdio::null());
        Self { child: start(command) }
    }

    pub(crate) fn many(url: &str, count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start(url)).collect()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is there");
    }

    /// What it says there, if that is a pipe.
    pub(crate) fn stderr(&mut self) -> &mut std::process::ChildStderr {
        self.child.stderr.as_mut().expect("piped")
    }

    /// Waits until it has ended; returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().expect("it is ours").code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
