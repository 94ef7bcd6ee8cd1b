//! What a worker does with a block, and how the blocks' reports add up.

use super::lines::{Block, Body, Newlines, Spare};
use super::meter::Gauge;
use super::report::{Error, Location, Malformed, Progress, Report, Unreadable};
use super::totals::{Adder, Gatherer};
use super::{Parsed, Reason, Record};
use crate::guard::guarded;
use crate::outcome::Panic;
use std::sync::Arc;

/// The stages, and what every worker shares.
#[derive(Debug)]
pub(super) struct Worker<'a, P, T> {
    pub(super) parse: &'a P,
    pub(super) transform: &'a T,
    pub(super) gatherer: &'a Gatherer,
    pub(super) spare: &'a Spare,
    pub(super) gauge: &'a Gauge,
    pub(super) max_line: usize,
    pub(super) samples: usize,
}

/// What was found in a block. Lines count from the start of the block.
#[derive(Debug)]
pub(super) struct BlockReport {
    first: bool,
    counts: Progress,
    samples: Vec<Malformed>,
    panicked: Option<(Location, Panic)>,
    /// The input cannot be read beyond this.
    unreadable: Option<Unreadable>,
}

impl BlockReport {
    /// Of a block without a line or a failure.
    fn nothing() -> Self {
        let (first, counts) = (false, Progress::default());
        Self { first, counts, samples: Vec::new(), panicked: None, unreadable: None }
    }
}

impl<P, T> Worker<'_, P, T>
where
    P: for<'r> Fn(&'r str) -> Parsed<'r>,
    T: for<'r> Fn(Record<'r>) -> Parsed<'r>,
{
    /// Parses, transforms and adds the lines of a block.
    pub(super) fn work(&self, block: Block) -> BlockReport {
        if matches!(block.body, Body::Idle) {
            return BlockReport::nothing();
        }
        let busy = self.gauge.begin();
        let Block { input, first, offset, size, body } = block;
        let mut found = Found {
            worker: self,
            input,
            offset,
            lines: 0,
            start: 0,
            malformed: 0,
            samples: Vec::new(),
        };
        let ended = match &body {
            // The stages are foreign code. What a panic leaves half done is
            // thrown away with the run.
            Body::Lines(buffer) => guarded(|| found.lines(buffer.filled())),
            Body::TooLong => {
                found.lines = 1;
                found.malformed(b"", Reason::TooLong(self.max_line));
                Ok(())
            }
            Body::Failed(_) | Body::Idle => Ok(()),
        };
        let panicked = ended.err().map(|panic| (found.here(), panic));
        let mut unreadable = None;
        match body {
            Body::Lines(buffer) => self.spare.give(buffer),
            Body::TooLong | Body::Idle => {}
            Body::Failed(source) => {
                // It is in the line after those that were read.
                let at = Location { line: 1, ..found.here() };
                unreadable = Some(Unreadable { at, source });
            }
        }
        busy.done();
        let counts = Progress { bytes: size, lines: found.lines, malformed: found.malformed };
        BlockReport { first, counts, samples: found.samples, panicked, unreadable }
    }
}

/// What has been found in a block so far.
struct Found<'a, 'w, P, T> {
    worker: &'a Worker<'w, P, T>,
    input: Arc<str>,
    offset: u64,
    /// Lines begun: the number of the current one.
    lines: u64,
    /// Where the current line starts in the block.
    start: usize,
    malformed: u64,
    samples: Vec<Malformed>,
}

impl<P, T> Found<'_, '_, P, T>
where
    P: for<'r> Fn(&'r str) -> Parsed<'r>,
    T: for<'r> Fn(Record<'r>) -> Parsed<'r>,
{
    fn lines(&mut self, bytes: &[u8]) {
        // One look at the whole block instead of one at each line.
        let whole = std::str::from_utf8(bytes).ok();
        let mut adder = self.worker.gatherer.adder();
        let mut batch = Adder::batch();
        let ends = Newlines::new(bytes);
        let rest = bytes.last().is_some_and(|&last| last != b'\n').then_some(bytes.len());
        for end in ends.chain(rest) {
            self.lines += 1;
            let start = self.start;
            let line_end = if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
            let record = match whole {
                Some(text) => self.record(&text[start..line_end]),
                None => std::str::from_utf8(&bytes[start..line_end])
                    .map_err(|_| self.not_text(line_end - start))
                    .and_then(|line| self.record(line)),
            };
            match record {
                Ok(Record { key, value }) => adder.add(&mut batch, key, value),
                Err(reason) => self.malformed(&bytes[start..line_end], reason),
            }
            self.start = end + 1;
        }
        adder.done(batch);
    }

    #[inline]
    fn record<'r>(&self, line: &'r str) -> Parsed<'r> {
        if line.len() > self.worker.max_line {
            return Err(Reason::TooLong(self.worker.max_line));
        }
        (self.worker.transform)((self.worker.parse)(line)?)
    }

    fn not_text(&self, len: usize) -> Reason {
        // A line that was skipped was not looked at: too long comes first.
        if len > self.worker.max_line {
            Reason::TooLong(self.worker.max_line)
        } else {
            Reason::NotUtf8
        }
    }
}

