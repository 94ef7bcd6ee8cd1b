//! Feeding a source to a run, and taking the outcomes in the source's order.

use crate::link::{Inner, Order};
use crate::run::Run;
use crate::wire::Ended;
use selvedge::outcome::{Outcome, Panic};
use selvedge::process::portable;
use selvedge::process::{Failed, Fault, Portable, Report};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Reports of one call.
pub(crate) struct Reports<I, R> {
    call: Call,
    source: I,
    dry: bool,
    result: PhantomData<fn() -> R>,
}

/// A run that ends with this.
struct Call {
    inner: Arc<Inner>,
    run: Arc<Run>,
}

enum Step<R> {
    Report(Report<R>),
    End,
    Wait,
}

impl<I, R> Reports<I, R> {
    pub(crate) fn new(inner: Arc<Inner>, run: Arc<Run>, source: I) -> Self {
        Self { call: Call { inner, run }, source, dry: false, result: PhantomData }
    }
}

impl<I, R> Reports<I, R>
where
    I: Iterator<Item: Portable>,
    R: Portable,
{
    /// Pulls what there is room for, and gives the next report if it is there.
    fn step(&mut self) -> Step<R> {
        loop {
            let (room, hungry) = self.call.run.room();
            if room && hungry && !self.dry {
                self.pull();
                continue;
            }
            if let Some((index, ended)) = self.call.run.next() {
                return Step::Report(report(index, ended));
            }
            if room && !self.dry {
                self.pull();
                continue;
            }
            if self.dry && self.call.run.is_empty() {
                return Step::End;
            }
            self.call.run.pump(&self.call.inner, true);
            return Step::Wait;
        }
    }

    fn pull(&mut self) {
        let Some(item) = self.source.next() else {
            self.dry = true;
            self.call.run.source_ended();
            return;
        };
        match encode(&item, self.call.inner.largest) {
            Ok(bytes) => self.call.run.push(&self.call.inner, bytes),
            Err(why) => self.call.run.push_done(Ended { attempt: 0, outcome: Err(why) }),
        }
    }

    fn next_until(&mut self, until: Option<Instant>) -> Step<R> {
        loop {
            match self.step() {
                Step::Wait => {}
                other => return other,
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Step::Wait;
            }
            self.call.run.wait(self.dry, until);
        }
    }

    fn poll(&mut self, waker: &Waker) -> Poll<Option<Report<R>>> {
        loop {
            match self.step() {
                Step::Report(report) => return Poll::Ready(Some(report)),
                Step::End => return Poll::Ready(None),
                Step::Wait if self.call.run.wake_later(self.dry, waker) => return Poll::Pending,
                Step::Wait => {}
            }
        }
    }
}

