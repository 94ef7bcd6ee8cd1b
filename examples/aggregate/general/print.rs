//! Rows of keys and aggregates, printed.

use super::number::Decimal;
use super::{Form, Sort};
use crate::output::{Sample, Whole};
use selvedge::pipeline::Report;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use std::io::{self, Write};

/// A key and what its values come to.
pub(crate) type Row = (Vec<u8>, Vec<Decimal>);

pub(crate) fn sort(rows: &mut [Row], sort: Sort) {
    rows.sort_unstable_by(|(one, ones), (other, others)| match sort {
        Sort::Largest => others[0].cmp(&ones[0]).then_with(|| one.cmp(other)),
        Sort::Smallest => ones[0].cmp(&others[0]).then_with(|| one.cmp(other)),
        Sort::Key => one.cmp(other),
        Sort::KeyDown => other.cmp(one),
    });
}

/// `names` is of the columns: the key, and then the aggregates.
pub(crate) fn print<T>(
    out: &mut impl Write,
    form: Form,
    names: &[String],
    rows: &[Row],
    report: &Report<T>,
) -> io::Result<()> {
    match form {
        Form::Lines => lines(out, rows),
        Form::Csv => csv(out, names, rows),
        Form::Table => table(out, names, rows),
        Form::Json => {
            let groups = Groups { names, rows };
            let summary = Whole {
                groups,
                lines: report.read.lines,
                malformed: report.read.malformed,
                samples: report.samples.iter().map(Sample::from).collect(),
                stopped: report.stopped.as_ref().map(ToString::to_string),
                unreadable: report.unreadable.iter().map(ToString::to_string).collect(),
            };
            serde_json::to_writer(&mut *out, &summary)?;
            writeln!(out)
        }
    }
}

fn lines(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    for (key, values) in rows {
        out.write_all(key)?;
        let separator = if values.len() == 1 { ':' } else { '\t' };
        for value in values {
            write!(out, "{separator}{value}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn csv(out: &mut impl Write, names: &[String], rows: &[Row]) -> io::Result<()> {
    let mut out = csv::Writer::from_writer(out);
    out.write_record(names)?;
    for (key, values) in rows {
        let values = values.iter().map(ToString::to_string);
        let row: Vec<Vec<u8>> =
            std::iter::once(key.clone()).chain(values.map(String::into_bytes)).collect();
        out.write_record(row)?;
    }
    out.flush()
}

fn table(out: &mut impl Write, names: &[String], rows: &[Row]) -> io::Result<()> {
    let cells = |(key, values): &Row| -> Vec<String> {
        std::iter::once(shown(key)).chain(values.iter().map(ToString::to_string)).collect()
    };
    let all: Vec<Vec<String>> =
        std::iter::once(names.to_vec()).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..names.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in &all {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// What is not text is escaped: two keys that differ are shown so.
fn shown(key: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in key.utf8_chunks() {
        shown.push_str(chunk.valid());
        shown.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    shown
}

struct Groups<'a> {
    names: &'a [String],
    rows: &'a [Row],
}

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Group { names: self.names, row }))
    }
}

struct Group<'a> {
    names: &'a [String],
    row: &'a Row,
}

impl Serialize for Group<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, values) = self.row;
        let mut map = serializer.serialize_map(Some(self.names.len()))?;
        map.serialize_entry(&self.names[0], &shown(key))?;
        for (name, value) in self.names[1..].iter().zip(values) {
            // All of its digits, which a float would not have.
            let number = RawValue::from_string(value.to_string());
            map.serialize_entry(name, &number.map_err(serde::ser::Error::custom)?)?;
        }
        map.end()
    }
}
