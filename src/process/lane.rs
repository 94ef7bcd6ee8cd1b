//! One batch in a worker: taking arguments, running, writing results.

use super::codec::{self, Portable, Unencoded};
use super::progress::{Next, Progress};
use super::region::{self, Header};
use super::wire::{self, FromWorker, HEAD, INLINE, Kind};
use super::{clock, socket, worker};
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// What the pool's tasks share, decoded once in each worker.
static CONTEXT: OnceLock<Box<dyn Any + Send + Sync>> = OnceLock::new();

/// A batch that is being run.
#[derive(Debug)]
pub(crate) struct Lane<'w> {
    header: &'w Header,
    socket: &'w OwnedFd,
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
    File(OwnedFd),
}

impl<'w> Lane<'w> {
    pub(crate) fn new(
        header: &'w Header,
        socket: &'w OwnedFd,
        seq: u64,
        (arguments, results): (&'w [u8], &'w mut [u8]),
        file: Option<OwnedFd>,
        options: Options,
    ) -> Self {
        header.results.store(0, Ordering::Relaxed);
        let last = header.word.read();
        Self {
            header,
            socket,
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
        while !self.over {
            let Some((entry, count)) = wire::group_at(self.arguments, self.argument_at) else {
                break;
            };
            if self.last.is_over() || self.last.started >= self.last.limit {
                // Finishes the last one.
                self.advance();
                break;
            }
            self.argument_at += wire::GROUP;
            self.left = count;
            match super::ship::entry(entry) {
                Some(entry) => entry(self),
                None => worker::give_up("a function that is not in this program"),
            }
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
            (Kind::Elsewhere, Some(file)) => Some(Input::File(file)),
            (Kind::Value, _) => Some(Input::Here(body)),
            _ => worker::give_up("an argument of no kind"),
        }
    }

    /// Runs the tasks of one function.
    pub(crate) fn run_all<C, A, R>(&mut self, f: impl Fn(&C, A) -> R)
    where
        C: Send + Sync + 'static,
        A: Portable,
        R: Portable,
    {
        let context = CONTEXT.get_or_init(|| Box::new(()));
        let Some(context) = context.downcast_ref::<C>() else {
            worker::give_up("a context of another type");
        };
        while let Some(input) = self.next() {
            let run = AssertUnwindSafe(|| {
                let item = match input {
                    Input::Here(bytes) => codec::decode(bytes),
                    Input::File(file) => read(&file).and_then(codec::from_vec),
                };
                match item {
                    Ok(item) => self.put_value(&f(context, item)),
                    Err(why) => self.put(Kind::Undecoded, why.as_bytes()),
                }
            });
            if let Err(payload) = catch_unwind(run) {
                let text = worker::describe_panic(&*payload);
                // Dropping a payload runs foreign code.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                self.put(Kind::Panic, text.as_bytes());
            }
        }
    }

    /// Decodes the context, which came in a file.
    pub(crate) fn read_context<C: Portable + Send + Sync>(&mut self) {
        let context = self
            .file
            .take()
            .ok_or_else(|| "it did not come".to_owned())
            .and_then(|file| read(&file))
            .and_then(codec::from_vec::<C>);
        match context {
            Ok(context) => drop(CONTEXT.set(Box::new(context))),
            Err(why) => panic!("the context could not be decoded: {why}"),
        }
    }

    /// What is left for this record when each of the others has its head.
    fn room(&self) -> usize {
        let others = (self.last.limit - self.last.started) as usize + 1;
        (self.results.len() - self.result_at).saturating_sub(others * HEAD).min(INLINE)
    }

    #[inline]
    fn put_value<R: Portable>(&mut self, value: &R) {
        let room = self.room().min(self.options.largest);
        let start = self.result_at + HEAD;
        let encoded = self
            .results
            .get_mut(start..start + room)
            .map_or(Err(Unencoded::NoRoom), |room| codec::encode_to_slice(value, room));
        match encoded {
            Ok(len) => self.commit(Kind::Value, len),
            Err(Unencoded::NoRoom) => match codec::as_bytes(value) {
                Some(bytes) if bytes.len() > self.options.largest => self.put_too_large(),
                Some(bytes) => self.put_elsewhere(Kind::Value, bytes),
                None => {
                    let mut bytes = Vec::new();
                    match codec::encode_to_vec(value, &mut bytes, self.options.largest) {
                        Ok(()) => self.put_elsewhere(Kind::Value, &bytes),
                        Err(Unencoded::NoRoom) => self.put_too_large(),
                        Err(Unencoded::Refused(why)) => self.put(Kind::Unencoded, why.as_bytes()),
                    }
                }
            },
            Err(Unencoded::Refused(why)) => self.put(Kind::Unencoded, why.as_bytes()),
        }
    }

    #[cold]
    fn put_too_large(&mut self) {
        let why = format!(
            "it takes more than the {} bytes that the pool allows (`largest_result`)",
            self.options.largest
        );
        self.put(Kind::Unencoded, why.as_bytes());
    }

    /// A text; a very long one is cut.
    fn put(&mut self, kind: Kind, text: &[u8]) {
        let bytes = &text[..text.len().min(INLINE)];
        let start = self.result_at + HEAD;
        if bytes.len() > self.room() {
            return self.put_elsewhere(kind, bytes);
        }
        self.results[start..start + bytes.len()].copy_from_slice(bytes);
        self.commit(kind, bytes.len());
    }

    fn put_elsewhere(&mut self, kind: Kind, bytes: &[u8]) {
        let message = wire::packet(&FromWorker::Elsewhere {
            seq: self.seq,
            index: self.last.started - 1,
            kind: kind as u8,
            len: bytes.len() as u64,
        });
        let sent = if bytes.len() <= INLINE {
            socket::send(self.socket, &message, bytes, &[], true)
        } else {
            region::write_file(bytes)
                .and_then(|file| socket::send(self.socket, &message, &[], &[file.as_fd()], true))
        };
        match sent {
            Ok(()) => self.commit(Kind::Elsewhere, 0),
            Err(error) => {
                let why = format!("{} bytes could not be sent: {error}", bytes.len());
                self.put(Kind::Unencoded, &why.as_bytes()[..why.len().min(self.room())]);
            }
        }
    }

    /// The record is complete; `advance` publishes it.
    fn commit(&mut self, kind: Kind, len: usize) {
        self.results[self.result_at..][..HEAD].copy_from_slice(&wire::head(kind, len));
        self.result_at += HEAD + len;
        self.header.results.store(self.result_at as u64, Ordering::Relaxed);
    }
}

fn read(file: &OwnedFd) -> Result<Vec<u8>, String> {
    let len = rustix::fs::fstat(file).map_err(|error| error.to_string())?.st_size as u64;
    region::read_file(file, len).map_err(|error| error.to_string())
}
