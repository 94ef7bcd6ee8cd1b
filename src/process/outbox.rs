//! Where a worker puts results that do not fit among others.

use super::codec::{self, Portable, Unencoded};
use super::region::Header;
use super::sheet::{LARGEST_KEPT, Sheet};
use super::socket;
use super::wire::{self, FromWorker, INLINE, Kind};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// Sends results by themselves: in a packet, or on a sheet that is used again
/// once the parent has read it.
#[derive(Debug)]
pub(super) struct Outbox<'w> {
    socket: &'w OwnedFd,
    /// The first slot's.
    header: &'w Header,
    sheets: [Option<Sheet>; 2],
}

/// Of which task of which batch a result is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    pub(super) seq: u64,
    pub(super) index: u32,
    pub(super) kind: Kind,
}

impl<'w> Outbox<'w> {
    pub(super) fn new(socket: &'w OwnedFd, header: &'w Header) -> Self {
        Self { socket, header, sheets: [None, None] }
    }

    /// Sends what a task returned; `NoRoom`: it is longer than `largest`.
    pub(super) fn send_value<R: Portable>(
        &mut self,
        label: Label,
        value: &R,
        largest: usize,
    ) -> Result<(), Unencoded> {
        let len = codec::encoded_len(value)?;
        if len > largest {
            return Err(Unencoded::NoRoom);
        }
        if len > INLINE {
            return self.send_sheet(label, len, value);
        }
        let mut bytes = vec![0; len];
        let len = codec::encode_to_slice(value, &mut bytes)?;
        self.send_text(label, &bytes[..len])
    }

    /// Sends bytes that fit a packet.
    pub(super) fn send_text(&mut self, label: Label, bytes: &[u8]) -> Result<(), Unencoded> {
        debug_assert!(bytes.len() <= INLINE);
        let message = message(label, bytes.len(), None);
        socket::send(self.socket, &message, bytes, &[], true)
            .map_err(|error| not_sent(bytes.len(), &error))
    }

    fn send_sheet<R: Portable>(
        &mut self,
        label: Label,
        len: usize,
        value: &R,
    ) -> Result<(), Unencoded> {
        // ORDERING: Acquire; pairs with the parent's Release when it has read
        // a sheet, so that what is written next does not get ahead of that.
        let lent = self.header.lent.load(Ordering::Acquire);
        let free = |at: &usize| lent & 1 << at == 0;
        let fits = |at: &usize| self.sheets[*at].as_ref().is_some_and(|sheet| sheet.room() >= len);
        let number = (0..self.sheets.len())
            .filter(free)
            .max_by_key(|at| (fits(at), self.sheets[*at].is_none()))
            .filter(|at| fits(at) || len <= LARGEST_KEPT);
        let kept = number.and_then(|at| self.sheets[at].take()).filter(|sheet| sheet.room() >= len);
        let mut sheet = match kept {
            Some(sheet) => sheet,
            None => Sheet::new(len).map_err(|error| not_sent(len, &error))?,
        };
        let sent = sheet.encode(value, len).and_then(|()| {
            if let Some(at) = number {
                self.header.lent.fetch_or(1 << at, Ordering::Relaxed);
            }
            let place = number.zip(sheet.serial()).map(|(at, serial)| (at as u8, serial));
            let message = message(label, len, place);
            socket::send(self.socket, &message, &[], &[sheet.file()], true)
                .map_err(|error| not_sent(len, &error))
        });
        if let Some(at) = number {
            self.sheets[at] = Some(sheet);
        }
        sent
    }
}

fn message(label: Label, len: usize, sheet: Option<(u8, u64)>) -> Vec<u8> {
    let Label { seq, index, kind } = label;
    wire::packet(&FromWorker::Elsewhere { seq, index, kind: kind as u8, len: len as u64, sheet })
}

fn not_sent(len: usize, error: &std::io::Error) -> Unencoded {
    Unencoded::Refused(format!("{len} bytes could not be sent: {error}"))
}
