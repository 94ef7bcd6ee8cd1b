//! The columns of a line.

use csv_core::ReadRecordResult;
use selvedge::pipeline::Reason;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// How a line is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// At the last colon: a key and a value.
    LastColon,
    /// At each of these.
    At(Vec<u8>),
    /// At spaces and tabs, however many.
    Spaces,
    /// CSV, with this between fields.
    Csv(u8),
    /// An object of JSON.
    Json,
}

/// A column: its number from zero, or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    At(usize),
    Named(String),
}

impl Column {
    pub(crate) fn new(text: &str) -> Self {
        match text.parse::<usize>() {
            Ok(number) if number > 0 => Self::At(number - 1),
            _ => Self::Named(text.to_owned()),
        }
    }

    fn missing(&self) -> Reason {
        Reason::rejected(&match self {
            Self::At(index) => format!("no column {}", index + 1),
            Self::Named(name) => format!("no field {name:?}"),
        })
    }
}

type Field<'l> = Cow<'l, [u8]>;

impl Cut {
    /// The fields of a line, whose columns have numbers.
    pub(crate) fn fields<'l>(&self, line: &'l [u8]) -> Result<Vec<Field<'l>>, Reason> {
        Ok(match self {
            Self::LastColon => {
                let at = line.iter().rposition(|byte| *byte == b':').ok_or(Reason::NoColon)?;
                vec![line[..at].into(), line[at + 1..].into()]
            }
            Self::At(separator) => split(line, separator),
            Self::Spaces => line
                .split(|byte| matches!(byte, b' ' | b'\t'))
                .filter(|field| !field.is_empty())
                .map(Cow::from)
                .collect(),
            Self::Csv(delimiter) => csv(line, *delimiter)?,
            Self::Json => return Err(Reason::rejected("its columns have no numbers")),
        })
    }

    /// The fields in these columns.
    pub(crate) fn columns<'l>(
        &self,
        line: &'l [u8],
        columns: &[Column],
    ) -> Result<Vec<Field<'l>>, Reason> {
        if *self == Self::Json {
            return json(line, columns);
        }
        let fields = self.fields(line)?;
        let field = |column: &Column| {
            let Column::At(index) = column else { return Err(column.missing()) };
            fields.get(*index).cloned().ok_or_else(|| column.missing())
        };
        columns.iter().map(field).collect()
    }
}

fn split<'l>(line: &'l [u8], separator: &[u8]) -> Vec<Field<'l>> {
    let mut fields = Vec::new();
    let mut start = 0;
    for at in memchr::memmem::find_iter(line, separator) {
        fields.push(line[start..at].into());
        start = at + separator.len();
    }
    fields.push(line[start..].into());
    fields
}

/// Fields may be quoted, but a line is a record.
fn csv(line: &[u8], delimiter: u8) -> Result<Vec<Field<'static>>, Reason> {
    if line.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
        return Err(Reason::rejected("a quoted field that does not end on its line"));
    }
    let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    let mut output = vec![0; line.len() + 1];
    // A field has a delimiter behind it, or the end.
    let mut ends = vec![0; line.iter().filter(|byte| **byte == delimiter).count() + 2];
    let (mut read, mut written, mut count) = (0, 0, 0);
    loop {
        let (result, r, w, e) =
            reader.read_record(&line[read..], &mut output[written..], &mut ends[count..]);
        (read, written, count) = (read + r, written + w, count + e);
        match result {
            // No more input: told once more, it is the end of the record.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::Record | ReadRecordResult::End => break,
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                return Err(Reason::rejected("no record of CSV"));
            }
        }
    }
    let mut start = 0;
    let mut field = |end: &usize| {
        let field = output[start..*end].to_vec();
        start = *end;
        Cow::from(field)
    };
    Ok(ends[..count].iter().map(&mut field).collect())
}

fn json<'l>(line: &'l [u8], columns: &[Column]) -> Result<Vec<Field<'l>>, Reason> {
    let object: HashMap<Cow<'l, str>, &'l RawValue> =
        serde_json::from_slice(line).map_err(|_| Reason::rejected("no object of JSON"))?;
    let field = |column: &Column| {
        let name = match column {
            Column::Named(name) => name.clone(),
            Column::At(index) => (index + 1).to_string(),
        };
        let raw = object.get(name.as_str()).ok_or_else(|| column.missing())?.get();
        Ok(match raw.as_bytes() {
            [b'"', ..] => {
                let text: String = serde_json::from_str(raw).map_err(|_| column.missing())?;
                text.into_bytes().into()
            }
            bytes => bytes.to_vec().into(),
        })
    };
    columns.iter().map(field).collect()
}
