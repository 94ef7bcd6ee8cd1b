//! Where lines come from, and how they get their numbers.

use super::super::Reason;
use super::super::input::Input;
use super::super::lines::{Blocks, Body, Spare};
use super::super::meter::Gauge;
use super::super::report::Location;
use super::super::work::excerpt;
use super::running::{Fault, Held, Origin, Parcel, Running};
use crate::guard::guarded;
use crate::queue::{self, Receiver, Sender, TryRecvError};
use crate::rt::{self, Working};
use crate::semaphore::Semaphore;
use crate::swap::{Arc, thread};
use futures_core::Stream;
use std::cell::Cell;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc as Text;
use std::task::{Context, Poll};

/// Lines that wait for the first stage.
pub(super) const WAITING: NonZeroUsize = super::WAITING;
/// A source that is read is read by so many bytes at a time.
const BLOCK_SIZE: usize = 64 << 10;
/// Lines after which a source that is always ready lets others run.
const TURNS: u64 = 128;

/// An iterator as a stream that is always ready.
pub(super) struct Always<I>(pub(super) I);

// The iterator is not pinned.
impl<I> Unpin for Always<I> {}

impl<I: Iterator> Stream for Always<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// Numbers lines and sends them off.
struct Outlet {
    to: Sender<Parcel<Text<str>>>,
    window: Arc<Semaphore>,
    gauge: Text<Gauge>,
    number: u64,
    /// The next line.
    at: Location,
}

impl Outlet {
    fn new(
        running: &Running,
        gauge: Text<Gauge>,
        name: Text<str>,
    ) -> (Self, Receiver<Parcel<Text<str>>>) {
        let (to, from) = queue::bounded(WAITING);
        let at = Location { input: name, line: 1, offset: 0 };
        (Self { to, window: Arc::clone(&running.window), gauge, number: 0, at }, from)
    }

    fn parcel(&mut self, size: u64, body: Result<Text<str>, Fault>) -> Parcel<Text<str>> {
        let line = body.as_ref().map_or_else(|_| Text::default(), Text::clone);
        let origin = Origin { number: self.number, at: self.at.clone(), size, line };
        self.number += 1;
        self.at.line += 1;
        self.at.offset += size;
        Parcel { origin, body }
    }
}

/// A task that pulls a stream.
pub(super) fn stream<S>(
    running: &Running,
    gauge: Text<Gauge>,
    name: Text<str>,
    lines: S,
) -> Receiver<Parcel<Text<str>>>
where
    S: Stream<Item: AsRef<str>> + Send + 'static,
{
    let (outlet, from) = Outlet::new(running, gauge, name);
    let lines = running.hold(Box::pin(lines));
    running.scope.spawn(async move {
        pull(lines, || Fault::End, outlet).await;
        Ok(())
    });
    from
}

/// A task that receives from a queue.
pub(super) fn receiver<L: AsRef<str> + Send + 'static>(
    running: &Running,
    gauge: Text<Gauge>,
    name: Text<str>,
    lines: Receiver<L>,
) -> Receiver<Parcel<Text<str>>> {
    let how = lines.clone();
    let end = move || match how.try_recv() {
        Err(TryRecvError::Closed(closed)) if closed.cause().is_some() => Fault::Source(closed),
        _ => Fault::End,
    };
    let (outlet, from) = Outlet::new(running, gauge, name);
    let lines = running.hold(Box::pin(lines.into_stream()));
    running.scope.spawn(async move {
        pull(lines, end, outlet).await;
        Ok(())
    });
    from
}

