//! What a worker does with a block, and how the blocks' reports add up.

use super::Reason;
use super::lines::{Block, Body, Newlines, Spare};
use super::meter::Gauge;
use super::report::{Error, Location, Malformed, Progress, Report, Unreadable};
use crate::guard::guarded;
use crate::outcome::Panic;
use std::sync::Arc;

/// What is done with the lines of a block.
pub(super) trait Work: Sync {
    /// What a worker has in its hands while it is at the block.
    type Hand<'b>
    where
        Self: 'b;
    /// What comes of the block, to be taken in input order.
    type Part: Send;
    /// Why a line ends the run.
    type Failure: Send;

    /// Before the first line.
    fn begin<'b>(&'b self) -> Self::Hand<'b>;

    /// The next line, which is no longer than it may be.
    fn line<'b>(
        &'b self,
        hand: &mut Self::Hand<'b>,
        line: RawLine<'b>,
    ) -> Result<(), Refused<Self::Failure>>;

    /// After the last line, or after the one that fails the run. Not called
    /// after a panic.
    fn end<'b>(&'b self, hand: Self::Hand<'b>) -> Self::Part;
}

/// Why a line was not taken.
pub(super) enum Refused<E> {
    Malformed(Reason),
    Failed(E),
}

impl<E> From<Reason> for Refused<E> {
    #[inline]
    fn from(reason: Reason) -> Self {
        Self::Malformed(reason)
    }
}

/// A line in its block.
#[derive(Clone, Copy)]
pub(super) struct RawLine<'b> {
    /// Without the line ending.
    pub(super) bytes: &'b [u8],
    /// There if the whole block is UTF-8.
    text: Option<&'b str>,
    pub(super) input: &'b Arc<str>,
    /// Counted from one; from the start of the input, if lines are counted.
    pub(super) number: u64,
    /// Where it starts in its input.
    pub(super) offset: u64,
}

impl<'b> RawLine<'b> {
    #[inline]
    pub(super) fn text(&self) -> Result<&'b str, Reason> {
        match self.text {
            Some(text) => Ok(text),
            None => std::str::from_utf8(self.bytes).map_err(|_| Reason::NotUtf8),
        }
    }
}

/// What every worker shares.
#[derive(Debug)]
pub(super) struct Worker<'a, W> {
    pub(super) work: &'a W,
    pub(super) spare: &'a Spare,
    pub(super) gauge: &'a Gauge,
    pub(super) max_line: usize,
    pub(super) samples: usize,
}

/// What was found in a block. Lines count from the start of the block.
pub(super) struct BlockReport<W: Work> {
    first: bool,
    counts: Progress,
    samples: Vec<Malformed>,
    /// Where the block starts, if it has lines.
    start: Option<Location>,
    part: Option<W::Part>,
    failed: Option<(Location, Ended<W::Failure>)>,
    /// The input cannot be read beyond this.
    unreadable: Option<Unreadable>,
}

/// How a line ended the run.
pub(super) enum Ended<E> {
    Failed(E),
    Panicked(Panic),
}

impl<W: Work> Worker<'_, W> {
    /// Does the lines of a block.
    pub(super) fn work(&self, block: Block) -> BlockReport<W> {
        let Block { input, first, offset, size, before, body } = block;
        let mut report = BlockReport {
            first,
            counts: Progress::default(),
            samples: Vec::new(),
            start: None,
            part: None,
            failed: None,
            unreadable: None,
        };
        if matches!(body, Body::Idle) {
            return report;
        }
        let busy = self.gauge.begin();
        let samples = Vec::new();
        let mut found =
            Found { worker: self, input, offset, lines: 0, start: 0, malformed: 0, samples };
        report.start = Some(Location { line: 1, ..found.here() });
        match body {
            Body::Lines(buffer) => {
                // The stages are foreign code. What a panic leaves half done is
                // thrown away.
                let done = guarded(|| found.lines(buffer.filled(), before));
                let ended = match done {
                    Ok((part, failed)) => {
                        report.part = Some(part);
                        failed.map(Ended::Failed)
                    }
                    Err(panic) => Some(Ended::Panicked(panic)),
                };
                report.failed = ended.map(|ended| (found.here(), ended));
                self.spare.give(buffer);
            }
            Body::TooLong => {
                found.lines = 1;
                found.malformed(b"", Reason::TooLong(self.max_line));
            }
            Body::Failed(source) => {
                // It is in the line after those that were read.
                let at = Location { line: 1, ..found.here() };
                report.unreadable = Some(Unreadable { at, source });
            }
            Body::Idle => {}
        }
        busy.done();
        let Found { lines, malformed, samples, .. } = found;
        report.counts = Progress { bytes: size, lines, malformed };
        report.samples = samples;
        report
    }
}

