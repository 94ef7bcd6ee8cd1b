//! One batch in a worker: taking arguments, running, writing results.

use super::codec::{self, Portable, Unencoded};
use super::outbox::{Label, Outbox};
use super::progress::{Next, Progress};
use super::region::Header;
use super::sheet::{Place, Reader};
use super::wire::{self, INLINE, Kind, RESULT_HEAD};
use super::{clock, worker};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// What the pool's tasks share, decoded once in each worker.
static CONTEXT: OnceLock<Box<dyn Any + Send + Sync>> = OnceLock::new();

/// A batch that is being run.
#[derive(Debug)]
pub(crate) struct Lane<'w, 'o> {
    header: &'w Header,
    outbox: &'w mut Outbox<'o>,
    reader: &'w mut Reader,
    seq: u64,
    last: Progress,
    arguments: &'w [u8],
    argument_at: usize,
    /// Records left of the function that runs.
    left: u32,
    results: &'w mut [u8],
    result_at: usize,
    /// The argument of the only task, if it came in a file.
    file: Option<OwnedFd>,
    options: Options,
    over: bool,
}

/// What a worker does about each task.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Note when it starts.
    pub(crate) stamp: bool,
    /// Longest result, in bytes: a longer one is the task's error.
    pub(crate) largest: usize,
    /// Forget earlier failures of allocation, to know this one's.
    pub(crate) watch_memory: bool,
}

enum Input<'w> {
    Here(&'w [u8]),
    File(OwnedFd, Place),
    /// It came in a file, for which there was no descriptor.
    Lost,
}

impl<'w, 'o> Lane<'w, 'o> {
    pub(crate) fn new(
        header: &'w Header,
        (outbox, reader): (&'w mut Outbox<'o>, &'w mut Reader),
        seq: u64,
        (arguments, results): (&'w [u8], &'w mut [u8]),
        file: Option<OwnedFd>,
        options: Options,
    ) -> Self {
        header.results.store(0, Ordering::Relaxed);
        let last = header.word.read();
        Self {
            header,
            outbox,
            reader,
            seq,
            last,
            arguments,
            argument_at: 0,
            left: 0,
            results,
            result_at: 0,
            file,
            options,
            over: false,
        }
    }

    /// Runs the batch to its end.
    pub(crate) fn run(&mut self) {
        while self.last.started < self.last.limit {
            let Some((entry, count)) = wire::group_at(self.arguments, self.argument_at) else {
                worker::give_up("fewer arguments than tasks");
            };
            self.argument_at += wire::GROUP;
            self.left = count;
            match super::ship::entry(entry) {
                Some(entry) => entry(self),
                None => worker::give_up("a function that is not in this program"),
            }
        }
        if !self.over {
            // Finishes the last one.
            self.advance();
        }
    }

    fn advance(&mut self) -> bool {
        if self.options.stamp {
            self.header.since.store(clock::now(), Ordering::Relaxed);
        }
        if self.options.watch_memory {
            worker::forget_errno();
        }
        match self.header.word.advance(&mut self.last) {
            Next::Run(_) => true,
            Next::Over => {
                self.over = true;
                false
            }
            Next::Condemned => worker::wait_for_the_end(),
        }
    }

    fn next(&mut self) -> Option<Input<'w>> {
        if self.left == 0 || !self.advance() {
            return None;
        }
        self.left -= 1;
        let Ok((kind, body, next)) = wire::record(self.arguments, self.argument_at) else {
            worker::give_up("arguments that are cut off");
        };
        self.argument_at = next;
        match (kind, self.file.take()) {
            (Kind::Elsewhere, Some(file)) => match wire::place_at(body) {
                Some(place) => Some(Input::File(file, place)),
                None => worker::give_up("an argument of no length"),
            },
            (Kind::Elsewhere, None) => Some(Input::Lost),
            (Kind::Value, _) => Some(Input::Here(body)),
            _ => worker::give_up("an argument of no kind"),
        }
    }

    /// The pool's context; of a pool without one, `()`.
    pub(crate) fn context<C: 'static>() -> &'static C {
        let context = CONTEXT.get_or_init(|| Box::new(()));
        match context.downcast_ref() {
            Some(context) => context,
            None => worker::give_up("a context of another type"),
        }
    }

