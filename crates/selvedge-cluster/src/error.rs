//! Why a cluster cannot be reached, or used.

use std::fmt;
use std::sync::Arc;

/// A cluster that could not be connected to. Nothing is left behind on the
/// server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The URL, or an option, makes no sense.
    Settings(Arc<str>),
    /// No server answers there.
    Unreachable(Arc<str>),
    /// The server does not let us in: the credentials are wrong, or missing.
    Refused(Arc<str>),
    /// The server has no JetStream.
    NoJetStream(Arc<str>),
    /// The job exists on the server, and is set up in another way.
    OtherSettings(Arc<str>),
    /// The server has no room for the job.
    Full(Arc<str>),
    /// The server answers, and not as it should.
    Server(Arc<str>),
    /// Fewer workers were seen than are wanted.
    Workers {
        /// As many are wanted.
        wanted: usize,
        /// So many were seen.
        seen: usize,
        /// Workers of other builds, which take nothing from this one.
        others: usize,
    },
    /// A task tried to use a cluster, or a worker process did.
    InsideWorker,
    /// The operating system refused what is needed.
    System(Arc<std::io::Error>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(why) => write!(f, "these settings cannot be: {why}"),
            Self::Unreachable(why) => write!(f, "no server can be reached: {why}"),
            Self::Refused(why) => write!(f, "the server refuses these credentials: {why}"),
            Self::NoJetStream(why) => write!(f, "the server has no JetStream: {why}"),
            Self::OtherSettings(why) => write!(f, "the job exists with other settings: {why}"),
            Self::Full(why) => write!(f, "the server has no room for the job: {why}"),
            Self::Server(why) => write!(f, "the server answers otherwise than expected: {why}"),
            Self::Workers { wanted, seen, others: 0 } => {
                write!(f, "{seen} of {wanted} workers were seen")
            }
            Self::Workers { wanted, seen, others } => write!(
                f,
                "{seen} of {wanted} workers were seen, and {others} of another build: start the \
                 same executable there"
            ),
            Self::InsideWorker => f.write_str("a worker cannot use a cluster of its own"),
            Self::System(error) => write!(f, "the system refused a cluster: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::System(Arc::new(error))
    }
}

/// An error and what caused it, in a line.
pub(crate) fn chain(error: &dyn std::error::Error) -> Arc<str> {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text.into()
}
