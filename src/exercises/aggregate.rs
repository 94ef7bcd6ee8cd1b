//! Exercise 12: parse, transform, aggregate.

use crate::nz;
use crate::pipeline::{self, Error, Flow, Overflow, Reason};
use crate::rt;
use std::collections::HashMap;
use std::time::Duration;

/// What a `key:value` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Before the last colon.
    pub key: String,
    /// After it.
    pub value: i64,
}

/// Parses a `key:value` line; `None` if it is not one.
#[allow(clippy::unused_async, reason = "a stage is async, whatever it does")]
pub async fn parse(line: &str) -> Option<Record> {
    let pipeline::Record { key, value } = pipeline::key_value(line).ok()?;
    Some(Record { key: key.to_owned(), value })
}

/// The record with its value doubled, after a millisecond of simulated I/O.
///
/// # Panics
///
/// If the double does not fit an `i64`, in debug and release builds alike.
pub async fn transform(record: Record) -> Record {
    rt::sleep(Duration::from_millis(1)).await;
    let value = record.value.checked_mul(2).expect("the doubled value fits an i64");
    Record { value, ..record }
}

/// Parses and transforms every line, up to 64 of them at a time in each stage,
/// and totals the values per key. Lines that are not `key:value` are left out.
///
/// # Panics
///
/// If a doubled value or a total does not fit an `i64`; outside of a runtime.
///
/// ```
/// use selvedge::exercises::aggregate;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let totals = aggregate(["a:1", "b:2", "bad", "a:3"]).await;
/// assert_eq!(totals, [("a".to_owned(), 8), ("b".to_owned(), 4)].into());
/// # }
/// ```
pub async fn aggregate<I>(lines: I) -> HashMap<String, i64>
where
    I: IntoIterator<Item: AsRef<str>, IntoIter: Send + 'static>,
{
    let report = Flow::lines("lines", lines)
        .tasks("parse", nz!(64), |line| async move {
            parse(&line).await.ok_or_else(|| Reason::rejected("not key:value"))
        })
        .tasks("transform", nz!(64), |record| async move {
            let Record { key, value } = transform(record).await;
            Ok((key, value))
        })
        .totals(Overflow::Error)
        .await;
    let totals = match report {
        Ok(report) => report.totals,
        Err(Error::Panicked { panic, .. }) => panic!("{}", panic.message()),
        Err(error) => panic!("{error}"),
    };
    let fits = |total| i64::try_from(total).expect("checked by the policy");
    totals.iter().map(|(key, total)| (key.to_owned(), fits(total))).collect()
}