    /// Runs the tasks of one function.
    pub(crate) fn run_all<A, R>(&mut self, f: impl Fn(A) -> R)
    where
        A: Portable,
        R: Portable,
    {
        while let Some(input) = self.next() {
            let start = self.result_at;
            let run = AssertUnwindSafe(|| {
                let item = match input {
                    Input::Here(bytes) => codec::decode(bytes),
                    Input::File(file, place) => self.reader.read(&file, place),
                    Input::Lost => {
                        Err("its worker has no file descriptor left to receive it with".to_owned())
                    }
                };
                match item {
                    Ok(item) => self.put_value(&f(item)),
                    Err(why) => self.put(Kind::Undecoded, why.as_bytes()),
                }
            });
            if let Err(payload) = catch_unwind(run) {
                let text = worker::describe_panic(&*payload);
                // Dropping a payload runs foreign code, and may panic in turn.
                if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                    std::mem::forget(another);
                }
                // One record a task: a result whose destructor panicked gives
                // way to the panic. It is not published before `advance`.
                self.result_at = start;
                self.put(Kind::Panic, text.as_bytes());
            }
        }
    }

    /// Decodes the context, which came in a file; where it lies there is the
    /// argument.
    pub(crate) fn read_context<C: Portable + Send + Sync>(&mut self) {
        let context = match (self.file.take(), wire::place_at(self.arguments)) {
            (Some(file), Some(place)) => self.reader.read::<C>(&file, place),
            _ => Err("it did not come".to_owned()),
        };
        match context {
            Ok(context) => drop(CONTEXT.set(Box::new(context))),
            Err(why) => panic!("the context could not be decoded: {why}"),
        }
    }

    /// What is left for this record when each of the others has its head.
    fn room(&self) -> usize {
        let others = (self.last.limit - self.last.started) as usize + 1;
        (self.results.len() - self.result_at).saturating_sub(others * RESULT_HEAD).min(INLINE)
    }

    #[inline]
    fn put_value<R: Portable>(&mut self, value: &R) {
        let room = self.room().min(self.options.largest);
        let start = self.result_at + RESULT_HEAD;
        let encoded = self
            .results
            .get_mut(start..start + room)
            .map_or(Err(Unencoded::NoRoom), |room| codec::encode_to_slice(value, room));
        match encoded {
            Ok(len) => self.commit(Kind::Value, len),
            Err(Unencoded::NoRoom) => {
                let label = self.label(Kind::Value);
                let sent = self.outbox.send_value(label, value, self.options.largest);
                self.sent(sent);
            }
            Err(Unencoded::Refused(why)) => self.put(Kind::Unencoded, why.as_bytes()),
        }
    }

    /// A text; a very long one is cut.
    fn put(&mut self, kind: Kind, text: &[u8]) {
        let bytes = &text[..text.len().min(INLINE)];
        let start = self.result_at + RESULT_HEAD;
        if bytes.len() > self.room() {
            return match self.outbox.send_text(self.label(kind), bytes) {
                Ok(()) => self.commit(Kind::Elsewhere, 0),
                Err(_) => std::process::exit(worker::LOST),
            };
        }
        self.results[start..start + bytes.len()].copy_from_slice(bytes);
        self.commit(kind, bytes.len());
    }

    fn label(&self, kind: Kind) -> Label {
        Label { seq: self.seq, index: self.last.started - 1, kind }
    }

    /// Notes in the record's place what became of it.
    fn sent(&mut self, sent: Result<(), Unencoded>) {
        match sent {
            Ok(()) => self.commit(Kind::Elsewhere, 0),
            Err(error) => {
                let why = match error {
                    Unencoded::Refused(why) => why,
                    Unencoded::NoRoom => format!(
                        "it takes more than the {} bytes that the pool allows (`largest_result`)",
                        self.options.largest
                    ),
                };
                self.put(Kind::Unencoded, why.as_bytes());
            }
        }
    }

    /// The record is complete; `advance` publishes it.
    fn commit(&mut self, kind: Kind, len: usize) {
        let head = wire::result_head(kind, len, self.last.started - 1);
        self.results[self.result_at..][..RESULT_HEAD].copy_from_slice(&head);
        self.result_at += RESULT_HEAD + len;
        self.header.results.store(self.result_at as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::line::Line;
    use crate::process::region::Region;
    use crate::process::{ship, socket};

    /// Where the arguments end says nothing of where the batch does: with room
    /// for another group behind them, with some, and with none.
    #[test]
    fn a_batch_is_over_wherever_its_arguments_end() {
        let (region, _memory) = Region::create().unwrap();
        let (_theirs, ours) = socket::pair().unwrap();
        let line = Line::new(ours);
        let job = ship::plain(|n: u8| n + 1).unwrap();
        for (behind, filler) in (0..=2 * wire::GROUP).flat_map(|n| [(n, 0), (n, 0xff)]) {
            let mut arguments = wire::group(job.entry, 2).to_vec();
            for n in [1_u8, 2] {
                arguments.extend(wire::head(Kind::Value, 1));
                arguments.push(n);
            }
            arguments.resize(arguments.len() + behind, filler);
            let header = region.header(0);
            header.word.arm(2);
            let mut outbox = Outbox::new(&line, header);
            let ends = (&mut outbox, &mut Reader::default());
            let areas = (&arguments[..], &mut [0; 256][..]);
            Lane::new(header, ends, 1, areas, None, Options { largest: 100, ..Options::default() })
                .run();
            let progress = header.word.read();
            assert!(progress.is_over() && progress.finished() == 2, "{behind} bytes behind");
        }
    }
}
