//! Exercise 12: parse, transform, aggregate.

use crate::pipeline;
use crate::sync::future::block_on;
use crate::threads::Threads;
use std::collections::HashMap;

/// What a `key:value` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Before the last colon.
    pub key: String,
    /// After it.
    pub value: i64,
}

/// Parses a `key:value` line; `None` if it is not one. [`pipeline`] says what
/// was wrong with it.
#[allow(clippy::unused_async, reason = "a stage is async, whatever it does")]
pub async fn parse(line: &str) -> Option<Record> {
    let pipeline::Record { key, value } = pipeline::key_value(line).ok()?;
    Some(Record { key: key.to_owned(), value })
}

/// The record with its value doubled.
///
/// # Panics
///
/// If the double does not fit an `i64`, in debug and release builds alike.
#[allow(clippy::unused_async, reason = "a stage is async, whatever it does")]
pub async fn transform(record: Record) -> Record {
    let value = record.value.checked_mul(2).expect("the doubled value fits an i64");
    Record { value, ..record }
}

/// Parses and transforms every line on the ordered thread map and totals the
/// values per key. Lines that are not `key:value` are left out.
///
/// The stages never wait for anything, so this takes threads and not tasks; it
/// keeps the calling task busy until it is done.
///
/// # Panics
///
/// If a doubled value or a total does not fit an `i64`.
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
#[allow(clippy::unused_async, reason = "the exercise's signature")]
pub async fn aggregate<I>(lines: I) -> HashMap<String, i64>
where
    I: IntoIterator<Item: AsRef<str> + Send>,
{
    let stages = |line: I::Item| {
        block_on(async {
            match parse(line.as_ref()).await {
                Some(record) => Some(transform(record).await),
                None => None,
            }
        })
    };
    Threads::new().stream(lines, stages, |records| {
        let mut totals = HashMap::<String, i64>::new();
        for Record { key, value } in records.flatten() {
            let total = totals.entry(key).or_default();
            *total = total.checked_add(value).expect("the total fits an i64");
        }
        totals
    })
}