/// What has been found in a block so far.
struct Found<'a, 'w, W> {
    worker: &'a Worker<'w, W>,
    input: Arc<str>,
    offset: u64,
    /// Lines begun: the number of the current one.
    lines: u64,
    /// Where the current line starts in the block.
    start: usize,
    malformed: u64,
    samples: Vec<Malformed>,
}

impl<W: Work> Found<'_, '_, W> {
    /// What comes of the lines, up to the one that fails the run, if one does.
    fn lines(&mut self, bytes: &[u8], before: u64) -> (W::Part, Option<W::Failure>) {
        // One look at the whole block instead of one at each line.
        let whole = std::str::from_utf8(bytes).ok();
        let work = self.worker.work;
        let input = Arc::clone(&self.input);
        let mut hand = work.begin();
        let mut ends = Newlines::new(bytes);
        let mut rest = bytes.last().is_some_and(|&last| last != b'\n').then_some(bytes.len());
        // Not a chain of the two, which is not always inlined.
        while let Some(end) = ends.next().or_else(|| rest.take()) {
            self.lines += 1;
            let start = self.start;
            let line_end = if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
            let done = if line_end - start > self.worker.max_line {
                Err(Refused::Malformed(Reason::TooLong(self.worker.max_line)))
            } else {
                let line = RawLine {
                    bytes: &bytes[start..line_end],
                    text: whole.map(|text| &text[start..line_end]),
                    input: &input,
                    number: before + self.lines,
                    offset: self.offset + start as u64,
                };
                work.line(&mut hand, line)
            };
            match done {
                Ok(()) => {}
                Err(Refused::Malformed(reason)) => self.malformed(&bytes[start..line_end], reason),
                Err(Refused::Failed(failure)) => return (work.end(hand), Some(failure)),
            }
            self.start = end + 1;
        }
        (work.end(hand), None)
    }
}

impl<W> Found<'_, '_, W> {
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

/// Why a run has come to no end.
pub(super) enum Broken<E> {
    /// A line failed it.
    Failed { at: Location, failure: E },
    /// Any other failure.
    Run(Error),
}

/// A failure, and the line from which on nothing was taken, if that is known.
pub(super) struct Stuck<E> {
    pub(super) broken: Broken<E>,
    pub(super) next: Option<Location>,
}

impl Sum {
    pub(super) fn new(at_most: usize, malformed_at_most: Option<u64>, keep_going: bool) -> Self {
        let samples = Vec::new();
        let unreadable = keep_going.then(Vec::new);
        Self { samples, at_most, malformed_at_most, unreadable, read: Progress::default(), base: 0 }
    }

    /// Adds the next block, and hands what came of its lines to `take`.
    pub(super) fn add<W: Work>(
        &mut self,
        block: BlockReport<W>,
        take: &mut impl FnMut(W::Part),
    ) -> Result<Progress, Box<Stuck<W::Failure>>> {
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
        let before = self.read;
        self.read.bytes += block.counts.bytes;
        self.read.lines += block.counts.lines;
        self.read.malformed += block.counts.malformed;
        let start = block.start.map(from_start);
        // Of a block with a panic only what is before it was counted.
        if let Some(limit) = self.malformed_at_most
            && self.read.malformed > limit
        {
            let mut samples = std::mem::take(&mut self.samples);
            // How many more this block has depends on its size.
            samples.truncate(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1));
            self.read = before;
            let broken = Broken::Run(Error::TooManyMalformed { limit, samples });
            return Err(Box::new(Stuck { broken, next: start }));
        }
        match block.failed {
            Some((at, Ended::Failed(failure))) => {
                let at = from_start(at);
                // What is before that line was taken, and it was not.
                self.read.lines -= 1;
                let first = start.map_or(0, |start| start.offset);
                self.read.bytes = before.bytes + (at.offset - first);
                block.part.into_iter().for_each(take);
                let next = Some(at.clone());
                return Err(Box::new(Stuck { broken: Broken::Failed { at, failure }, next }));
            }
            Some((at, Ended::Panicked(panic))) => {
                self.read = before;
                let at = from_start(at);
                let broken = Broken::Run(Error::Panicked { at, stage: None, panic });
                return Err(Box::new(Stuck { broken, next: start }));
            }
            None => block.part.into_iter().for_each(take),
        }
        if let Some(Unreadable { at, source }) = block.unreadable {
            let unreadable = Unreadable { at: from_start(at), source };
            match &mut self.unreadable {
                Some(all) => all.push(unreadable),
                None => {
                    let next = Some(unreadable.at.clone());
                    let broken = Broken::Run(unreadable.into());
                    return Err(Box::new(Stuck { broken, next }));
                }
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
