//! What every worker of a pool is started with.

use super::sheet::Sheet;
use super::wire::{self, ToWorker};
use super::{ship, socket};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What every worker of a pool is started with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) deadline: Option<Duration>,
    pub(super) memory: Option<u64>,
    pub(super) initializer: Option<u64>,
    /// The encoded context, and the entry that decodes it.
    pub(super) context: Option<(Sheet, u64, u64)>,
    pub(super) env: Vec<(OsString, Option<OsString>)>,
    /// Longest result.
    pub(super) largest: u64,
}

impl Settings {
    /// Leaves in the socket what the worker looks for first.
    pub(super) fn welcome(&self, socket: &OwnedFd, memory: &OwnedFd) -> io::Result<()> {
        let mut files: Vec<BorrowedFd<'_>> = vec![memory.as_fd()];
        files.extend(self.context.iter().map(|(sheet, ..)| sheet.file()));
        let welcome = ToWorker::Welcome {
            version: wire::VERSION,
            identity: ship::identity(),
            stamp: self.deadline.is_some(),
            largest: self.largest,
            memory: self.memory,
            context: self.context.as_ref().map(|(_, len, entry)| (*len, *entry)),
            initializer: self.initializer,
        };
        socket::send(socket, &wire::packet(&welcome), &[], &files, false)
    }
}