impl<I, R> Iterator for Reports<I, R>
where
    I: Iterator<Item: Portable>,
    R: Portable,
{
    type Item = Report<R>;

    fn next(&mut self) -> Option<Report<R>> {
        match self.next_until(None) {
            Step::Report(report) => Some(report),
            Step::End => None,
            Step::Wait => unreachable!("there is no deadline"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.inner.runs().remove(&self.run.id);
        let (places, objects) = self.run.end();
        if !places.is_empty() || !objects.is_empty() {
            self.inner.order(Order::Forget { run: self.run.id, places, objects });
        }
    }
}

/// An item as it travels. Encoding it runs code of others.
fn encode<T: Portable>(
    item: &T,
    largest: usize,
) -> Result<Vec<u8>, Outcome<std::convert::Infallible, Fault>> {
    let refused = |why: String| Outcome::Err(Fault::Encode(why.into()));
    match catch_unwind(AssertUnwindSafe(|| portable::encode(item))) {
        Ok(Ok(bytes)) if bytes.len() <= largest => Ok(bytes),
        Ok(Ok(bytes)) => Err(refused(format!(
            "the item: {} bytes, and the cluster takes {largest} at most (`Builder::largest`)",
            bytes.len()
        ))),
        Ok(Err(Fault::Encode(why))) => Err(refused(format!("the item: {why}"))),
        Ok(Err(fault)) => Err(Outcome::Err(fault)),
        Err(payload) => Err(Outcome::Panicked(Panic::from_payload(&*payload))),
    }
}

fn report<R: Portable>(index: u64, ended: Ended) -> Report<R> {
    let (index, attempt) = (index as usize, ended.attempt);
    let bytes = match ended.outcome {
        Ok(bytes) => bytes,
        Err(outcome) => return Failed { index, attempt, outcome }.widen(),
    };
    let outcome = match catch_unwind(AssertUnwindSafe(|| portable::decode::<R>(&bytes))) {
        Ok(Ok(value)) => Outcome::Ok(value),
        Ok(Err(Fault::Decode(why))) => {
            Outcome::Err(Fault::Decode(format!("the result: {why}").into()))
        }
        Ok(Err(fault)) => Outcome::Err(fault),
        Err(payload) => Outcome::Panicked(Panic::from_payload(&*payload)),
    };
    Report { index, attempt, outcome }
}

/// The reports of a function over a source, in the source's order: an iterator
/// that blocks, and a [`Stream`](futures_util::Stream) that does not. From
/// [`Cluster::stream`](crate::Cluster::stream).
#[must_use = "nothing is pulled from the source before a report is asked for"]
pub struct Stream<I, R> {
    reports: Result<Reports<I, R>, Option<Failed>>,
}

impl<I, R> fmt::Debug for Stream<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl<I, R> Stream<I, R> {
    pub(crate) fn new(reports: Result<Reports<I, R>, Failed>) -> Self {
        Self { reports: reports.map_err(Some) }
    }
}

impl<I, R> Iterator for Stream<I, R>
where
    I: Iterator<Item: Portable>,
    R: Portable,
{
    type Item = Report<R>;

    fn next(&mut self) -> Option<Report<R>> {
        match &mut self.reports {
            Ok(reports) => reports.next(),
            Err(failed) => failed.take().map(Failed::widen),
        }
    }
}

// The source is never pinned: it is pulled through `&mut`.
impl<I, R> Unpin for Stream<I, R> {}

impl<I, R> futures_util::Stream for Stream<I, R>
where
    I: Iterator<Item: Portable>,
    R: Portable,
{
    type Item = Report<R>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Report<R>>> {
        match &mut self.reports {
            Ok(reports) => reports.poll(context.waker()),
            Err(failed) => Poll::Ready(failed.take().map(Failed::widen)),
        }
    }
}

/// A task that was submitted: wait for it, or await it. Dropping the handle
/// takes the task back if it has not begun.
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "a task whose handle is dropped is taken back"]
pub struct Handle<R> {
    stream: Stream<Taken, R>,
}

/// The item was taken already: a handle has no source.
type Taken = std::iter::Empty<u8>;

impl<R> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<R: Portable> Handle<R> {
    pub(crate) fn new<A: Portable>(
        reports: Result<Reports<std::iter::Once<A>, R>, Failed>,
    ) -> Self {
        let reports = reports.map(|mut reports| {
            reports.pull();
            reports.pull();
            reports.call.run.pump(&reports.call.inner, true);
            Reports {
                call: reports.call,
                source: std::iter::empty(),
                dry: true,
                result: PhantomData,
            }
        });
        Self { stream: Stream::new(reports) }
    }

    /// Waits for the task to end.
    pub fn wait(mut self) -> Report<R> {
        self.stream.next().expect("one item has one report")
    }

    /// Waits at most this long.
    ///
    /// # Errors
    ///
    /// The handle itself, if the task has not ended by then.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Report<R>, Self> {
        let until = Instant::now().checked_add(timeout);
        let step = match &mut self.stream.reports {
            Ok(reports) => reports.next_until(until),
            Err(_) => Step::End,
        };
        match step {
            Step::Report(report) => Ok(report),
            Step::Wait => Err(self),
            Step::End => Ok(self.wait()),
        }
    }
}

impl<R: Portable> Future for Handle<R> {
    type Output = Report<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Report<R>> {
        let next = Pin::new(&mut self.stream);
        futures_util::Stream::poll_next(next, context)
            .map(|report| report.expect("`Handle` polled after completion"))
    }
}
