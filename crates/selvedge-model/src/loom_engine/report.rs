//! A failed execution, for a person to read.

use super::record::{Event, Op, Run, Shown};
use super::{Panic, Place};
use crate::page::{self, Page};
use crate::table;
use std::fmt::{self, Write as _};

/// An execution that failed, as far as it got.
#[derive(Debug)]
pub(crate) struct Failed(pub(super) Run);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Pointer(value) => write!(f, "{value:#x}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

fn line(at: Place) -> String {
    format!("{}:{}", at.file(), at.line())
}

impl Failed {
    /// The number of the execution that failed, from one.
    pub(crate) fn execution(&self) -> u64 {
        self.0.execution
    }

    fn lane(&self, lane: usize) -> String {
        match self.0.lanes.get(lane).and_then(|lane| lane.name.as_deref()) {
            Some("main") if lane == 0 => "main".to_owned(),
            Some(name) => format!("thread {lane} ({name})"),
            None => format!("thread {lane}"),
        }
    }

    fn names(&self) -> Vec<String> {
        table::names(self.0.objects.iter().map(|object| object.kind))
    }

    fn deadlock(panic: &Panic) -> bool {
        panic.looms && panic.text.starts_with("deadlock")
    }

    fn endless(panic: &Panic) -> bool {
        panic.looms && panic.text.contains("maximum number of branches")
    }

    fn headline(&self) -> String {
        if let Some(wrong) = &self.0.wrong {
            return wrong.clone();
        }
        match self.0.panics.first() {
            Some(panic) if Self::deadlock(panic) => "deadlock: every thread waits".to_owned(),
            Some(panic) if Self::endless(panic) => {
                "no end within the steps of an execution: a loop that waits for what never comes?"
                    .to_owned()
            }
            Some(panic) if panic.looms => format!("loom: {}", panic.text.trim()),
            Some(panic) => {
                format!("{} panicked at {}: {}", self.lane(panic.lane), panic.at, panic.text)
            }
            None => "loom stopped for a reason that it did not tell".to_owned(),
        }
    }

    /// Who waits for what, and who has which lock.
    fn waits(&self, names: &[String]) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, lane) in self.0.lanes.iter().enumerate() {
            if let Some(op) = &lane.pending {
                let what = self.waits_for(op, names);
                lines.push(format!("{} waits {what}, at {}", self.lane(number), line(op.at)));
            }
        }
        for (number, object) in self.0.objects.iter().enumerate() {
            for (lane, since) in &object.held {
                let (lane, lock) = (self.lane(*lane), &names[number]);
                lines.push(format!("{lane} has {lock}, since {}", line(since)));
            }
        }
        lines
    }

    fn waits_for(&self, op: &Op, names: &[String]) -> String {
        let object = op.object.of(&self.0.objects);
        let name = op.object.number().and_then(|number| names.get(number));
        match (op.name, object, name) {
            ("park" | "park_timeout", ..) => "to be unparked".to_owned(),
            ("join", ..) => "for a thread to end".to_owned(),
            ("await", ..) => "to be woken, in block_on".to_owned(),
            ("wait", _, Some(name)) => format!("for {name} to be notified"),
            (_, Some(object), Some(name)) => match object.held.first() {
                Some((lane, since)) => {
                    format!("for {name}, which {} has since {}", self.lane(*lane), line(since))
                }
                None => format!("for {name}"),
            },
            (name, ..) => format!("to do {name}"),
        }
    }

    /// The threads that did something, or that wait.
    fn lanes(&self) -> Vec<(usize, String)> {
        let run = &self.0;
        let acts = |lane: usize| run.events.iter().any(|event| event.lane == lane);
        let waits = |lane: usize| run.lanes[lane].pending.is_some();
        let shown = (0..run.lanes.len()).filter(|lane| acts(*lane) || waits(*lane));
        shown.map(|lane| (lane, self.lane(lane))).collect()
    }

    /// The objects that were used, and where each was made.
    fn legend(&self, names: &[String]) -> Vec<String> {
        let run = &self.0;
        let used = |number: &usize| {
            run.events.iter().any(|event| event.op.object.number() == Some(*number))
        };
        (0..run.objects.len())
            .filter(used)
            .map(|number| format!("{} made at {}", names[number], line(run.objects[number].made)))
            .collect()
    }

    fn stuck(&self) -> bool {
        self.0.wrong.is_none() && self.0.panics.iter().any(Self::deadlock)
    }

    /// One message, to be panicked with, and a page if the environment asks.
    pub(crate) fn text(&self, model: &str, claim: &str, command: &str) -> String {
        let run = &self.0;
        let names = self.names();
        let waits = if self.stuck() { self.waits(&names) } else { Vec::new() };
        let legend = self.legend(&names);
        let about = format!("{claim}; failed in execution {}", run.execution);
        let mut out = format!("{model}: {}\n({about})\n", self.headline());
        for wait in &waits {
            let _ = writeln!(out, "   {wait}");
        }
        let lanes = self.lanes();
        let cells: Vec<(usize, String)> =
            run.events.iter().map(|event| (event.lane, cell(event, &names))).collect();
        let endless = run.panics.first().is_some_and(Self::endless);
        let most = if endless { table::MOST / 5 } else { table::MOST };
        table::write(&mut out, &lanes, &cells, most);
        for object in &legend {
            let _ = writeln!(out, "   {object}");
        }
        let first = usize::from(run.wrong.is_none());
        for panic in run.panics.iter().skip(first).filter(|panic| !panic.looms) {
            let lane = self.lane(panic.lane);
            let _ = writeln!(out, "   {lane} panicked as well, at {}: {}", panic.at, panic.text);
        }
        let _ = write!(out, "replay: {command}");
        let row = |event: &Event, cell: String| page::Row {
            task: event.lane,
            object: event.op.object.number(),
            text: done(event),
            more: format!("{} at {}", done(event), line(event.op.at)),
            cell,
        };
        let page = Page {
            name: model.to_owned(),
            engine: "loom",
            headline: self.headline(),
            about,
            waits,
            lanes: lanes
                .into_iter()
                .map(|(task, name)| page::Lane { task, name, place: String::new() })
                .collect(),
            rows: run.events.iter().zip(cells).map(|(event, (_, cell))| row(event, cell)).collect(),
            legend,
            command: command.to_owned(),
        };
        page.write(&mut out);
        out
    }
}

/// What was done, with its arguments, and what it gave.
fn done(event: &Event) -> String {
    let op = &event.op;
    let given = op.args.iter().filter(|arg| **arg != Shown::Nothing).map(Shown::to_string);
    let given: Vec<String> = given.chain(op.order.map(|order| format!("{order:?}"))).collect();
    let mut text = format!("{}({})", op.name, given.join(", "));
    if event.gave != Shown::Nothing {
        let _ = write!(text, " -> {}", event.gave);
    }
    text
}

fn cell(event: &Event, names: &[String]) -> String {
    let object = event.op.object.number().and_then(|number| names.get(number));
    let object = object.map_or_else(String::new, |name| format!("{name}."));
    format!("{object}{}  {}", done(event), table::short(event.op.at))
}
