//! A failed execution, for a person to read.

use super::drive::Failed;
use super::exec::{Failure, Pending};
use super::object::{Data, Object};
use super::shrink::Deviations;
use super::{Place, Wait};
use crate::page::{self, Page};
use crate::table;
use std::fmt::Write as _;

/// What the execution itself does not know.
pub(crate) struct Facts<'a> {
    pub(crate) name: &'a str,
    pub(crate) claim: String,
    pub(crate) at: u64,
    pub(crate) shrunk_from: usize,
    pub(crate) attempts: usize,
    pub(crate) command: String,
}

fn line(at: Place) -> String {
    format!("{}:{}", at.file(), at.line())
}

impl Failed {
    fn lane(&self, task: usize) -> String {
        self.tasks.get(task).map_or_else(|| format!("task {task}"), |t| t.lane(task))
    }

    /// Short names of the objects: the kind, and a number where there are more.
    pub(super) fn names(&self) -> Vec<String> {
        table::names(self.objects.iter().map(|object| object.kind))
    }

    /// In one sentence.
    pub(super) fn headline(&self) -> String {
        match &self.failure {
            Failure::Panic { task, message, at } => {
                let at = at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
                format!("{} panicked{at}: {message}", self.lane(*task))
            }
            Failure::Outcome(outcome) => outcome.clone(),
            Failure::Deadlock { foreign: true } => "a task waits for something outside of the \
                 model, and nothing inside can run"
                .to_owned(),
            Failure::Deadlock { foreign: false } => {
                if self.tasks.get(1).is_some_and(|body| body.finished) {
                    "the body has returned, but threads of it wait for ever".to_owned()
                } else {
                    "deadlock: every task waits".to_owned()
                }
            }
            Failure::Steps(steps) => {
                format!("no end after {steps} steps: a loop that waits for what never comes?")
            }
            Failure::Nondeterministic => "the body does other things on the same schedule: it \
                 must not depend on the clock, on the addresses or the hashes of things, on random \
                 numbers, or on what an earlier execution left in a static"
                .to_owned(),
        }
    }

    /// Who waits for what, who has it, and since which line.
    pub(super) fn waits(&self) -> Vec<String> {
        let names = self.names();
        let mut lines = Vec::new();
        for (number, task) in self.tasks.iter().enumerate().skip(1) {
            if !task.finished {
                let pending = &task.pending;
                let what = self.waits_for(pending, &names);
                lines.push(format!("{} waits {what}, at {}", task.lane(number), line(pending.at)));
            }
        }
        for (index, object) in self.objects.iter().enumerate() {
            if let Data::Lock { writer, readers } = &object.data {
                for (task, since) in writer.iter().chain(readers) {
                    let lane = self.lane(*task);
                    lines.push(format!("{lane} has {}, since {}", names[index], line(since)));
                }
            }
        }
        lines
    }

    fn waits_for(&self, pending: &Pending, names: &[String]) -> String {
        let held = |lock: usize| match self.objects.get(lock).map(|object| &object.data) {
            Some(Data::Lock { writer: Some((task, since)), .. }) => {
                format!("for {}, which {} has since {}", names[lock], self.lane(*task), line(since))
            }
            Some(Data::Lock { readers, .. }) if !readers.is_empty() => {
                let (task, since) = readers[0];
                format!(
                    "for {}, which {} reads since {}",
                    names[lock],
                    self.lane(task),
                    line(since)
                )
            }
            _ => format!("for {}", names[lock]),
        };
        match &pending.wait {
            Wait::Read(lock) if self.unwritten(*lock) => format!(
                "to read {} once more, behind somebody who waits to write: std's lock may let \
                 writers go first",
                names[*lock]
            ),
            Wait::Write(lock) | Wait::Read(lock) => held(*lock),
            Wait::Notified { condvar, ticket, lock } => {
                let called = matches!(&self.objects[*condvar].data, Data::Condvar { waiting, .. }
                    if waiting.iter().any(|(t, called)| t == ticket && *called));
                if called { held(*lock) } else { format!("for {} to be notified", names[*condvar]) }
            }
            Wait::Token => "to be unparked".to_owned(),
            Wait::Finished(task) => format!("for {} to end", self.lane(*task)),
            Wait::Woken(_) if pending.op == "await" => "for a future that nothing in the model \
                 knows (a foreign one: a socket, a timer of a real runtime?)"
                .to_owned(),
            Wait::Woken(_) => format!("to be woken, in {}", pending.op),
            Wait::Opened { barrier, .. } => format!("for {} to open", names[*barrier]),
            Wait::Item(queue) => format!("for an item of {}", names[*queue]),
            Wait::Room(queue) => format!("for room in {}", names[*queue]),
            Wait::Taken { queue, .. } => format!("for a receiver of {}", names[*queue]),
            Wait::Idle(once) => match &self.objects[*once].data {
                Data::Once { runs: Some((task, since)), .. } => format!(
                    "for {}, which {} runs since {}",
                    names[*once],
                    self.lane(*task),
                    line(since)
                ),
                _ => format!("for {}", names[*once]),
            },
            Wait::Empty(_) => "for the threads of its scope".to_owned(),
            Wait::Never => "for a time that no clock reaches".to_owned(),
            Wait::Ready | Wait::Yield | Wait::Pick(_) | Wait::OneOf(_) | Wait::Clock => {
                format!("to do {}", pending.op)
            }
        }
    }

