//! `key:value` lines, and what can be wrong with them.

use std::fmt;

/// One parsed line: a key, and a number to add to the key's total.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Everything before the last colon. Never empty.
    pub key: &'a str,
    /// The number after it.
    pub value: i64,
}

/// Why a line is not a record. Malformed lines are data: they are counted,
/// located and reported, and the run goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing on the line.
    EmptyLine,
    /// No colon on the line.
    NoColon,
    /// Nothing before the last colon.
    EmptyKey,
    /// Nothing after the last colon.
    EmptyValue,
    /// What follows the last colon is not digits with an optional sign.
    NotANumber,
    /// The number does not fit a signed 64-bit integer.
    OutOfRange,
    /// The line holds bytes that are not UTF-8.
    NotUtf8,
    /// The line is longer than this many bytes. It was not held in memory.
    TooLong(usize),
    /// The transform refused the record, and says why.
    Rejected(Box<str>),
}

impl Reason {
    /// A reason of the caller's own.
    #[must_use]
    pub fn rejected(why: &str) -> Self {
        Self::Rejected(why.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLine => "empty line",
            Self::NoColon => "no colon",
            Self::EmptyKey => "nothing before the colon",
            Self::EmptyValue => "nothing after the colon",
            Self::NotANumber => "value is not a whole number",
            Self::OutOfRange => "value does not fit a signed 64-bit integer",
            Self::NotUtf8 => "not UTF-8",
            Self::TooLong(limit) => return write!(f, "longer than {limit} bytes"),
            Self::Rejected(why) => why,
        })
    }
}

impl std::error::Error for Reason {}

/// What a stage makes of a line, or of a record: a record, or why not.
pub type Parsed<'a> = Result<Record<'a>, Reason>;

/// Parses one line, without its line ending.
///
/// The *last* colon separates, so that keys may hold colons. The value is
/// decimal digits with an optional sign. Spaces are part of whatever they
/// stand in: they belong to a key, and a value that has one is not a number.
///
/// # Errors
///
/// The [`Reason`] why the line is not a record.
///
/// ```
/// use selvedge::pipeline::{Reason, Record, key_value};
///
/// assert_eq!(key_value("a:b:-3"), Ok(Record { key: "a:b", value: -3 }));
/// assert_eq!(key_value("bad"), Err(Reason::NoColon));
/// assert_eq!(key_value("a:9223372036854775808"), Err(Reason::OutOfRange));
/// ```
#[inline]
pub fn key_value(line: &str) -> Parsed<'_> {
    quick(line).map_or_else(|| slow(line), Ok)
}

/// The lines that nearly all lines are: one to seven digits after the last
/// colon, and at least eight bytes in all. The digits are read as one number
/// of eight bytes, so that how many there are makes no branch.
#[inline]
fn quick(line: &str) -> Option<Record<'_>> {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

    let tail = line.as_bytes().last_chunk()?;
    // The last byte of the line is the highest of the number.
    let tail = u64::from_le_bytes(*tail);
    let digits = tail ^ ZEROS;
    // The high bit of every byte that is more than nine; 0x76 takes ten to
    // the high bit and nine not.
    let others = (((digits & !HIGH) + u64::from_ne_bytes([0x76; 8])) | digits) & HIGH;
    let count = others.leading_zeros() / 8;
    if count == 0 || count == 8 || (tail >> (56 - 8 * count)) as u8 != b':' {
        return None;
    }
    let digits = digits & (u64::MAX << (64 - 8 * count));
    let pairs = (digits.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_ffff_0000_ffff;
    let value = fours.wrapping_mul(1 + (10_000 << 32)) >> 32;
    let key = &line[..line.len() - 1 - count as usize];
    (!key.is_empty()).then_some(Record { key, value: value as i64 })
}

/// The grammar.
#[cold]
fn slow(line: &str) -> Parsed<'_> {
    if line.is_empty() {
        return Err(Reason::EmptyLine);
    }
    let (key, value) = line.rsplit_once(':').ok_or(Reason::NoColon)?;
    if key.is_empty() {
        return Err(Reason::EmptyKey);
    }
    if value.is_empty() {
        return Err(Reason::EmptyValue);
    }
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reason::NotANumber);
    }
    let value = value.parse().map_err(|_| Reason::OutOfRange)?;
    Ok(Record { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_reason_has_its_lines() {
        for (line, reason) in [
            ("", Reason::EmptyLine),
            ("bad", Reason::NoColon),
            ("12", Reason::NoColon),
            (":", Reason::EmptyKey),
            (":1", Reason::EmptyKey),
            ("a:", Reason::EmptyValue),
            ("a:1:", Reason::EmptyValue),
            ("a: 1", Reason::NotANumber),
            ("a:1 ", Reason::NotANumber),
            ("a:-", Reason::NotANumber),
            ("a:+-1", Reason::NotANumber),
            ("a:1.5", Reason::NotANumber),
            ("a:0x10", Reason::NotANumber),
            ("a:1_000", Reason::NotANumber),
            ("a:٣", Reason::NotANumber),
            ("a:9223372036854775808", Reason::OutOfRange),
            ("a:-9223372036854775809", Reason::OutOfRange),
            ("a:99999999999999999999999999", Reason::OutOfRange),
        ] {
            assert_eq!(key_value(line), Err(reason), "{line:?}");
        }
    }

    #[test]
    fn each_record_has_its_line() {
        for (line, key, value) in [
            ("a:1", "a", 1),
            ("a:-1", "a", -1),
            ("a:+1", "a", 1),
            ("a:007", "a", 7),
            ("a:000000000000000000000000000001", "a", 1),
            ("a:999999999999999999", "a", 999_999_999_999_999_999),
            ("a:9223372036854775807", "a", i64::MAX),
            ("a:-9223372036854775808", "a", i64::MIN),
            ("http://x:80:5", "http://x:80", 5),
            ("::5", ":", 5),
            (" a b :5", " a b ", 5),
            ("clé:5", "clé", 5),
        ] {
            assert_eq!(key_value(line), Ok(Record { key, value }), "{line:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: crate::test_seeds("pipeline_parse"),
            ..ProptestConfig::default()
        })]

        /// What the quick way takes, the grammar takes for the same.
        #[test]
        fn the_quick_way_is_the_grammar(
            line in "[a:1-9é+-]{0,9}:?[0-9+:/-]{0,22}"
        ) {
            prop_assert_eq!(key_value(&line), slow(&line));
        }
    }
}
