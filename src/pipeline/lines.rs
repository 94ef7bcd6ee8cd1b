//! Inputs cut into blocks of whole lines, in bounded memory.

use super::input::{Input, Ready, Source};
use crate::swap::Mutex;
use memchr::{memchr, memchr_iter, memrchr};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes, of which the first `len` count. The rest is kept initialised so that
/// a buffer that is used again is not cleared again.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn set(&mut self, bytes: &[u8]) {
        self.len = 0;
        self.room_for(bytes.len());
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len();
    }

    fn room_for(&mut self, more: usize) {
        if self.bytes.len() < self.len + more {
            self.bytes.resize(self.len + more, 0);
        }
    }

    /// Reads `more` bytes, fewer at the end of the input, where the next read
    /// would wait, and if it is to stop, which it asks before each read.
    fn fill(
        &mut self,
        source: &mut dyn Source,
        more: usize,
        stop: &mut dyn FnMut() -> bool,
    ) -> io::Result<End> {
        let target = self.len.saturating_add(more);
        let mut short = false;
        while self.len < target {
            if stop() {
                return Ok(End::Stopped);
            }
            // What has been read is handed on before anything is waited for.
            match source.ready(if short { Duration::ZERO } else { PATIENCE }) {
                Ready::Yes => {}
                Ready::Unknown if !short => {}
                Ready::Unknown => return Ok(End::Ahead),
                Ready::No => return Ok(if short { End::Ahead } else { End::Idle }),
            }
            if self.len == self.bytes.len() || self.bytes.len() < target.min(LARGEST_STEP) {
                // A block may be larger than all that there is to read.
                self.room_for((target - self.len).min(self.len.max(LARGEST_STEP)));
            }
            let target = target.min(self.bytes.len());
            match source.read(&mut self.bytes[self.len..target]) {
                Ok(0) => return Ok(End::Reached),
                Ok(read) => {
                    self.len += read;
                    short = self.len < target;
                }
                // An occasion to see to what else there is to do.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(End::Idle),
                Err(error) => return Err(error),
            }
        }
        Ok(End::Ahead)
    }
}

/// How long a run that waits for its input may hear of nothing else.
const PATIENCE: Duration = Duration::from_millis(20);

/// Room that is made for bytes before any of them are there.
const LARGEST_STEP: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ahead,
    /// There has been nothing to read for a while.
    Idle,
    Reached,
    /// The input cannot be read any further.
    Failed,
    /// No more is wanted.
    Stopped,
}

/// Buffers that wait to be used again: workers hand them back, the source
/// takes them. There are as many as there are blocks in flight.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Buffer>>);

impl Spare {
    fn take(&self) -> Buffer {
        self.0.lock().pop().unwrap_or_default()
    }

    pub(super) fn give(&self, buffer: Buffer) {
        self.0.lock().push(buffer);
    }
}

/// Some lines of one input.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) input: Arc<str>,
    /// Whether it is the first of its input: line numbers start again.
    pub(super) first: bool,
    /// Where it starts in its input, in bytes.
    pub(super) offset: u64,
    /// How many bytes of the input it stands for.
    pub(super) size: u64,
    /// The lines of its input before it, if they are counted.
    pub(super) before: u64,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// Whole lines; the last of an input may lack its newline.
    Lines(Buffer),
    /// One line that was too long to hold.
    TooLong,
    /// Nothing, after a while in which there was nothing to read: an occasion
    /// to see to what else there is to do.
    Idle,
    /// The input could not be opened, or be read any further: the block's
    /// offset is where the line starts that was not read to its end.
    Failed(io::Error),
}

impl Body {
    /// How many lines end here.
    fn lines(&self) -> u64 {
        match self {
            Self::Lines(buffer) => memchr_iter(b'\n', buffer.filled()).count() as u64,
            Self::TooLong => 1,
            Self::Idle | Self::Failed(_) => 0,
        }
    }
}

/// The source: an iterator of blocks. A failure has a block of its own, which
/// is the last one unless it is to keep going.
///
/// Invariant: a block ends with a newline or at the end of its input, so a
/// line is in one block only; a line that was not read to its end, because of
/// a failure or because it was to stop, is in none. Memory: a buffer holds at
/// most `max_line + 2 * block_size` bytes.
pub(super) struct Blocks<'a, I, S> {
    inputs: I,
    current: Option<Current>,
    /// The start of a line whose end has not been read yet.
    carry: Vec<u8>,
    spare: &'a Spare,
    block_size: usize,
    max_line: usize,
    keep_going: bool,
    /// Lines are counted.
    numbered: bool,
    /// Whether to stop; asked before each block and each read.
    stop: S,
    over: bool,
}