    fn unwritten(&self, lock: usize) -> bool {
        matches!(&self.objects[lock].data, Data::Lock { writer: None, .. })
    }

    pub(super) fn preemptions(&self) -> usize {
        self.decisions.iter().filter(|decision| decision.preempts).count()
    }

    /// The lanes: the tasks that did something, or that wait for ever.
    pub(super) fn lanes(&self) -> Vec<usize> {
        let acts = |task: &usize| self.events.iter().any(|event| event.task == *task);
        let stuck = matches!(self.failure, Failure::Deadlock { .. } | Failure::Steps(_));
        let waits = |task: usize| stuck && task > 0 && !self.tasks[task].finished;
        (0..self.tasks.len()).filter(|t| acts(t) || waits(*t)).collect()
    }

    /// The objects, and where each was made.
    pub(super) fn legend(&self) -> Vec<String> {
        let names = self.names();
        let used = |index: &usize| self.events.iter().any(|event| event.object == Some(*index));
        (0..self.objects.len())
            .filter(used)
            .map(|index| {
                let object: &Object = &self.objects[index];
                let older = match object.kind {
                    "Mutex" | "RwLock" if object.older => {
                        " (made outside of the body: what it holds goes on from execution to \
                         execution)"
                    }
                    _ => "",
                };
                format!("{} made at {}{older}", names[index], line(object.made))
            })
            .collect()
    }
}

/// One message, to be panicked with.
pub(crate) fn text(failed: &Failed, facts: &Facts<'_>) -> String {
    let mut out = String::new();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let _ = writeln!(out, "{}: {}", facts.name, failed.headline());
    let _ = write!(
        out,
        "({}; failed in execution {}; {}, {}",
        facts.claim,
        facts.at,
        count(failed.preemptions(), "preemption"),
        count(Deviations::of(&failed.decisions).len(), "choice"),
    );
    if facts.attempts > 0 {
        let attempts = count(facts.attempts, "attempt");
        let _ = write!(out, ", shrunk from {} in {attempts}", facts.shrunk_from);
    }
    out.push_str(")\n");
    if matches!(failed.failure, Failure::Deadlock { .. } | Failure::Steps(_)) {
        for wait in failed.waits() {
            let _ = writeln!(out, "   {wait}");
        }
    }
    let names = failed.names();
    let lanes: Vec<(usize, String)> =
        failed.lanes().into_iter().map(|lane| (lane, failed.lane(lane))).collect();
    let cells: Vec<(usize, String)> =
        failed.events.iter().map(|event| (event.task, cell(event, &names))).collect();
    let endless = matches!(failed.failure, Failure::Steps(_));
    table::write(&mut out, &lanes, &cells, if endless { table::MOST / 5 } else { table::MOST });
    for object in failed.legend() {
        let _ = writeln!(out, "   {object}");
    }
    for (task, message, at) in &failed.panics {
        let main = matches!(&failed.failure, Failure::Panic { message: m, .. } if m == message);
        if !main {
            let at = at.as_deref().unwrap_or("an unknown place");
            let _ = writeln!(out, "   {} panicked as well, at {at}: {message}", failed.lane(*task));
        }
    }
    let _ = write!(out, "replay: {}", facts.command);
    out
}

fn cell(event: &super::exec::Event, names: &[String]) -> String {
    let object = event.object.map(|index| format!("{}.", names[index])).unwrap_or_default();
    format!("{object}{}  {}", event.text, table::short(event.at))
}

/// The same as a page.
pub(crate) fn page(failed: &Failed, facts: &Facts<'_>) -> Page {
    let names = failed.names();
    let lane = |task: usize| page::Lane {
        task,
        name: failed.lane(task),
        // The clock and the body are started by nobody.
        place: if task > 1 { line(failed.tasks[task].made) } else { String::new() },
    };
    let row = |event: &super::exec::Event| page::Row {
        task: event.task,
        object: event.object,
        text: event.text.clone(),
        cell: cell(event, &names),
        more: format!("{} at {} after {:?}", event.text, line(event.at), event.clock),
    };
    let stuck = matches!(failed.failure, Failure::Deadlock { .. });
    Page {
        name: facts.name.to_owned(),
        engine: "shuttle",
        headline: failed.headline(),
        about: format!("{}; failed in execution {}", facts.claim, facts.at),
        waits: if stuck { failed.waits() } else { Vec::new() },
        lanes: failed.lanes().into_iter().map(lane).collect(),
        rows: failed.events.iter().map(row).collect(),
        legend: failed.legend(),
        command: facts.command.clone(),
    }
}
