//! The worker's line to its parent, out of reach of its tasks.
//!
//! Descriptors belong to the process, and so to every task: one that closes all
//! it can see (as programs do that turn into daemons) closes the socket, and the
//! next file that some task opens gets its number. What the worker sends would
//! go into that file, and the results of innocent tasks nowhere.
//!
//! The socket is therefore looked at before each use: is it still ours? And a
//! thread keeps it in a table of descriptors of its own
//! (`unshare(CLONE_FILES)`), where tasks cannot reach it: it watches for the
//! parent's end, and sends what the worker itself no longer can. Where the
//! system does not allow such a table (EPERM in some sandboxes) the rest holds
//! without it.
//!
//! A worker whose socket is gone finishes its batch and ends: the batch's
//! results are in shared memory or sent from there, and its successor takes the
//! rest.

#![allow(unsafe_code, reason = "a table of descriptors of its own")]

use super::sheet::Sheet;
use super::socket::{self, Packet};
use super::worker;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Which file a descriptor is of, whatever its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    /// `None`: of no file at all.
    pub(super) fn of(descriptor: BorrowedFd<'_>) -> Option<Self> {
        let stat = rustix::fs::fstat(descriptor).ok()?;
        Some(Self(stat.st_dev, stat.st_ino))
    }
}

/// The socket, as the thread that runs tasks has it.
#[derive(Debug)]
pub(super) struct Line {
    socket: OwnedFd,
    identity: Option<Identity>,
    desk: Arc<Desk>,
}

/// Where letters are left for the thread that keeps the socket too.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether there is somebody to send letters: not known yet, or no.
    manned: Option<bool>,
    letter: Option<Letter>,
    answer: Option<io::Result<()>>,
}

/// What is to be sent.
#[derive(Debug)]
struct Letter {
    packet: Vec<u8>,
    tail: Vec<u8>,
    /// Goes in a file.
    payload: Option<Vec<u8>>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn man(&self, manned: bool) {
        self.lock().manned = Some(manned);
        self.changed.notify_all();
    }

    /// The keeper's: sends what is left here.
    fn serve(&self, socket: &OwnedFd) {
        let mut state = self.lock();
        loop {
            match state.letter.take() {
                None => state = self.wait(state),
                Some(letter) => {
                    state.answer = Some(letter.send(socket));
                    self.changed.notify_all();
                }
            }
        }
    }

    fn leave(&self, letter: Letter) -> io::Result<()> {
        let mut state = self.lock();
        if state.manned != Some(true) {
            return Err(io::Error::other("a task has closed the worker's descriptors"));
        }
        state.letter = Some(letter);
        self.changed.notify_all();
        loop {
            match state.answer.take() {
                Some(answer) => return answer,
                None => state = self.wait(state),
            }
        }
    }
}

impl Letter {
    fn send(&self, socket: &OwnedFd) -> io::Result<()> {
        let Some(payload) = &self.payload else {
            return socket::send(socket, &self.packet, &self.tail, &[], true);
        };
        let mut sheet = Sheet::new(payload.len())?;
        sheet.fill(payload);
        socket::send(socket, &self.packet, &[], &[sheet.file()], true)
    }
}

impl Line {
    pub(super) fn new(socket: OwnedFd) -> Self {
        let identity = Identity::of(socket.as_fd());
        Self { socket, identity, desk: Arc::default() }
    }

    /// Whether no task has closed the socket, or put a file in its place.
    pub(super) fn is_ours(&self) -> bool {
        self.identity.is_some() && Identity::of(self.socket.as_fd()) == self.identity
    }

    /// Starts the thread that keeps the socket and watches for the parent's end
    /// while tasks run.
    pub(super) fn watch(&self) -> io::Result<()> {
        let socket = rustix::io::fcntl_dupfd_cloexec(&self.socket, 0)?;
        let desk = Arc::clone(&self.desk);
        start("selvedge-watch", move || {
            desk.man(keep_apart().and_then(|()| post(&desk, &socket)).is_ok());
            loop {
                let mut ends = [PollFd::new(&socket, PollFlags::empty())];
                if poll(&mut ends, None).is_err() {
                    continue;
                }
                if ends[0].revents().contains(PollFlags::NVAL) {
                    // Closed by a task, since the table is not our own. The
                    // signal at the parent's end is left.
                    return;
                }
                if !ends[0].revents().is_empty() {
                    worker::kill_group(0);
                }
            }
        })
    }

    /// Waits for the watch to have its table: before the first task.
    pub(super) fn settled(&self) {
        let mut state = self.desk.lock();
        while state.manned.is_none() {
            state = self.desk.wait(state);
        }
    }

    /// Sends a packet and a tail.
    pub(super) fn send(&self, packet: &[u8], tail: &[u8]) -> io::Result<()> {
        if self.is_ours() {
            return socket::send(&self.socket, packet, tail, &[], true);
        }
        self.desk.leave(Letter { packet: packet.to_vec(), tail: tail.to_vec(), payload: None })
    }

    /// Sends a packet with a file. `false`: the file or the socket is not ours
    /// any more.
    pub(super) fn send_sheet(&self, packet: &[u8], sheet: &Sheet) -> io::Result<bool> {
        if !self.is_ours() || !sheet.is_ours() {
            return Ok(false);
        }
        socket::send(&self.socket, packet, &[], &[sheet.file()], true).map(|()| true)
    }

    /// Has a packet sent with a file that holds these bytes.
    pub(super) fn send_payload(&self, packet: Vec<u8>, payload: Vec<u8>) -> io::Result<()> {
        self.desk.leave(Letter { packet, tail: Vec::new(), payload: Some(payload) })
    }

    /// The next packet; none where the socket is not ours any more.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Option<Packet> {
        if !self.is_ours() {
            return None;
        }
        socket::receive(&self.socket, buffer, true).ok()
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).stack_size(64 << 10).spawn(run)?;
    Ok(())
}

/// The second thread of the same table: sends letters.
fn post(desk: &Arc<Desk>, socket: &OwnedFd) -> io::Result<()> {
    let socket = rustix::io::fcntl_dupfd_cloexec(socket, 0)?;
    let desk = Arc::clone(desk);
    start("selvedge-post", move || desk.serve(&socket))
}

/// Gives this thread a table of descriptors of its own, in which the program's
/// standard ones are nothing: a task that closes them means it.
fn keep_apart() -> io::Result<()> {
    // SAFETY: affects the descriptors of this thread alone, which has no other
    // than those that this file names.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
