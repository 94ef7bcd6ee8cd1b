//! The general form: columns, aggregates, formats.

mod number;
mod print;
mod read;
mod record;
mod stats;

use crate::flowing::Common;
use crate::output;
use crate::watch::Watch;
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use number::Decimal;
use read::Header;
use record::{Column, Cut};
use selvedge::pipeline::{FoldErrorKind, Groups, Line, LineError, Pipeline, Reason, Report};
use stats::{Agg, Stats, TooLarge};
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Its options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Columns, aggregates and formats")]
pub(crate) struct General {
    /// What a line is: `lines` are cut at a separator, `csv` and `tsv` may have
    /// quoted fields, `jsonl` is an object of JSON.
    #[arg(long, value_enum, value_name = "FORMAT")]
    from: Option<From>,

    /// What is between two columns of a line (with `csv`: one character).
    /// Without it, spaces and tabs.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    separator: Option<String>,

    /// The column of the key: a number from 1 on, or a name [default: 1].
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,

    /// The columns of the values [default: 2; none if there is a --key, and
    /// nothing but counts are asked for].
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    value: Vec<String>,

    /// The first line of each input names its columns.
    #[arg(long)]
    header: bool,

    /// Leave out lines that begin so.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    comment: Option<String>,

    /// Leave out spaces around keys and values.
    #[arg(long)]
    trim: bool,

    /// Values may have units: `12 kB`, `1.5Gi`. k, M, G, T, P and E are powers
    /// of 1000, Ki, Mi and so on of 1024; a B may follow.
    #[arg(long)]
    units: bool,

    /// What to print of each key: sum, count, min, max, mean, and p50, p99 and
    /// so on, for which all values are held [default: sum]. A mean has six
    /// decimals more than its sum, where they fit 38 digits.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    agg: Vec<Agg>,

    /// In which order [default: largest].
    #[arg(long, value_enum, value_name = "ORDER")]
    sort: Option<Sort>,

    /// Print CSV.
    #[arg(long, conflicts_with_all = ["json", "table"])]
    csv: bool,

    /// Print a table.
    #[arg(long, conflicts_with = "json")]
    table: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    Lines,
    Csv,
    Tsv,
    Jsonl,
}

/// Of equal ones the smaller key is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// The largest first aggregate first.
    Largest,
    Smallest,
    /// By the bytes of the key.
    Key,
    KeyDown,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Lines,
    Csv,
    Table,
    Json,
}

/// What is folded.
#[derive(Debug, Default)]
struct State {
    groups: Groups<Vec<u8>, Vec<Stats>>,
    /// A key whose total has too many digits, if two workers' totals have.
    too_large: Option<Vec<u8>>,
}

/// What a step is told.
struct Plan {
    cut: Cut,
    /// The key, and the values.
    columns: Vec<Column>,
    header: Option<Arc<Header>>,
    comment: Option<Vec<u8>>,
    trim: bool,
    units: bool,
    aggs: Vec<Agg>,
}

impl General {
    pub(crate) fn is_wanted(&self) -> bool {
        self.from.is_some()
            || self.separator.is_some()
            || self.key.is_some()
            || !self.value.is_empty()
            || self.header
            || self.comment.is_some()
            || self.trim
            || self.units
            || !self.agg.is_empty()
            || self.sort.is_some()
            || self.csv
            || self.table
    }

