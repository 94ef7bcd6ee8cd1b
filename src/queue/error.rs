//! What goes wrong with a queue, each error giving back what was not delivered.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The queue is closed and holds nothing more.
///
/// A queue that ended well has no cause. One that was closed with
/// [`close_with`](super::Sender::close_with), or whose senders went away while
/// one of them panicked, or before a [`Producer`](super::Producer) had
/// finished, says why: a dead producer is not an end of stream.
#[derive(Clone, Default)]
pub struct Closed {
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Closed {
    pub(super) fn because(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(Arc::from(cause.into())) }
    }

    /// Why, if the queue did not end well.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => f.debug_tuple("Closed").field(cause).finish(),
            None => f.write_str("Closed"),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "the queue was closed: {cause}"),
            None => f.write_str("the queue is closed and empty"),
        }
    }
}

impl Error for Closed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}

/// The cause of a queue whose last sender is gone, one having been dropped by a
/// panicking thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderPanicked;

impl fmt::Display for SenderPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sender was dropped by a panicking thread")
    }
}

impl Error for SenderPanicked {}

/// The cause of a queue whose last sender is gone, a [`Producer`] having been
/// dropped before it had finished: there should have been more items.
///
/// [`Producer`]: super::Producer
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a producer was dropped before it had finished")
    }
}

impl Error for Abandoned {}

/// The queue is closed: the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Nothing was sent: the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room now.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

/// Nothing was sent: the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// There was no room in time.
    Timeout(T),
    /// The queue is closed.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> SendTimeoutError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Timeout(value) | Self::Closed(value) => value,
        }
    }
}

/// Nothing was received.
#[derive(Debug, Clone)]
pub enum TryRecvError {
    /// There is nothing now.
    Empty,
    /// There is nothing and never will be.
    Closed(Closed),
}

/// Nothing was received.
#[derive(Debug, Clone)]
pub enum RecvTimeoutError {
    /// Nothing came in time.
    Timeout,
    /// There is nothing and never will be.
    Closed(Closed),
}

const CLOSED: &str = "the queue is closed";
const FULL: &str = "the queue is full";
const NO_ROOM: &str = "the queue had no room in time";

// The value is left out, so that `unwrap` and `?` work for every `T`.
macro_rules! value_error {
    ($name:ident, $($pattern:pat => $variant:literal, $text:expr;)+) => {
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $variant,)+ })
            }
        }
        impl<T> fmt::Display for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $text,)+ })
            }
        }
        impl<T> Error for $name<T> {}
    };
}

value_error!(SendError, Self(_) => "SendError(..)", CLOSED;);
value_error!(TrySendError,
    Self::Full(_) => "Full(..)", FULL;
    Self::Closed(_) => "Closed(..)", CLOSED;
);
value_error!(SendTimeoutError,
    Self::Timeout(_) => "Timeout(..)", NO_ROOM;
    Self::Closed(_) => "Closed(..)", CLOSED;
);

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the queue is empty"),
            Self::Closed(closed) => closed.fmt(f),
        }
    }
}

impl Error for TryRecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Empty => None,
            Self::Closed(closed) => closed.source(),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("nothing came through the queue in time"),
            Self::Closed(closed) => closed.fmt(f),
        }
    }
}

impl Error for RecvTimeoutError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Timeout => None,
            Self::Closed(closed) => closed.source(),
        }
    }
}