struct Current {
    name: Arc<str>,
    source: Box<dyn Source>,
    first: bool,
    /// Where `carry` starts.
    offset: u64,
    /// The lines before it, if they are counted.
    lines: u64,
    end: End,
    /// There if the end is a failure that has not been reported.
    failed: Option<io::Error>,
}

impl<'a, I: Iterator<Item = Input>, S: FnMut() -> bool> Blocks<'a, I, S> {
    pub(super) fn new(
        inputs: I,
        spare: &'a Spare,
        block_size: usize,
        max_line: usize,
        stop: S,
    ) -> Self {
        let (current, carry) = (None, Vec::new());
        let (keep_going, numbered, over) = (false, false, false);
        Self {
            inputs,
            current,
            carry,
            spare,
            block_size,
            max_line,
            keep_going,
            numbered,
            stop,
            over,
        }
    }

    /// Counts lines, so that blocks know the number of their first.
    pub(super) fn numbered(mut self, numbered: bool) -> Self {
        self.numbered = numbered;
        self
    }

    /// Goes on with the next input after a failure.
    pub(super) fn keep_going(mut self, keep_going: bool) -> Self {
        self.keep_going = keep_going;
        self
    }

    fn open_next(&mut self) -> Option<Current> {
        let (name, opened) = self.inputs.next()?.open();
        let (first, offset, lines, failed) = (true, 0, 0, None);
        Some(match opened {
            Ok(source) => Current { name, source, first, offset, lines, end: End::Ahead, failed },
            Err(error) => {
                let nothing = Input::reader("", io::empty()).open().1;
                let source = nothing.expect("it is open");
                Current {
                    name,
                    source,
                    first,
                    offset,
                    lines,
                    end: End::Failed,
                    failed: Some(error),
                }
            }
        })
    }

    /// The lines that were read with one that was too long, and not handed on
    /// when the run is to stop.
    fn last(&mut self) -> Option<Block> {
        self.over = true;
        let Current { name, first, offset, lines: before, .. } = self.current.take()?;
        let end = memrchr(b'\n', &self.carry)? + 1;
        let mut buffer = self.spare.take();
        buffer.set(&self.carry[..end]);
        let (size, body) = (end as u64, Body::Lines(buffer));
        Some(Block { input: name, first, offset, size, before, body })
    }
}

impl<I: Iterator<Item = Input>, S: FnMut() -> bool> Iterator for Blocks<'_, I, S> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        if self.over {
            return None;
        }
        if (self.stop)() {
            return self.last();
        }
        loop {
            let mut current = match self.current.take() {
                Some(current) => current,
                None => self.open_next()?,
            };
            let mut buffer = self.spare.take();
            let limits = (self.block_size, self.max_line);
            let (size, body) =
                match current.block(&mut self.carry, &mut buffer, limits, &mut self.stop) {
                    Ok(Some(Cut::Lines)) => (buffer.len as u64, Body::Lines(buffer)),
                    Ok(Some(Cut::TooLong { size })) => {
                        self.spare.give(buffer);
                        (size, Body::TooLong)
                    }
                    Ok(Some(Cut::Nothing)) => {
                        self.spare.give(buffer);
                        (0, Body::Idle)
                    }
                    Ok(None) => {
                        self.spare.give(buffer);
                        if current.end == End::Stopped {
                            self.over = true;
                            return None;
                        }
                        continue;
                    }
                    Err(error) => {
                        self.spare.give(buffer);
                        self.over = !self.keep_going;
                        let (input, first, offset) = (current.name, current.first, current.offset);
                        return Some(Block {
                            input,
                            first,
                            offset,
                            size: 0,
                            before: current.lines,
                            body: Body::Failed(error),
                        });
                    }
                };
            let block = Block {
                input: Arc::clone(&current.name),
                first: current.first && !matches!(body, Body::Idle),
                offset: current.offset,
                size,
                before: current.lines,
                body,
            };
            current.first &= matches!(block.body, Body::Idle);
            current.offset += size;
            if self.numbered {
                current.lines += block.body.lines();
            }
            self.current = Some(current);
            return Some(block);
        }
    }
}

