//! What is printed, and where.

use selvedge::pipeline::{Malformed, Report, Stopped};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::io::{self, BufWriter, Write};

/// Totals to standard output. Fails as the writing does.
pub(crate) fn totals(report: &Report, top: Option<usize>, json: bool) -> io::Result<()> {
    let totals = match top {
        Some(count) => report.totals.top(count),
        None => report.totals.sorted(),
    };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if json {
        let summary = Summary {
            totals: Totals(&totals),
            keys: report.totals.len(),
            lines: report.read.lines,
            malformed: report.read.malformed,
            samples: report.samples.iter().map(Sample::from).collect(),
            stopped: report.stopped.as_ref().map(ToString::to_string),
            unreadable: report.unreadable.iter().map(ToString::to_string).collect(),
        };
        serde_json::to_writer(&mut out, &summary)?;
        writeln!(out)?;
    } else {
        for (key, total) in totals {
            writeln!(out, "{key}:{total}")?;
        }
    }
    out.flush()
}

/// The malformed lines to standard error, if there are any. That it is closed
/// is no reason to fail.
pub(crate) fn malformed<T>(report: &Report<T>) {
    let count = report.read.malformed;
    if count == 0 {
        return;
    }
    let mut err = io::stderr().lock();
    for sample in &report.samples {
        let _ = writeln!(err, "aggregate: {sample}");
    }
    let rest = count - report.samples.len() as u64;
    if rest > 0 {
        let _ = writeln!(err, "aggregate: and {rest} more");
    }
    let _ = writeln!(err, "aggregate: {count} of {} lines malformed", report.read.lines);
}

/// Inputs that could not be read to their ends, to standard error.
pub(crate) fn unreadable<T>(report: &Report<T>) {
    let mut err = io::stderr().lock();
    for unreadable in &report.unreadable {
        let _ = writeln!(err, "aggregate: {unreadable}");
    }
}

/// What each stage has done, to standard error.
pub(crate) fn stages<T>(report: &Report<T>) {
    let mut err = io::stderr().lock();
    for stage in &report.stages {
        let _ = writeln!(err, "aggregate: {stage}");
    }
}

/// That there is more input than was totalled, to standard error.
pub(crate) fn stopped<T>(stopped: &Stopped, report: &Report<T>) {
    let lines = report.read.lines;
    let _ = writeln!(io::stderr(), "aggregate: stopped after {lines} lines: {stopped}");
}

#[derive(Serialize)]
struct Summary<'a> {
    totals: Totals<'a>,
    keys: usize,
    lines: u64,
    malformed: u64,
    samples: Vec<Sample<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// The same of the general form.
#[derive(Serialize)]
pub(crate) struct Whole<'a, G> {
    pub(crate) groups: G,
    pub(crate) lines: u64,
    pub(crate) malformed: u64,
    pub(crate) samples: Vec<Sample<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreadable: Vec<String>,
}

/// An object whose members keep their order.
struct Totals<'a>(&'a [(&'a str, i128)]);

impl Serialize for Totals<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, total) in self.0 {
            map.serialize_entry(key, total)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
pub(crate) struct Sample<'a> {
    file: &'a str,
    line: u64,
    offset: u64,
    reason: String,
    excerpt: &'a str,
}

impl<'a> From<&'a Malformed> for Sample<'a> {
    fn from(malformed: &'a Malformed) -> Self {
        Self {
            file: &malformed.at.input,
            line: malformed.at.line,
            offset: malformed.at.offset,
            reason: malformed.reason.to_string(),
            excerpt: &malformed.excerpt,
        }
    }
}
