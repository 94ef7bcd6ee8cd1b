//! What callers hand over: tasks of one call, with their arguments.

use crate::process::group::Group;
use crate::process::sheet::Lent;
use crate::process::wire::{self, Kind};
use crate::semaphore::OwnedPermit;
use std::sync::Arc;

/// Arguments of consecutive tasks of one call.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) index: u64,
    pub(crate) len: u32,
    pub(crate) entry: u64,
    pub(crate) load: Load,
    pub(crate) group: Arc<Group>,
    /// Its place among submitted tasks, given up when it is dropped.
    #[expect(dead_code, reason = "held, not used")]
    pub(crate) place: Option<OwnedPermit>,
}

/// The arguments themselves.
#[derive(Debug)]
pub(crate) enum Load {
    /// Records.
    Records(Vec<u8>),
    /// One argument by itself.
    Large(Lent),
}

impl Load {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Records(bytes) => bytes.len(),
            Self::Large(lent) => lent.len(),
        }
    }
}

/// A parcel, and how much of it is still to end.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) parcel: Parcel,
    pub(super) left: u32,
    /// A task of it and the offset of its record, to look from.
    pub(crate) cursor: (u32, usize),
}

impl Held {
    /// Where the record of the task `at` begins.
    pub(crate) fn seek(&mut self, at: u32) -> usize {
        let Load::Records(bytes) = &self.parcel.load else { return 0 };
        if self.cursor.0 > at {
            self.cursor = (0, 0);
        }
        while self.cursor.0 < at {
            let Ok((kind, _, next)) = wire::record(bytes, self.cursor.1) else { break };
            debug_assert_eq!(kind, Kind::Value);
            self.cursor = (self.cursor.0 + 1, next);
        }
        self.cursor.1
    }
}