/// The places of the newlines in some bytes.
///
/// 64 bytes at a time become a number with a bit for each newline, which for
/// short lines is several times as fast as a search that starts anew at each
/// of them.
#[derive(Debug)]
pub(super) struct Newlines<'a> {
    rest: std::slice::Chunks<'a, u8>,
    /// Where the next chunk starts.
    next: usize,
    /// The newlines of this chunk that are still to come.
    bits: u64,
}

impl<'a> Newlines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes.chunks(CHUNK), next: 0, bits: 0 }
    }
}

const CHUNK: usize = 64;

impl Iterator for Newlines<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            let chunk = self.rest.next()?;
            self.bits = match chunk.first_chunk() {
                Some(chunk) => newline_bits(chunk),
                None => {
                    let mut padded = [0; CHUNK];
                    padded[..chunk.len()].copy_from_slice(chunk);
                    newline_bits(&padded)
                }
            };
            self.next += CHUNK;
        }
        let at = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.next - CHUNK + at)
    }
}

/// Bit `i` says whether byte `i` is a newline.
#[inline]
fn newline_bits(chunk: &[u8; CHUNK]) -> u64 {
    const NEWLINES: u64 = u64::from_ne_bytes([b'\n'; 8]);
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    // Moves the high bit of each byte, shifted to its low one, into one byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;

    let (words, _) = chunk.as_chunks::<8>();
    words.iter().rev().fold(0, |bits, word| {
        let differs = u64::from_le_bytes(*word) ^ NEWLINES;
        // The high bit of a byte that differs in no bit; nothing is carried
        // from one byte to the next.
        let same = !(((differs & LOW) + LOW) | differs | LOW);
        bits << 8 | ((same >> 7).wrapping_mul(GATHER) >> 56)
    })
}

/// What was cut from the input.
enum Cut {
    Lines,
    /// There was nothing to read.
    Nothing,
    TooLong {
        size: u64,
    },
}

impl Current {
    /// Fills `buffer` with the next lines; `None` at the end of the input, or
    /// where it stops. An error comes after all lines that could be read.
    fn block(
        &mut self,
        carry: &mut Vec<u8>,
        buffer: &mut Buffer,
        (block_size, max_line): (usize, usize),
        stop: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<Cut>> {
        buffer.set(carry);
        carry.clear();
        let mut searched = 0;
        loop {
            if matches!(self.end, End::Ahead | End::Idle) {
                // The first read tops the carried bytes up to a block.
                let more = block_size.saturating_sub(buffer.len).max(block_size.div_ceil(2));
                self.read(buffer, more, stop);
            }
            if let Some(newline) = memrchr(b'\n', &buffer.filled()[searched..]) {
                let cut = searched + newline + 1;
                carry.extend_from_slice(&buffer.filled()[cut..]);
                buffer.len = cut;
                return Ok(Some(Cut::Lines));
            }
            searched = buffer.len;
            match self.end {
                End::Ahead => {}
                End::Idle => {
                    carry.extend_from_slice(buffer.filled());
                    return Ok(Some(Cut::Nothing));
                }
                End::Reached => return Ok((buffer.len > 0).then_some(Cut::Lines)),
                End::Failed | End::Stopped => return self.failed.take().map_or(Ok(None), Err),
            }
            // One more than the limit may still be the CR of a CRLF.
            if buffer.len > max_line.saturating_add(1) {
                return self.skip_line(carry, buffer, block_size, stop);
            }
        }
    }

    fn read(&mut self, buffer: &mut Buffer, more: usize, stop: &mut dyn FnMut() -> bool) {
        self.end = buffer.fill(&mut *self.source, more, stop).unwrap_or_else(|error| {
            self.failed = Some(error);
            End::Failed
        });
    }

    /// Reads to the end of a line that is too long, keeping none of it.
    fn skip_line(
        &mut self,
        carry: &mut Vec<u8>,
        buffer: &mut Buffer,
        block_size: usize,
        stop: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<Cut>> {
        let mut size = buffer.len as u64;
        while matches!(self.end, End::Ahead | End::Idle) {
            buffer.len = 0;
            self.read(buffer, block_size, stop);
            if let Some(newline) = memchr(b'\n', buffer.filled()) {
                size += newline as u64 + 1;
                carry.extend_from_slice(&buffer.filled()[newline + 1..]);
                return Ok(Some(Cut::TooLong { size }));
            }
            size += buffer.len as u64;
        }
        match self.end {
            End::Failed | End::Stopped => self.failed.take().map_or(Ok(None), Err),
            End::Ahead | End::Idle | End::Reached => Ok(Some(Cut::TooLong { size })),
        }
    }
}
