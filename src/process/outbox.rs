//! Where a worker puts results that do not fit among others.

use super::codec::{self, Portable, Unencoded};
use super::line::Line;
use super::region::Header;
use super::sheet::{LARGEST_KEPT, Sheet};
use super::wire::{self, FromWorker, INLINE, Kind};

/// Sends results by themselves: in a packet, or on a sheet that is used again
/// once the parent has read it.
#[derive(Debug)]
pub(super) struct Outbox<'w> {
    line: &'w Line,
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
    pub(super) fn new(line: &'w Line, header: &'w Header) -> Self {
        Self { line, header, sheets: [None, None] }
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
        self.line.send(&message, bytes).map_err(|error| not_sent(bytes.len(), &error))
    }

    fn send_sheet<R: Portable>(
        &mut self,
        label: Label,
        len: usize,
        value: &R,
    ) -> Result<(), Unencoded> {
        let lent = self.header.lent.held();
        let free = |at: &usize| lent & 1 << at == 0;
        let fits = |at: &usize| self.sheets[*at].as_ref().is_some_and(|sheet| sheet.room() >= len);
        let number = (0..self.sheets.len())
            .filter(free)
            .max_by_key(|at| (fits(at), self.sheets[*at].is_none()))
            .filter(|at| fits(at) || len <= LARGEST_KEPT);
        let kept = number.and_then(|at| self.sheets[at].take());
        let mut sheet = match kept {
            Some(sheet) if sheet.room() >= len => sheet,
            other => {
                other.into_iter().for_each(discard);
                Sheet::new(len).map_err(|error| not_sent(len, &error))?
            }
        };
        let sent = sheet.encode(value, len).and_then(|()| {
            if let Some(at) = number {
                self.header.lent.lend(at);
            }
            let place = number.zip(sheet.serial()).map(|(at, serial)| (at as u8, serial));
            let message = message(label, len, place);
            self.line.send_sheet(&message, &sheet).map_err(|error| not_sent(len, &error))
        });
        match sent {
            Ok(true) => {}
            Ok(false) => {
                discard(sheet);
                return self.send_otherwise(label, len, value);
            }
            Err(error) => return Err(error),
        }
        if let Some(at) = number {
            self.sheets[at] = Some(sheet);
        }
        Ok(())
    }

    /// A task has closed what this worker had open. The sheets' files are lost:
    /// their numbers may be others' by now.
    #[cold]
    fn send_otherwise<R: Portable>(
        &mut self,
        label: Label,
        len: usize,
        value: &R,
    ) -> Result<(), Unencoded> {
        let mut bytes = vec![0; len];
        let len = codec::encode_to_slice(value, &mut bytes)?;
        bytes.truncate(len);
        self.line
            .send_payload(message(label, len, None), bytes)
            .map_err(|error| not_sent(len, &error))
    }
}

/// Its number may be another file's by now: then it is not ours to close.
fn discard(sheet: Sheet) {
    if !sheet.is_ours() {
        std::mem::forget(sheet);
    }
}

fn message(label: Label, len: usize, sheet: Option<(u8, u64)>) -> Vec<u8> {
    let Label { seq, index, kind } = label;
    wire::packet(&FromWorker::Elsewhere { seq, index, kind: kind as u8, len: len as u64, sheet })
}

fn not_sent(len: usize, error: &std::io::Error) -> Unencoded {
    Unencoded::Refused(format!("{len} bytes could not be sent: {error}"))
}
