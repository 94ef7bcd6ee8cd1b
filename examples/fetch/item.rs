//! One URL, from the request to the file.

use crate::http::{Http, worth_another_try};
use selvedge::cancel::Token;
use selvedge::outcome::Outcome;
use selvedge::scope::scope;
use selvedge::timeout::{Elapsed, with_timeout};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// What all URLs share.
pub(crate) struct Job {
    pub(crate) http: Http,
    pub(crate) token: Token,
    pub(crate) timeout: Duration,
    pub(crate) keep_going: bool,
    pub(crate) output: Option<PathBuf>,
}

/// How far a URL came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    pub(crate) url: String,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) file: Option<PathBuf>,
}

/// Why it came no further.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) done: Done,
    pub(crate) kind: Kind,
    pub(crate) why: String,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Failed,
    TimedOut,
    Cancelled,
}

/// What ends the body of the scope early.
enum Stop {
    Elapsed(Elapsed),
    Error(anyhow::Error),
}

/// Where a body goes: to a file that gets its name when it is whole.
struct Files {
    part: PathBuf,
    whole: PathBuf,
}

impl Job {
    /// Fetches `url`, in a scope that removes the partial file however it
    /// ends. Its failure cancels the others, unless told to keep going.
    pub(crate) async fn fetch(&self, index: usize, url: String) -> Result<Done, Failed> {
        let started = Instant::now();
        let files = self.output.as_ref().map(|folder| Files::new(folder, index, &url));
        let done = Mutex::new(Done { url, ..Done::default() });
        let mut scope = scope().token(&self.token).cleanup_within(Duration::from_secs(2));
        if let Some(Files { part, .. }) = &files {
            scope = scope.on_exit("remove the partial file", remove(part.clone()));
        }
        let exit = scope
            .run(|_| async {
                let download = self.download(files.as_ref(), &done);
                match with_timeout(download, self.timeout).named("timeout").await {
                    Ok(ended) => ended.map_err(Stop::Error),
                    Err(elapsed) => Err(Stop::Elapsed(elapsed)),
                }
            })
            .await;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.seconds = started.elapsed().as_secs_f64();
        let uncleaned = exit.cleanup.iter().find(|one| !one.outcome.is_ok());
        let (kind, why) = match (exit.outcome, uncleaned) {
            // A cancel that came when it was whole changes nothing.
            (Outcome::Ok(()) | Outcome::Cancelled(_), None) if done.file.is_some() => {
                return Ok(done);
            }
            (Outcome::Ok(()), None) => return Ok(done),
            (Outcome::Ok(()), Some(one)) => {
                (Kind::Failed, format!("{}: {}", one.name, one.outcome))
            }
            (Outcome::Err(Stop::Elapsed(elapsed)), _) => (Kind::TimedOut, elapsed.to_string()),
            (Outcome::Err(Stop::Error(error)), _) => (Kind::Failed, format!("{error:#}")),
            (Outcome::Cancelled(cancelled), _) => (Kind::Cancelled, cancelled.to_string()),
            (other, _) => (Kind::Failed, other.to_string()),
        };
        if !self.keep_going {
            self.token.cancel_because(&format!("{} {why}", done.url));
        }
        Err(Failed { done, kind, why })
    }

    async fn download(&self, files: Option<&Files>, done: &Mutex<Done>) -> anyhow::Result<()> {
        let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
        let url = lock().url.clone();
        let mut body = self.http.get(&url, |code| lock().status = Some(code.as_u16())).await?;
        // Made and renamed without an await: no cleanup can come in between.
        let mut file = match files {
            Some(files) => loop {
                match files.create().map_err(anyhow::Error::from) {
                    Err(error) if worth_another_try(&error).await => {}
                    created => break Some(created?),
                }
            },
            None => None,
        };
        while let Some(bytes) = body.next().await? {
            if let Some(file) = &mut file {
                file.write_all(&bytes).await?;
            }
            lock().bytes += bytes.len() as u64;
        }
        if let (Some(mut file), Some(files)) = (file, files) {
            file.flush().await?;
            std::fs::rename(&files.part, &files.whole)?;
            lock().file = Some(files.whole.clone());
        }
        Ok(())
    }
}

impl Files {
    fn new(folder: &Path, index: usize, url: &str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let last = path.split("://").nth(1).and_then(|rest| rest.split('/').next_back());
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
        let last: String = last.unwrap_or_default().chars().map(plain).take(100).collect();
        let name = format!("{:04}-{}", index + 1, if last.is_empty() { "index" } else { &last });
        Self { part: folder.join(format!("{name}.part")), whole: folder.join(name) }
    }

    fn create(&self) -> io::Result<tokio::fs::File> {
        std::fs::File::create(&self.part).map(tokio::fs::File::from_std)
    }
}

async fn remove(part: PathBuf) -> Result<(), Stop> {
    match std::fs::remove_file(part) {
        // It is whole and has its name, or was never begun.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| Stop::Error(error.into())),
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Elapsed(elapsed) => elapsed.fmt(f),
            Self::Error(error) => write!(f, "{error:#}"),
        }
    }
}
