//! What a block comes to, and all blocks together.

use selvedge::pipeline::{Input, Overflow, Pipeline};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;

/// Malformed lines that are shown.
const SHOWN: usize = 10;

/// What a worker says of a block.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Partial {
    totals: Vec<(String, i128)>,
    lines: u64,
    malformed: u64,
    samples: Vec<Sample>,
}

/// A malformed line, by its line in its block.
#[derive(Debug, Serialize, Deserialize)]
struct Sample {
    line: u64,
    reason: String,
    excerpt: String,
}

/// The task: the totals of one block.
pub(crate) fn total(block: Vec<u8>) -> Result<Partial, String> {
    let report = Pipeline::key_value()
        .workers(NonZeroUsize::MIN)
        .overflow(Overflow::Widen)
        .samples(SHOWN)
        .run([Input::reader("block", io::Cursor::new(block))])
        .map_err(|error| error.to_string())?;
    let totals = report.totals.iter().map(|(key, total)| (key.to_owned(), total)).collect();
    let samples = report.samples.iter().map(|sample| Sample {
        line: sample.at.line,
        reason: sample.reason.to_string(),
        excerpt: sample.excerpt.to_string(),
    });
    Ok(Partial {
        totals,
        lines: report.read.lines,
        malformed: report.read.malformed,
        samples: samples.collect(),
    })
}

/// The sum of blocks, each added once, in order.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    totals: HashMap<String, i128>,
    pub(crate) lines: u64,
    pub(crate) malformed: u64,
    shown: Vec<String>,
    /// The input of the last block, and lines of it before the next.
    here: (usize, u64),
}

impl Sum {
    pub(crate) fn add(&mut self, (input, name): (usize, &str), partial: Partial) {
        if self.here.0 != input {
            self.here = (input, 0);
        }
        let (_, line) = self.here;
        for sample in partial.samples {
            if self.shown.len() < SHOWN {
                let (line, Sample { reason, excerpt, .. }) = (line + sample.line, &sample);
                let excerpt = match excerpt.as_str() {
                    "" => String::new(),
                    _ => format!(": \"{excerpt}\""),
                };
                self.shown.push(format!("{name}:{line}: {reason}{excerpt}"));
            }
        }
        for (key, total) in partial.totals {
            *self.totals.entry(key).or_default() += total;
        }
        self.lines += partial.lines;
        self.malformed += partial.malformed;
        self.here = (input, line + partial.lines);
    }

    /// The malformed lines to standard error, as `aggregate` shows them.
    pub(crate) fn complain(&self) {
        if self.malformed == 0 {
            return;
        }
        for sample in &self.shown {
            eprintln!("aggregate: {sample}");
        }
        let rest = self.malformed - self.shown.len() as u64;
        if rest > 0 {
            eprintln!("aggregate: and {rest} more");
        }
        eprintln!("aggregate: {} of {} lines malformed", self.malformed, self.lines);
    }

    /// A total that leaves the signed 64-bit range, of the first such key.
    pub(crate) fn overflow(&self) -> Option<(&str, i128)> {
        let out = self.totals.iter().filter(|(_, total)| i64::try_from(**total).is_err());
        out.map(|(key, total)| (key.as_str(), *total)).min()
    }

    /// The largest first, equal ones in order of their keys.
    pub(crate) fn sorted(&self) -> Vec<(&str, i128)> {
        let mut all: Vec<_> =
            self.totals.iter().map(|(key, total)| (key.as_str(), *total)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all
    }
}
