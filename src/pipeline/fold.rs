//! Any aggregate: each worker folds lines into a state of its own, and the
//! states are merged.
//!
//! The blocks, their workers and the order of what is reported are those of the
//! totals. Only what is done with a line differs.
//!
//! # Invariants
//!
//! 1. *Every line is folded once, or is malformed*, in one state; a state is
//!    used by one worker at a time, and every state is merged once.
//! 2. *In order, if asked*: each block has a state of its own then, and they are
//!    merged in input order. What a failed run has done is a beginning of its
//!    input: every line before [`FoldError::next`], and none from there on.

use super::report::{Error, Location, Progress, Report};
use super::work::{Broken, RawLine, Refused, Stuck, Work};
use super::{Input, Pipeline, Reason};
use crate::guard::{self, Returned, Surfacing, caught};
use crate::swap::Mutex;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A line that is to be folded.
#[derive(Clone, Copy)]
pub struct Line<'a>(RawLine<'a>);

impl<'a> Line<'a> {
    /// The line, without its line ending.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0.bytes
    }

    /// The line as text.
    ///
    /// # Errors
    ///
    /// [`Reason::NotUtf8`]: as an error of the step it makes the line malformed.
    #[inline]
    pub fn text(&self) -> Result<&'a str, Reason> {
        self.0.text()
    }

    /// The name of its input.
    #[must_use]
    pub fn input(&self) -> &'a str {
        self.0.input
    }

    /// Which line of its input it is, the first being 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Where it starts, in bytes from the start of its input.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// The three together.
    #[must_use]
    pub fn place(&self) -> Location {
        let RawLine { input, number: line, offset, .. } = self.0;
        Location { input: Arc::clone(input), line, offset }
    }
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let excerpt = super::work::excerpt(self.bytes());
        f.debug_struct("Line").field("place", &self.place()).field("excerpt", &excerpt).finish()
    }
}

/// Why a line is not folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineError<E = Infallible> {
    /// The line is malformed: it is counted, and the run goes on.
    Malformed(Reason),
    /// The run fails.
    Fatal(E),
}

impl<E> From<Reason> for LineError<E> {
    fn from(reason: Reason) -> Self {
        Self::Malformed(reason)
    }
}

/// The work of a [`Pipeline`] that folds: see [`Pipeline::fold`].
#[must_use]
pub struct Folding<A, E, M, S, G> {
    make: M,
    step: S,
    merge: G,
    in_order: bool,
    of: PhantomData<fn() -> (A, E)>,
}

impl<A, E, M, S, G> fmt::Debug for Folding<A, E, M, S, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folding").field("in_order", &self.in_order).finish_non_exhaustive()
    }
}

