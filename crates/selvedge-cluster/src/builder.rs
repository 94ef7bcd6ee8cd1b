//! Options of a cluster.

use crate::cluster::Cluster;
use crate::error::Error;
use crate::place::Place;
use crate::setup::Plan;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Options of a [`Cluster`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    place: Result<Place, String>,
    pub(crate) plan: Plan,
    pub(crate) workers: usize,
    pub(crate) window: usize,
    pub(crate) batch: Option<NonZeroUsize>,
    pub(crate) largest: usize,
    pub(crate) within: Duration,
    pub(crate) patience: Duration,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            place: Place::parse(url),
            plan: Plan {
                lease: Duration::from_secs(5),
                keep: Duration::from_secs(24 * 60 * 60),
                room: 256 << 20,
                memory: false,
                replicas: 1,
            },
            workers: 1,
            window: 16_384,
            batch: None,
            largest: 256 << 20,
            within: Duration::from_secs(10),
            patience: Duration::from_secs(300),
        }
    }

    /// The job's name, in place of the one in the URL. Jobs know nothing of
    /// each other; workers are started for one.
    pub fn job(mut self, name: &str) -> Self {
        self.place = self.place.and_then(|mut place| place.set_job(name).map(|()| place));
        self
    }

    /// A file with a user's credentials, as `nsc` writes it.
    pub fn credentials_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.place = self.place.map(|mut place| {
            place.creds = Some(path.into());
            place
        });
        self
    }

    /// How long a worker that says nothing keeps a task: as late is a death
    /// noticed. Defaults to 5 seconds; at least 200 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.plan.lease = lease;
        self
    }

    /// How long the server keeps what nobody takes, after a caller died.
    /// Defaults to a day.
    pub fn keep(mut self, time: Duration) -> Self {
        self.plan.keep = time;
        self
    }

    /// Bytes that the server may store of this job. Beyond them it refuses,
    /// and the caller waits for results first. Defaults to 256 MiB.
    pub fn storage_limit(mut self, bytes: u64) -> Self {
        self.plan.room = i64::try_from(bytes).unwrap_or(i64::MAX);
        self
    }

    /// The server keeps tasks in memory: faster, and sent again after a
    /// restart of the server.
    pub fn in_memory(mut self) -> Self {
        self.plan.memory = true;
        self
    }

    /// As many servers of a NATS cluster keep each task. Defaults to 1.
    pub fn replicas(mut self, servers: NonZeroUsize) -> Self {
        self.plan.replicas = servers.get();
        self
    }

    /// Workers, of this build, that [`connect`](Self::connect) waits for.
    /// Defaults to 1. More may come and go at any time.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Most tasks of one call that are under way. Defaults to 16,384.
    pub fn window(mut self, tasks: NonZeroUsize) -> Self {
        self.window = tasks.get();
        self
    }

    /// Most tasks that travel in one message. Defaults to as many as take some
    /// milliseconds, by what the last ones took.
    pub fn batch(mut self, tasks: NonZeroUsize) -> Self {
        self.batch = Some(tasks);
        self
    }

    /// Largest item and largest result, in bytes; a larger one is its task's
    /// error. What does not fit a message of the server goes through its
    /// object store. Defaults to 256 MiB.
    pub fn largest(mut self, bytes: usize) -> Self {
        self.largest = bytes.min(u32::MAX as usize);
        self
    }

    /// How long [`connect`](Self::connect) may take. Defaults to 10 seconds.
    pub fn connect_within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// How long a call goes on with no worker to be heard, before what is left
    /// of it ends with [`Fault::Broken`](selvedge::process::Fault::Broken).
    /// Defaults to 5 minutes.
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Connects, makes the job on the server if it is not there, and waits for
    /// the workers that are wanted.
    ///
    /// # Errors
    ///
    /// See [`Error`]. What was made on the server is taken away again.
    pub fn connect(self) -> Result<Cluster, Error> {
        let place = self.place.clone().map_err(|why| Error::Settings(why.into()))?;
        if self.plan.lease < Duration::from_millis(200) {
            return Err(Error::Settings("a lease is at least 200 ms".into()));
        }
        if self.plan.keep < self.plan.lease * 2 {
            return Err(Error::Settings("tasks are kept for two leases at least".into()));
        }
        Cluster::open(place, self)
    }
}
