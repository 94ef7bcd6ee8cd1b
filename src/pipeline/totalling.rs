//! Totals per key: the lines' numbers are added up, exactly.

use super::report::{Error, Progress, Report};
use super::table::Key;
use super::totals::{Adder, Gatherer};
use super::work::{Broken, RawLine, Refused, Work};
use super::{Input, Overflow, Parsed, Pipeline, Reason, Record, key_value};
use crate::guard::{self, Returned, Surfacing};
use std::convert::Infallible;

/// The work of a [`Pipeline`] that totals: a parser, and what is done with a
/// record.
#[derive(Debug)]
pub struct Totalling<P, T> {
    parse: P,
    transform: T,
    overflow: Overflow,
}

/// A run of it.
struct Run<'a, P, T> {
    parse: &'a P,
    transform: &'a T,
    gatherer: Gatherer,
}

impl<P, T> Work for Run<'_, P, T>
where
    P: for<'r> Fn(&'r str) -> Parsed<'r> + Sync,
    T: for<'r> Fn(Record<'r>) -> Parsed<'r> + Sync,
{
    type Hand<'b>
        = (Adder<'b>, Vec<(Key<'b>, i64)>)
    where
        Self: 'b;
    type Part = ();
    type Failure = Infallible;

    fn begin<'b>(&'b self) -> Self::Hand<'b> {
        (self.gatherer.adder(), Adder::batch())
    }

    #[inline]
    fn line<'b>(
        &'b self,
        (adder, batch): &mut Self::Hand<'b>,
        line: RawLine<'b>,
    ) -> Result<(), Refused<Infallible>> {
        let Record { key, value } = (self.transform)((self.parse)(line.text()?)?)?;
        adder.add(batch, key, value);
        Ok(())
    }

    fn end<'b>(&'b self, (adder, batch): Self::Hand<'b>) {
        adder.done(batch);
    }
}

impl Pipeline<()> {
    /// A pipeline that parses lines with [`key_value`] and changes nothing.
    pub fn key_value() -> Pipeline<
        Totalling<
            impl for<'a> Fn(&'a str) -> Parsed<'a> + Sync,
            impl for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync,
        >,
    > {
        Self::parsing(key_value)
    }

    /// A pipeline that parses lines with `parse` and changes nothing.
    ///
    /// `parse` gets a line without its line ending. It runs on the workers.
    pub fn parsing<P>(
        parse: P,
    ) -> Pipeline<Totalling<P, impl for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync>>
    where
        P: for<'a> Fn(&'a str) -> Parsed<'a> + Sync,
    {
        Pipeline::new(Totalling { parse, transform: unchanged, overflow: Overflow::default() })
    }
}

fn unchanged(record: Record<'_>) -> Parsed<'_> {
    Ok(record)
}

/// A transform that multiplies every value; a product that does not fit a
/// signed 64-bit integer makes its line malformed.
pub fn times(factor: i64) -> impl for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync {
    move |Record { key, value }| match value.checked_mul(factor) {
        Some(value) => Ok(Record { key, value }),
        None => Err(Reason::rejected(&format!(
            "value times {factor} does not fit a signed 64-bit integer"
        ))),
    }
}

impl<P, T> Pipeline<Totalling<P, T>>
where
    P: for<'a> Fn(&'a str) -> Parsed<'a> + Sync,
    T: for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync,
{
    /// Puts `transform` between the parser and the totals, in place of the
    /// one before. It may change the value, shorten or replace the key, or
    /// refuse the record, whose line then is malformed. It runs on the
    /// workers.
    pub fn transform<U>(self, transform: U) -> Pipeline<Totalling<P, U>>
    where
        U: for<'a> Fn(Record<'a>) -> Parsed<'a> + Sync,
    {
        let Self { settings, work: Totalling { parse, overflow, .. } } = self;
        Pipeline { settings, work: Totalling { parse, transform, overflow } }
    }

    /// What to do about a total that does not fit a signed 64-bit integer:
    /// [`Overflow::Error`] unless told.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.work.overflow = policy;
        self
    }

    /// Reads all inputs in turn to their ends and totals their records.
    ///
    /// Takes O(bytes) time, and memory as in the [module's](super) invariant 3.
    ///
    /// # Errors
    ///
    /// An input that cannot be opened or read (unless it is to
    /// [keep going](Self::keep_going)), a stage that panics, or a total that
    /// does not fit under [`Overflow::Error`]. Malformed lines are no
    /// error (see [`Report::samples`]), up to
    /// [`malformed_at_most`](Self::malformed_at_most).
    ///
    /// # Panics
    ///
    /// If a reader or the iterator of inputs does.
    pub fn run(self, inputs: impl IntoIterator<Item = Input>) -> Result<Report, Error> {
        self.run_with(inputs, |_| {})
    }

    /// [`run`](Self::run), telling `progress` how far it has come: after each
    /// block, and now and then while an input is [waited for](Input#slow-inputs).
    /// `progress` is called on the calling thread.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// If a reader, the iterator of inputs or `progress` does.
    pub fn run_with(
        self,
        inputs: impl IntoIterator<Item = Input>,
        progress: impl FnMut(Progress),
    ) -> Result<Report, Error> {
        let mut inputs = Surfacing::new(inputs.into_iter());
        let mut progress = Surfacing::new(progress);
        let ended = self.run_on(&mut *inputs, &mut *progress);
        // All that was given to the run is dropped before this returns, and an
        // error that it has by then stays.
        let Totalling { parse, transform, .. } = self.work;
        let ended = Returned::new(ended).after(inputs.end()).after(progress.end());
        let ended = ended.after(guard::caught(|| drop(parse)));
        ended.after(guard::caught(|| drop(transform))).error_or_panic()
    }

    fn run_on(
        &self,
        inputs: impl Iterator<Item = Input>,
        progress: impl FnMut(Progress),
    ) -> Result<Report, Error> {
        let Totalling { parse, transform, overflow } = &self.work;
        let run = Run { parse, transform, gatherer: Gatherer::new() };
        let (report, ended) = self.settings.drive(&run, false, inputs, progress, |()| {});
        let gatherer = run.gatherer;
        let Err(stuck) = ended else { return report.with_totals(gatherer, *overflow) };
        match stuck.broken {
            Broken::Failed { failure, .. } => match failure {},
            Broken::Run(Error::Input { at, source, .. }) => {
                let so_far = report.with_totals_so_far(gatherer, *overflow);
                Err(Error::Input { at, source, so_far: Some(Box::new(so_far)) })
            }
            Broken::Run(error) => Err(error),
        }
    }
}