    fn cut(&self) -> anyhow::Result<Cut> {
        let by_default = self.key.is_none() && self.value.is_empty() && self.from.is_none();
        let separator = self.separator.as_deref();
        ensure!(separator != Some(""), "--separator: nothing separates nothing");
        Ok(match (self.from.unwrap_or(From::Lines), separator) {
            (From::Lines, Some(separator)) => Cut::At(separator.into()),
            (From::Lines, None) if by_default && !self.header => Cut::LastColon,
            (From::Lines, None) => Cut::Spaces,
            (From::Csv, None) => Cut::Csv(b','),
            (From::Csv, Some(separator)) => match separator.as_bytes() {
                [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => Cut::Csv(*byte),
                _ => bail!("--separator: one character that CSV can have between fields"),
            },
            (From::Tsv, None) => Cut::Csv(b'\t'),
            (From::Jsonl, None) => Cut::Json,
            (From::Tsv | From::Jsonl, Some(_)) => {
                bail!("--separator is for --from lines and --from csv")
            }
        })
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let cut = self.cut()?;
        let aggs = if self.agg.is_empty() { vec![Agg::Sum] } else { self.agg.clone() };
        let json = cut == Cut::Json;
        ensure!(!(json && self.header), "--header: an object of JSON has names");
        let key = self.key.as_deref();
        ensure!(!json || key.is_some(), "--from jsonl needs --key NAME");
        let counts_only = key.is_some() && aggs.iter().all(|agg| *agg == Agg::Count);
        let mut columns = vec![key.unwrap_or("1")];
        match &self.value[..] {
            [] if counts_only => {}
            [] => {
                ensure!(!json, "--from jsonl needs --value NAME");
                columns.push("2");
            }
            values => columns.extend(values.iter().map(String::as_str)),
        }
        let column = |text: &&str| {
            ensure!(!text.is_empty(), "--key and --value: a column has a number or a name");
            ensure!(*text != "0", "--key and --value: columns count from 1");
            Ok(if json { Column::Named((*text).to_owned()) } else { Column::new(text) })
        };
        let columns = columns.iter().map(column).collect::<anyhow::Result<Vec<_>>>()?;
        let named = columns.iter().find_map(|column| match column {
            Column::Named(name) => Some(name),
            Column::At(_) => None,
        });
        if let Some(name) = named.filter(|_| !json && !self.header) {
            bail!("column {name:?}: only --header and --from jsonl give names");
        }
        let header = self.header.then(|| Arc::new(Header::new(cut.clone(), columns.clone())));
        let comment = self.comment.as_ref().map(|text| text.clone().into_bytes());
        let (trim, units) = (self.trim, self.units);
        Ok(Plan { cut, columns, header, comment, trim, units, aggs })
    }

    fn form(&self, json: bool) -> Form {
        match (json, self.csv, self.table) {
            (true, ..) => Form::Json,
            (_, true, _) => Form::Csv,
            (.., true) => Form::Table,
            _ => Form::Lines,
        }
    }

    /// The names of what is printed.
    fn names(&self, plan: &Plan) -> Vec<String> {
        let key = self.key.as_deref().filter(|key| key.parse::<usize>().is_err());
        let mut names = vec![key.unwrap_or("key").to_owned()];
        for value in self.value.iter().map(Some).chain(self.value.is_empty().then_some(None)) {
            let of = value.filter(|_| self.value.len() > 1);
            let name = |agg: &Agg| of.map_or(agg.to_string(), |value| format!("{value}_{agg}"));
            names.extend(plan.aggs.iter().map(name));
        }
        names
    }

    /// Folds, and prints. What the report is of otherwise is its caller's.
    pub(crate) fn run(
        &self,
        files: &[OsString],
        common: Common,
        workers: Option<NonZeroUsize>,
        (top, json): (Option<usize>, bool),
        watch: &mut Watch,
    ) -> anyhow::Result<(Report<()>, Vec<u8>)> {
        let plan = self.plan()?;
        let mut inputs: Vec<_> = files
            .iter()
            .map(|file| {
                let path = (file != "-").then(|| file.into());
                read::input(path, plan.header.clone())
            })
            .collect();
        if inputs.is_empty() {
            inputs.push(read::input(None, plan.header.clone()));
        }
        let step = |state: &mut State, line: Line<'_>| plan.step(state, line);
        let mut fold = Pipeline::try_fold(State::default, step, State::merge)
            .keep_going()
            .token(common.token)
            .max_line(common.max_line);
        if let Some(workers) = workers {
            fold = fold.workers(workers);
        }
        if let Some(limit) = common.malformed_at_most {
            fold = fold.malformed_at_most(limit);
        }
        if let Some(within) = common.within {
            fold = fold.within(within);
        }
        let ran = fold.run_with(inputs, |progress| watch.see(progress));
        let mut report = ran.map_err(|failed| match failed.kind {
            FoldErrorKind::Run(error) => anyhow::Error::from(*error),
            failed => anyhow::anyhow!("{failed}"),
        })?;
        if let Some(key) = &report.totals.too_large {
            bail!("{}", too_large(key));
        }
        let groups = std::mem::take(&mut report.totals.groups);
        let mut rows: Vec<print::Row> = groups
            .into_iter()
            .map(|(key, mut stats)| {
                stats.iter_mut().for_each(Stats::sort);
                let of = |stats: &Stats| plan.aggs.iter().map(|agg| stats.get(*agg)).collect();
                (key, stats.iter().flat_map(|stats| -> Vec<_> { of(stats) }).collect())
            })
            .collect();
        print::sort(&mut rows, self.sort.unwrap_or(Sort::Largest));
        rows.truncate(top.unwrap_or(usize::MAX));
        let mut out = Vec::new();
        let names = self.names(&plan);
        print::print(&mut out, self.form(json), &names, &rows, &report)
            .context("cannot print the totals")?;
        let Report { read, samples, unreadable, stopped, stages, .. } = report;
        Ok((Report { totals: (), read, samples, unreadable, stopped, stages }, out))
    }
}

fn too_large(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    format!("the total of {key:?} has more digits than can be added up exactly")
}

impl State {
    fn merge(&mut self, other: Self) {
        let too_large = &mut self.too_large;
        *too_large = too_large.take().or(other.too_large);
        self.groups.merge(other.groups, |into, from| {
            for (into, from) in into.iter_mut().zip(from) {
                if let Err(TooLarge) = into.merge(from) {
                    too_large.get_or_insert_default();
                }
            }
        });
    }
}

impl Plan {
    fn trimmed<'f>(&self, field: &'f [u8]) -> &'f [u8] {
        if self.trim { field.trim_ascii() } else { field }
    }

    fn step(&self, state: &mut State, line: Line<'_>) -> Result<(), LineError<String>> {
        let columns = match &self.header {
            Some(_) if line.number() == 1 => return Ok(()),
            Some(header) => header.columns(),
            None => &self.columns,
        };
        if self.comment.as_ref().is_some_and(|comment| line.bytes().starts_with(comment)) {
            return Ok(());
        }
        if line.bytes().is_empty() {
            return Err(Reason::EmptyLine.into());
        }
        let fields = self.cut.columns(line.bytes(), columns)?;
        let key = self.trimmed(&fields[0]);
        if key.is_empty() {
            return Err(Reason::rejected("no key").into());
        }
        // All of them, before any of them counts.
        let values =
            fields[1..].iter().map(|field| Decimal::parse(self.trimmed(field), self.units));
        let mut values = values.collect::<Result<Vec<_>, _>>()?;
        if values.is_empty() {
            values.push(Decimal::default());
        }
        let keep = self.aggs.iter().any(|agg| matches!(agg, Agg::Percentile(_)));
        let stats = state.groups.at(key);
        stats.resize_with(values.len(), Stats::default);
        for (stats, value) in stats.iter_mut().zip(values) {
            stats.add(value, keep).map_err(|TooLarge| LineError::Fatal(too_large(key)))?;
        }
        Ok(())
    }
}

/// What was printed, to standard output. Nobody need read it.
pub(crate) fn write(printed: &[u8]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match out.write_all(printed).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// What went wrong in a run, as the other forms say it.
pub(crate) fn tell(report: &Report<()>, stages: bool) {
    output::malformed(report);
    output::unreadable(report);
    if stages {
        output::stages(report);
    }
}