impl Pipeline<()> {
    /// A pipeline that folds lines into states: `make` makes a state, `step`
    /// adds a line to one, `merge` adds a state to another.
    ///
    /// There are no more states than [workers](Self::workers), and which lines
    /// meet in one depends on the schedule. So the result is the same in every
    /// run if it depends neither on the order of the lines nor on how they are
    /// grouped; see [`in_order`](Pipeline::in_order) for one that depends on
    /// their order.
    ///
    /// `step` runs on the workers and gets every line that is no longer than
    /// [`max_line`](Self::max_line), also those that are not UTF-8. An error
    /// makes the line malformed. To leave a line out without counting it,
    /// return `Ok` without adding it; to make several records of a line, add
    /// them all. `merge` runs on the calling thread.
    ///
    /// [`Groups`](super::Groups) is a state for keys of any type. For totals of whole numbers
    /// by a part of the line [`parsing`](Self::parsing) is faster.
    ///
    /// ```
    /// use selvedge::pipeline::{Groups, Input, Pipeline, Reason};
    ///
    /// /// The mean and the largest number for each word.
    /// #[derive(Default)]
    /// struct Stats { count: u64, sum: f64, max: f64 }
    ///
    /// let lines: &[u8] = b"warp 1.5\nweft 2\nwarp 3\nweft x\n";
    /// let report = Pipeline::fold(
    ///     Groups::<String, Stats>::new,
    ///     |groups, line| {
    ///         let (key, value) =
    ///             line.text()?.split_once(' ').ok_or_else(|| Reason::rejected("no space"))?;
    ///         let value: f64 = value.parse().map_err(|_| Reason::rejected("no number"))?;
    ///         let stats = groups.at(key);
    ///         stats.count += 1;
    ///         stats.sum += value;
    ///         stats.max = stats.max.max(value);
    ///         Ok(())
    ///     },
    ///     |into, from| into.merge(from, |into, from| {
    ///         into.count += from.count;
    ///         into.sum += from.sum;
    ///         into.max = into.max.max(from.max);
    ///     }),
    /// )
    /// .run([Input::reader("lines", lines)])?;
    ///
    /// let warp = report.totals.get("warp").unwrap();
    /// assert_eq!((warp.sum / warp.count as f64, warp.max), (2.25, 3.0));
    /// assert_eq!(report.samples[0].to_string(), "lines:4: no number: \"weft x\"");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[allow(clippy::type_complexity, reason = "the type is a closure's")]
    pub fn fold<A, M, S, G>(
        make: M,
        step: S,
        merge: G,
    ) -> Pipeline<
        Folding<
            A,
            Infallible,
            M,
            impl for<'a> Fn(&mut A, Line<'a>) -> Result<(), LineError<Infallible>> + Sync,
            G,
        >,
    >
    where
        M: Fn() -> A + Sync,
        S: for<'a> Fn(&mut A, Line<'a>) -> Result<(), Reason> + Sync,
        G: FnMut(&mut A, A),
    {
        let step = move |state: &mut A, line: Line<'_>| step(state, line).map_err(LineError::from);
        Self::try_fold(make, step, merge)
    }

    /// [`fold`](Self::fold) with a step that may fail the run, with an error of
    /// any type: the first one in input order is reported, and where it was.
    ///
    /// ```
    /// use selvedge::pipeline::{FoldErrorKind, Input, LineError, Pipeline};
    /// use std::num::ParseIntError;
    ///
    /// let lines: &[u8] = b"1\n2\nthree\n4\n";
    /// let failed = Pipeline::try_fold(
    ///     || 0_u64,
    ///     |sum, line| {
    ///         let number = line.text()?.parse::<u64>().map_err(LineError::Fatal)?;
    ///         *sum += number;
    ///         Ok::<(), LineError<ParseIntError>>(())
    ///     },
    ///     |sum, other| *sum += other,
    /// )
    /// .in_order()
    /// .run([Input::reader("numbers", lines)])
    /// .unwrap_err();
    ///
    /// assert_eq!(failed.to_string(), "numbers:3: invalid digit found in string");
    /// // What was done, and where to go on.
    /// assert_eq!(failed.so_far.unwrap().totals, 3);
    /// assert_eq!(failed.next.unwrap().offset, 4);
    /// ```
    pub fn try_fold<A, E, M, S, G>(make: M, step: S, merge: G) -> Pipeline<Folding<A, E, M, S, G>>
    where
        M: Fn() -> A + Sync,
        S: for<'a> Fn(&mut A, Line<'a>) -> Result<(), LineError<E>> + Sync,
        G: FnMut(&mut A, A),
    {
        Pipeline::new(Folding { make, step, merge, in_order: false, of: PhantomData })
    }
}

/// A run of it.
struct Run<'a, A, E, M, S> {
    make: &'a M,
    step: &'a S,
    in_order: bool,
    /// States that no worker is using. A worker takes one for a block at a
    /// time, so there are never more than workers.
    idle: Mutex<Vec<A>>,
    of: PhantomData<fn() -> E>,
}

impl<A, E, M, S> Work for Run<'_, A, E, M, S>
where
    A: Send,
    E: Send,
    M: Fn() -> A + Sync,
    S: for<'r> Fn(&mut A, Line<'r>) -> Result<(), LineError<E>> + Sync,
{
    // After a panic of the step it is dropped, and may panic again.
    type Hand<'b>
        = Surfacing<A>
    where
        Self: 'b;
    type Part = Option<A>;
    type Failure = E;

    fn begin(&self) -> Surfacing<A> {
        let idle = if self.in_order { None } else { self.idle.lock().pop() };
        Surfacing::new(idle.unwrap_or_else(self.make))
    }

    #[inline]
    fn line<'b>(&'b self, state: &mut Surfacing<A>, line: RawLine<'b>) -> Result<(), Refused<E>> {
        (self.step)(state, Line(line)).map_err(|error| match error {
            LineError::Malformed(reason) => Refused::Malformed(reason),
            LineError::Fatal(error) => Refused::Failed(error),
        })
    }

    fn end(&self, state: Surfacing<A>) -> Option<A> {
        let state = state.into_inner();
        if self.in_order {
            return Some(state);
        }
        self.idle.lock().push(state);
        None
    }
}