/// `end` says how the lines ended, once they have.
async fn pull<S: Stream<Item: AsRef<str>>>(
    mut lines: Held<Pin<Box<S>>>,
    end: impl FnOnce() -> Fault,
    mut outlet: Outlet,
) {
    let mut end = Some(end);
    let gauge = Text::clone(&outlet.gauge);
    loop {
        // The permit comes before the pull: invariant 1.
        let Ok(permit) = outlet.window.acquire().await else { return };
        permit.forget();
        let busy = gauge.begin();
        let next = poll_fn(|context| {
            let polled = guarded(|| {
                let next = lines.as_mut().poll_next(context);
                next.map(|line| line.map(|line| Text::<str>::from(line.as_ref())))
            });
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(next)) => Poll::Ready(Ok(next)),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        let parcel = match next.await {
            Ok(Some(line)) => {
                busy.done();
                outlet.parcel(line.len() as u64 + 1, Ok(line))
            }
            Ok(None) => {
                let fault = end.take().map_or(Fault::End, |end| end());
                outlet.parcel(0, Err(fault))
            }
            Err(panic) => outlet.parcel(0, Err(Fault::Panicked { stage: gauge.name(), panic })),
        };
        let last = parcel.body.is_err();
        if outlet.to.send_async(parcel).await.is_err() || last {
            return;
        }
        if outlet.number.is_multiple_of(TURNS) {
            rt::yield_now().await;
        }
    }
}

/// A thread that reads inputs. When the run ends it may be waiting for the
/// window, which is closed, or for room in the queue, which has lost its
/// receivers; or for a read, and nobody waits for that.
pub(super) fn read<I>(
    running: &Running,
    gauge: Text<Gauge>,
    inputs: I,
    max_line: usize,
) -> Receiver<Parcel<Text<str>>>
where
    I: Iterator<Item = Input> + Send + 'static,
{
    let (outlet, from) = Outlet::new(running, gauge, Text::default());
    let keep_going = running.keep_going;
    let working = running.working();
    let name = "selvedge-source".to_owned();
    // If there is no thread, the outlet is gone, and no end was told.
    let _ = thread::Builder::new()
        .name(name)
        .spawn(move || blocks(inputs, max_line, keep_going, outlet, &working));
    from
}

fn blocks(
    inputs: impl Iterator<Item = Input>,
    max_line: usize,
    keep_going: bool,
    mut outlet: Outlet,
    working: &Working,
) {
    let gauge = Text::clone(&outlet.gauge);
    // What nothing has come from yet.
    let opened = Cell::new(None);
    let inputs = inputs.inspect(|input| opened.set(Some(Text::from(input.name()))));
    let last = guarded(|| {
        let spare = Spare::default();
        // Closed when the run is over: a line without an end is not read on.
        let window = Arc::clone(&outlet.window);
        let over = || window.is_closed();
        let blocks = Blocks::new(inputs, &spare, BLOCK_SIZE, max_line, over).keep_going(keep_going);
        for block in blocks {
            if block.first {
                opened.set(None);
                outlet.at = Location { input: block.input, line: 1, offset: 0 };
            }
            let sent = match block.body {
                Body::Lines(buffer) => {
                    let sent = buffer
                        .filled()
                        .split_inclusive(|&byte| byte == b'\n')
                        .try_for_each(|whole| send(&mut outlet, working, whole, max_line));
                    spare.give(buffer);
                    sent
                }
                Body::Idle => Ok(()),
                Body::TooLong => outlet.send_from(working, block.size, too_long(max_line)),
                Body::Failed(source) if keep_going => {
                    outlet.send_from(working, 0, Err(Fault::Input(source)))
                }
                Body::Failed(source) => return Some(Fault::Input(source)),
            };
            if sent.is_err() {
                return None;
            }
        }
        Some(Fault::End)
    });
    let fault = match last {
        Ok(None) => return,
        Ok(Some(fault)) => fault,
        Err(panic) => {
            if let Some(input) = opened.take() {
                outlet.at = Location { input, line: 1, offset: 0 };
            }
            Fault::Panicked { stage: gauge.name(), panic }
        }
    };
    // Nobody there to hear it: nobody waits for it.
    let _ = outlet.send_from(working, 0, Err(fault));
}

fn send(outlet: &mut Outlet, working: &Working, whole: &[u8], max_line: usize) -> Result<(), ()> {
    let line = whole.strip_suffix(b"\n").unwrap_or(whole);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let body = if line.len() > max_line {
        too_long(max_line)
    } else {
        match std::str::from_utf8(line) {
            Ok(line) => Ok(line.into()),
            Err(_) => Err(Fault::Rejected { reason: Reason::NotUtf8, excerpt: excerpt(line) }),
        }
    };
    outlet.send_from(working, whole.len() as u64, body)
}

fn too_long(max_line: usize) -> Result<Text<str>, Fault> {
    Err(Fault::Rejected { reason: Reason::TooLong(max_line), excerpt: String::new() })
}

impl Outlet {
    /// `Err` if nobody wants any more.
    fn send_from(
        &mut self,
        working: &Working,
        size: u64,
        body: Result<Text<str>, Fault>,
    ) -> Result<(), ()> {
        working.wait(self.window.acquire()).map_err(drop)?.forget();
        if size > 0 {
            self.gauge.pass();
        }
        let parcel = self.parcel(size, body);
        working.wait(self.to.send_async(parcel)).map_err(drop)
    }
}