impl<P, T> Found<'_, '_, P, T> {
    fn here(&self) -> Location {
        Location {
            input: Arc::clone(&self.input),
            line: self.lines,
            offset: self.offset + self.start as u64,
        }
    }

    #[cold]
    fn malformed(&mut self, line: &[u8], reason: Reason) {
        self.malformed += 1;
        if self.samples.len() < self.worker.samples {
            let excerpt = match reason {
                // The same whether or not the line was held.
                Reason::TooLong(_) => String::new(),
                _ => excerpt(line),
            };
            self.samples.push(Malformed { at: self.here(), reason, excerpt });
        }
    }
}

/// How much of a line is quoted, in characters.
const EXCERPT: usize = 60;

pub(super) fn excerpt(line: &[u8]) -> String {
    // A character is four bytes at most.
    let head = &line[..line.len().min(EXCERPT * 4)];
    let mut excerpt = String::new();
    for chunk in head.utf8_chunks() {
        excerpt.extend(chunk.valid().escape_debug());
        excerpt.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    if let Some((cut, _)) = excerpt.char_indices().nth(EXCERPT) {
        excerpt.truncate(cut);
    }
    excerpt
}

/// The blocks' reports, added up in input order.
#[derive(Debug)]
pub(super) struct Sum {
    samples: Vec<Malformed>,
    at_most: usize,
    malformed_at_most: Option<u64>,
    /// Inputs that could not be read, of a run that keeps going.
    unreadable: Option<Vec<Unreadable>>,
    read: Progress,
    /// Lines of the current input before the current block.
    base: u64,
}

impl Sum {
    pub(super) fn new(at_most: usize, malformed_at_most: Option<u64>, keep_going: bool) -> Self {
        let samples = Vec::new();
        let unreadable = keep_going.then(Vec::new);
        Self { samples, at_most, malformed_at_most, unreadable, read: Progress::default(), base: 0 }
    }

    /// Adds the next block.
    pub(super) fn add(&mut self, block: BlockReport) -> Result<Progress, Error> {
        if block.first {
            self.base = 0;
        }
        let base = self.base;
        let from_start = |at: Location| Location { line: base + at.line, ..at };
        let room = self.at_most - self.samples.len();
        self.samples.extend(
            block
                .samples
                .into_iter()
                .take(room)
                .map(|it| Malformed { at: from_start(it.at), ..it }),
        );
        self.base += block.counts.lines;
        self.read.bytes += block.counts.bytes;
        self.read.lines += block.counts.lines;
        self.read.malformed += block.counts.malformed;
        // Of a block with a panic only what is before it was counted.
        if let Some(limit) = self.malformed_at_most
            && self.read.malformed > limit
        {
            let mut samples = std::mem::take(&mut self.samples);
            // How many more this block has depends on its size.
            samples.truncate(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1));
            return Err(Error::TooManyMalformed { limit, samples });
        }
        if let Some((at, panic)) = block.panicked {
            return Err(Error::Panicked { at: from_start(at), stage: None, panic });
        }
        if let Some(Unreadable { at, source }) = block.unreadable {
            let unreadable = Unreadable { at: from_start(at), source };
            match &mut self.unreadable {
                Some(all) => all.push(unreadable),
                None => return Err(unreadable.into()),
            }
        }
        Ok(self.read)
    }

    pub(super) fn into_report(self) -> Report<()> {
        let Self { read, samples, unreadable, .. } = self;
        let unreadable = unreadable.unwrap_or_default();
        Report { totals: (), read, samples, unreadable, stopped: None, stages: Vec::new() }
    }
}
