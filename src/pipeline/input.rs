//! What lines are read from, and whether a read of it would wait.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Something to read lines from: a name for messages, and how to open it.
///
/// It is opened when its turn comes and closed when it has been read.
///
/// # Slow inputs
///
/// A read that gives less than it was asked for is not waited upon: what was
/// read, up to its last newline, is handed on before the next read.
///
/// A [`file`](Self::file) and a [`descriptor`](Self::descriptor) are asked
/// before each read whether there is anything to read (Linux). A run that waits
/// for one therefore hears of its token and its deadline within some 20 ms.
/// Other readers cannot be asked: a run hears when the read returns.
#[must_use]
pub struct Input {
    name: Arc<str>,
    open: Open,
}

type Open = Box<dyn FnOnce() -> io::Result<Box<dyn Source>> + Send>;

/// Whether a read would wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// It would not.
    Yes,
    /// It would.
    No,
    /// Only the read itself will show.
    Unknown,
}

/// An open input.
pub(super) trait Source: Read {
    /// Whether a read would wait; waits for up to `patience` until it would
    /// not.
    fn ready(&self, patience: Duration) -> Ready;
}

struct Plain<R>(R);

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl<R: Read> Source for Plain<R> {
    fn ready(&self, _: Duration) -> Ready {
        Ready::Unknown
    }
}

impl Input {
    /// The file at `path`. A named pipe that nobody writes to is waited for
    /// as any other slow input.
    pub fn file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        let name = path.display().to_string().into();
        Self { name, open: Box::new(move || polled::open(&path)) }
    }

    /// The standard input of this process, as [`std::io::stdin`] reads it:
    /// what that has read ahead comes first. A run cannot stop while it waits
    /// for it; for that, give its descriptor to [`Self::descriptor`].
    pub fn stdin() -> Self {
        Self::reader("standard input", io::stdin())
    }

    /// A reader that is already open. It is asked for large reads, so it needs
    /// no buffer of its own.
    pub fn reader(name: &str, reader: impl Read + Send + 'static) -> Self {
        Self { name: name.into(), open: Box::new(move || Ok(Box::new(Plain(reader)))) }
    }

    /// A pipe, a socket or another open descriptor. Nothing else should read
    /// it meanwhile.
    ///
    /// ```
    /// use selvedge::pipeline::{Input, Pipeline};
    /// use std::io::Write;
    /// use std::time::Duration;
    ///
    /// let (from, mut to) = std::io::pipe()?;
    /// to.write_all(b"a:1\nb:2\na:3\n")?;
    /// // Nothing more is written, and the pipe stays open.
    /// let report = Pipeline::key_value()
    ///     .within(Duration::from_millis(200))
    ///     .run([Input::descriptor("feed", from)])?;
    /// assert_eq!(report.totals.sorted(), [("a", 4), ("b", 2)]);
    /// assert!(report.stopped.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn descriptor(name: &str, descriptor: impl Into<std::os::fd::OwnedFd>) -> Self {
        let file = File::from(descriptor.into());
        Self { name: name.into(), open: Box::new(move || polled::opened(file)) }
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn open(self) -> (Arc<str>, io::Result<Box<dyn Source>>) {
        (self.name, (self.open)())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Input").field(&self.name).finish()
    }
}

#[cfg(not(target_os = "linux"))]
mod polled {
    use super::{File, Path, Plain, Source, io};

    pub(super) fn open(path: &Path) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(Plain(File::open(path)?)))
    }

    #[cfg(unix)]
    pub(super) fn opened(file: File) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(Plain(file)))
    }
}

#[cfg(target_os = "linux")]
mod polled {
    use super::{Duration, File, Path, Read, Ready, Source, io};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;

    struct Polled {
        file: File,
        /// Reads of it never wait.
        regular: bool,
    }

    /// A named pipe without a writer would keep its `open` waiting, so that
    /// does not wait; whoever reads then asks first.
    pub(super) fn open(path: &Path) -> io::Result<Box<dyn Source>> {
        let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of the system");
        opened(File::options().read(true).custom_flags(nonblock).open(path)?)
    }

    pub(super) fn opened(file: File) -> io::Result<Box<dyn Source>> {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Ok(Box::new(Polled { file, regular }))
    }

    impl Read for Polled {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            match self.file.read(bytes) {
                // Another reader was quicker: asked again, it would wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Err(io::ErrorKind::Interrupted.into())
                }
                read => read,
            }
        }
    }

    impl Source for Polled {
        fn ready(&self, patience: Duration) -> Ready {
            if self.regular {
                return Ready::Yes;
            }
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            let patience = Timespec::try_from(patience).ok();
            match poll(&mut fds, patience.as_ref()) {
                // Also if it has ended or failed: the read will say so.
                Ok(ready) if ready > 0 => Ready::Yes,
                Ok(_) | Err(rustix::io::Errno::INTR) => Ready::No,
                Err(_) => Ready::Unknown,
            }
        }
    }
}
