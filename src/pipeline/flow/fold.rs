//! The end of a flow: lines put back in order, and folded.

use super::super::Reason;
use super::super::meter::Gauge;
use super::super::report::{Error, Location, Malformed, Progress, Report, Unreadable};
use super::running::{Fault, Origin, Parcel};
use crate::guard::{self, Surfacing, guarded, told};
use crate::outcome::Panic;
use crate::queue::Receiver;
use crate::rt;
use crate::semaphore::Semaphore;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc as Shared;

/// Parcels that are taken at a time.
const BATCH: NonZeroUsize = crate::nz!(128);
/// Lines after which a fold that never waits lets others run, and is stopped if
/// it is to stop.
const TURNS: u64 = 256;

pub(super) struct Fold<A, F, T> {
    sum: A,
    fold: Surfacing<F>,
    gauge: Shared<Gauge>,
    /// The number of the next line in order.
    next: u64,
    /// A place for each line from `next` on that is here or has one behind it
    /// that is. At most the window.
    early: Places<T>,
    read: Progress,
    samples: Vec<Malformed>,
    most_samples: usize,
    pub(super) malformed_at_most: Option<u64>,
    /// An input that cannot be read does not end the run.
    pub(super) keep_going: bool,
    unreadable: Vec<Unreadable>,
    /// The end of the source was folded.
    pub(super) complete: bool,
    pub(super) failed: Option<Error>,
    /// The line that was folded last.
    last: Option<Location>,
}

impl<A, F, T> Fold<A, F, T>
where
    F: FnMut(&mut A, T) -> Result<(), Reason>,
{
    pub(super) fn new(sum: A, fold: F, gauge: Shared<Gauge>, most_samples: usize) -> Self {
        Self {
            sum,
            fold: Surfacing::new(fold),
            gauge,
            next: 0,
            early: Places(VecDeque::new()),
            read: Progress::default(),
            samples: Vec::new(),
            most_samples,
            malformed_at_most: None,
            keep_going: false,
            unreadable: Vec::new(),
            complete: false,
            failed: None,
            last: None,
        }
    }

    /// Folds until the end of the source or the first failure, and then drops
    /// the queue. An error if it was not the end.
    pub(super) async fn drive(
        &mut self,
        from: Receiver<Parcel<T>>,
        window: &Semaphore,
    ) -> Result<(), ()> {
        let mut batch = Vec::new();
        // Closed without an end: somebody died.
        while from.recv_many_async(&mut batch, BATCH).await.is_ok() {
            for parcel in batch.drain(..) {
                let place = usize::try_from(parcel.origin.number - self.next)
                    .expect("the window fits a usize");
                let early = &mut self.early.0;
                if early.len() <= place {
                    early.resize_with(place + 1, || None);
                }
                early[place] = Some(parcel);
            }
            while let Some(Some(parcel)) = self.early.0.front_mut().map(Option::take) {
                self.early.0.pop_front();
                self.next += 1;
                if let Err(failed) = self.add(parcel) {
                    self.failed = Some(failed);
                    return Err(());
                }
                if self.complete {
                    return Ok(());
                }
                window.add_permits(1);
                if self.next.is_multiple_of(TURNS) {
                    rt::yield_now().await;
                }
            }
        }
        Err(())
    }

    fn add(&mut self, Parcel { origin, body }: Parcel<T>) -> Result<(), Error> {
        let at = origin.at.clone();
        let added = match body {
            Ok(value) => {
                let gauge = Shared::clone(&self.gauge);
                let busy = gauge.begin();
                let folded = guarded(|| (self.fold)(&mut self.sum, value));
                busy.done();
                match folded {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(reason)) => {
                        let excerpt = super::super::work::excerpt(origin.line.as_bytes());
                        self.malformed(&origin, reason, excerpt)
                    }
                    Err(panic) => {
                        let stage = Some(self.gauge.name());
                        return Err(Error::Panicked { at, stage, panic });
                    }
                }
            }
            Err(Fault::Rejected { reason, excerpt }) => {
                self.gauge.pass();
                self.malformed(&origin, reason, excerpt)
            }
            Err(Fault::Panicked { stage, panic }) => {
                return Err(Error::Panicked { at, stage: Some(stage), panic });
            }
            Err(Fault::Input(source)) => {
                let unreadable = Unreadable { at, source };
                if !self.keep_going {
                    return Err(unreadable.into());
                }
                self.unreadable.push(unreadable);
                return Ok(());
            }
            Err(Fault::Source(closed)) => return Err(Error::Source { at, closed }),
            Err(Fault::End) => {
                self.complete = true;
                return Ok(());
            }
        };
        self.read.lines += 1;
        self.read.bytes += origin.size;
        self.last = Some(at);
        added
    }

    fn malformed(&mut self, origin: &Origin, reason: Reason, excerpt: String) -> Result<(), Error> {
        self.read.malformed += 1;
        if self.samples.len() < self.most_samples {
            self.samples.push(Malformed { at: origin.at.clone(), reason, excerpt });
        }
        match self.malformed_at_most {
            Some(limit) if self.read.malformed > limit => {
                let samples = std::mem::take(&mut self.samples);
                Err(Error::TooManyMalformed { limit, samples })
            }
            _ => Ok(()),
        }
    }

    /// What panicked was no line, but something that was dropped.
    pub(super) fn panicked_somewhere(&self) -> impl FnOnce(Panic) -> Error + use<A, F, T> {
        let nowhere = || Location { input: Shared::default(), line: 0, offset: 0 };
        let at = self.last.clone().unwrap_or_else(nowhere);
        move |panic| Error::Panicked { at, stage: None, panic }
    }

    /// What was folded, and what the closure or a line that was not folded
    /// panicked with when it was dropped.
    pub(super) fn into_report(self) -> (Report<A>, Result<(), Panic>) {
        let Self { sum: totals, fold, mut early, read, samples, unreadable, .. } = self;
        let dropped = guard::each(early.0.drain(..)).and(fold.end().map_err(told));
        let report =
            Report { totals, read, samples, unreadable, stopped: None, stages: Vec::new() };
        (report, dropped)
    }
}

/// A place for each line from some number on.
struct Places<T>(VecDeque<Option<Parcel<T>>>);

impl<T> Drop for Places<T> {
    fn drop(&mut self) {
        let _ = guard::each(self.0.drain(..));
    }
}