impl<A, E, M, S, G> Pipeline<Folding<A, E, M, S, G>>
where
    A: Send,
    E: Send,
    M: Fn() -> A + Sync,
    S: for<'a> Fn(&mut A, Line<'a>) -> Result<(), LineError<E>> + Sync,
    G: FnMut(&mut A, A),
{
    /// Makes a state for each block of lines, and merges them in input order:
    /// the earlier ones into the later one's place. Where `merge` appends, the
    /// result is that of one thread.
    ///
    /// What a failed run has done is then a beginning of its input, and comes
    /// with the failure ([`FoldError::so_far`]). It costs a state and a merge a
    /// block, and the merges are done by one thread.
    pub fn in_order(mut self) -> Self {
        self.work.in_order = true;
        self
    }

    /// Reads all inputs in turn to their ends and folds their lines.
    ///
    /// # Errors
    ///
    /// An input that cannot be opened or read (unless it is to
    /// [keep going](Self::keep_going)), a step that fails or panics, or more
    /// malformed lines than [allowed](Self::malformed_at_most).
    ///
    /// # Panics
    ///
    /// If a reader, the iterator of inputs or `merge` does.
    pub fn run(
        self,
        inputs: impl IntoIterator<Item = Input>,
    ) -> Result<Report<A>, FoldError<A, E>> {
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
    /// If a reader, the iterator of inputs, `merge` or `progress` does.
    pub fn run_with(
        self,
        inputs: impl IntoIterator<Item = Input>,
        progress: impl FnMut(Progress),
    ) -> Result<Report<A>, FoldError<A, E>> {
        let mut inputs = Surfacing::new(inputs.into_iter());
        let mut progress = Surfacing::new(progress);
        let Self { settings, work } = self;
        let Folding { make, step, mut merge, in_order, .. } = work;
        let run =
            Run { make: &make, step: &step, in_order, idle: Mutex::default(), of: PhantomData };
        // The first state becomes the result.
        let mut result = Surfacing::new(None);
        let mut add = |state: A| match &mut *result {
            None => *result = Some(state),
            Some(result) => merge(result, state),
        };
        let take = |state: Option<A>| state.into_iter().for_each(&mut add);
        let (report, ended) = settings.drive(&run, true, &mut *inputs, &mut *progress, take);
        let complete = ended.is_ok() || in_order;
        let mut idle = guard::OneByOne::new(run.idle.into_inner());
        if complete {
            idle.by_ref().for_each(add);
        }
        drop(idle);
        let report = result
            .into_inner()
            .map_or_else(|| complete.then(&make), Some)
            .map(|state| report.map(|()| state));
        let ended = match (ended, report) {
            (Ok(()), Some(report)) => Ok(report),
            (Ok(()), None) => unreachable!("a complete run has a state"),
            (Err(stuck), report) => {
                let Stuck { broken, next } = *stuck;
                let kind = match broken {
                    Broken::Failed { at, failure } => FoldErrorKind::Line { at, error: failure },
                    Broken::Run(error) => FoldErrorKind::Run(Box::new(error)),
                };
                let next = next.filter(|_| in_order);
                Err(FoldError { kind, so_far: report.map(Box::new), next })
            }
        };
        // All that was given to the run is dropped before this returns, and an
        // error that it has by then stays.
        let ended = Returned::new(ended).after(inputs.end()).after(progress.end());
        let ended = ended.after(caught(|| drop(make))).after(caught(|| drop(step)));
        ended.after(caught(|| drop(merge))).error_or_panic()
    }
}

/// Why a fold did not come to the end of its input.
#[non_exhaustive]
pub struct FoldError<A, E = Infallible> {
    /// What failed.
    pub kind: FoldErrorKind<E>,
    /// What was done before, of a fold [in order](Pipeline::in_order): of all
    /// lines before [`next`](Self::next) and no other.
    pub so_far: Option<Box<Report<A>>>,
    /// The first line that is not in it: a run can go on from there. `None` if
    /// nothing was begun, and of a fold that is not in order.
    pub next: Option<Location>,
}

/// What failed in a fold.
#[non_exhaustive]
pub enum FoldErrorKind<E = Infallible> {
    /// The step, at a line: the first one in input order.
    Line {
        /// The line.
        at: Location,
        /// What the step returned.
        error: E,
    },
    /// Something else: an input, a panic, too many malformed lines.
    Run(Box<Error>),
}

impl<A, E: fmt::Display> fmt::Display for FoldError<A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<E: fmt::Display> fmt::Display for FoldErrorKind<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { at, error } => write!(f, "{at}: {error}"),
            Self::Run(error) => error.fmt(f),
        }
    }
}

impl<A, E: fmt::Debug> fmt::Debug for FoldError<A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.so_far.as_ref().map(|report| report.read);
        f.debug_struct("FoldError")
            .field("kind", &self.kind)
            .field("so_far", &read)
            .field("next", &self.next)
            .finish()
    }
}

impl<E: fmt::Debug> fmt::Debug for FoldErrorKind<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { at, error } => {
                f.debug_struct("Line").field("at", at).field("error", error).finish()
            }
            Self::Run(error) => f.debug_tuple("Run").field(error).finish(),
        }
    }
}

impl<A, E: std::error::Error + 'static> std::error::Error for FoldError<A, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            FoldErrorKind::Line { error, .. } => error.source(),
            FoldErrorKind::Run(error) => error.source(),
        }
    }
}
