//! What the threads of an execution did, written down while they do it: loom
//! cannot be asked for one execution again without all before it.

use super::{Explored, Failed, Panic, Place, call, with};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

/// What this OS thread explores, and the execution that is under way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) to: mpsc::Sender<Result<Explored, Box<Failed>>>,
    /// Where loom's sources are.
    pub(super) sources: PathBuf,
    /// The number of the execution, from one.
    pub(super) execution: u64,
    pub(super) panics: Vec<Panic>,
    /// What the body said is wrong.
    pub(super) wrong: Option<String>,
    pub(super) lanes: Vec<Lane>,
    /// The lane that did the last operation.
    pub(super) last: usize,
    pub(super) objects: Vec<Object>,
    pub(super) events: Vec<Event>,
    /// The lines that some execution reached.
    pub(super) marks: BTreeSet<&'static str>,
}

/// A thread of the model.
#[derive(Debug)]
pub(super) struct Lane {
    id: Option<::loom::thread::ThreadId>,
    pub(super) name: Option<String>,
    /// The operation that it has begun and that has not returned.
    pub(super) pending: Option<Op>,
}

/// Something that threads share.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) made: Place,
    /// Who has this lock, and since where.
    pub(super) held: Vec<(usize, Place)>,
}

/// The number of an object in its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(usize);

impl Id {
    /// Of what is no object, or is used outside of a model.
    pub(crate) const NONE: Self = Self(usize::MAX);

    pub(super) fn of(self, objects: &[Object]) -> Option<&Object> {
        objects.get(self.0)
    }

    pub(super) fn number(self) -> Option<usize> {
        (self != Self::NONE).then_some(self.0)
    }
}

/// An operation: what it is called, on what, with which arguments, where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    pub(crate) name: &'static str,
    pub(crate) object: Id,
    pub(crate) args: [Shown; 2],
    pub(crate) order: Option<Ordering>,
    pub(crate) at: Place,
}

impl Op {
    /// Without arguments.
    pub(crate) fn new(name: &'static str, object: Id, at: Place) -> Self {
        Self { name, object, args: [Shown::Nothing; 2], order: None, at }
    }
}

/// A value, for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Pointer(usize),
    Word(&'static str),
}

/// An operation that returned.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) lane: usize,
    pub(super) op: Op,
    pub(super) gave: Shown,
}

impl Run {
    pub(super) fn new(to: mpsc::Sender<Result<Explored, Box<Failed>>>, sources: PathBuf) -> Self {
        Self {
            to,
            sources,
            execution: 0,
            panics: Vec::new(),
            wrong: None,
            lanes: Vec::new(),
            last: 0,
            objects: Vec::new(),
            events: Vec::new(),
            marks: BTreeSet::new(),
        }
    }

    /// The next execution begins, on the calling thread of the model.
    pub(super) fn begin(&mut self) {
        self.execution += 1;
        self.panics.clear();
        self.objects.clear();
        self.events.clear();
        self.lanes.clear();
        self.last = 0;
        self.lanes.push(Lane { id: None, name: Some("main".to_owned()), pending: None });
    }

    pub(super) fn fail(self) -> Box<Failed> {
        Box::new(Failed(self))
    }

    fn lane(&mut self, id: Option<::loom::thread::ThreadId>) -> usize {
        let Some(id) = id else {
            return self.last;
        };
        let known = self.lanes.iter().position(|lane| lane.id == Some(id));
        known.unwrap_or_else(|| {
            if let [Lane { id: none @ None, .. }] = &mut self.lanes[..] {
                *none = Some(id);
                return 0;
            }
            self.lanes.push(Lane { id: Some(id), name: None, pending: None });
            self.lanes.len() - 1
        })
    }

    /// The last words of a program that a second panic ends. Past libtest's
    /// capture, which would be lost.
    pub(super) fn last_words(&self) {
        use std::io::Write as _;
        let mut out = std::io::stderr();
        let _ = writeln!(
            out,
            "execution {} under loom: a destructor panicked while a panic unwound, which ends \
             the program:",
            self.execution
        );
        for panic in &self.panics {
            let _ = writeln!(out, "   panicked at {}: {}", panic.at, panic.text);
        }
    }
}

/// The id of the calling thread, unless it is past its end.
fn caller() -> Option<::loom::thread::ThreadId> {
    let asked = catch_unwind(AssertUnwindSafe(|| ::loom::thread::current().id()));
    asked.map_err(|_| with(|run| run.panics.pop())).ok()
}

/// Something that threads share was made.
pub(crate) fn made(kind: &'static str, made: Place) -> Id {
    let number = with(|run| {
        run.objects.push(Object { kind, made, held: Vec::new() });
        run.objects.len() - 1
    });
    number.map_or(Id::NONE, Id)
}

/// The calling thread starts, under this name.
pub(crate) fn starts(name: Option<String>) {
    if with(|_| ()).is_some() {
        let id = caller();
        with(|run| {
            let lane = run.lane(id);
            run.lanes[lane].name = name;
        });
    }
}

/// The calling thread came by `reachable!`.
pub(crate) fn note(line: &'static str) {
    with(|run| run.marks.insert(line));
}

/// Does an operation, and writes down that it was done and what it gave.
pub(crate) fn op<R>(op: Op, run: impl FnOnce() -> R, gave: impl FnOnce(&R) -> Shown) -> R {
    if with(|_| ()).is_none() {
        return run();
    }
    let id = caller();
    let lane = with(|run| {
        let lane = run.lane(id);
        run.last = lane;
        run.lanes[lane].pending = Some(op);
        lane
    });
    let result = call(run);
    let gave = gave(&result);
    with(|run| {
        let lane = lane.unwrap_or(0);
        run.last = lane;
        run.lanes[lane].pending = None;
        run.events.push(Event { lane, op, gave });
    });
    result
}

/// Writes down that the calling thread begins to wait.
pub(crate) fn begins(op: Op) {
    if with(|_| ()).is_some() {
        let id = caller();
        with(|run| {
            let lane = run.lane(id);
            run.events.push(Event { lane, op, gave: Shown::Word("waits") });
        });
    }
}

/// The same, for what gives nothing to tell of.
pub(crate) fn quiet<R>(what: Op, run: impl FnOnce() -> R) -> R {
    op(what, run, |_| Shown::Nothing)
}

/// The calling thread took a lock.
pub(crate) fn taken(lock: Id, at: Place) {
    with(|run| {
        let lane = run.last;
        if let Some(object) = run.objects.get_mut(lock.0) {
            object.held.push((lane, at));
        }
    });
}

/// The calling thread gave a lock up.
pub(crate) fn released(lock: Id) {
    with(|run| {
        let lane = run.last;
        if let Some(object) = run.objects.get_mut(lock.0)
            && let Some(held) = object.held.iter().rposition(|(who, _)| *who == lane)
        {
            object.held.remove(held);
        }
    });
}
