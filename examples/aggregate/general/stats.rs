//! What is made of the values of a key.

use super::number::Decimal;
use std::fmt;
use std::str::FromStr;

/// An aggregate that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agg {
    Sum,
    Count,
    Min,
    Max,
    Mean,
    /// The smallest value that so many hundredths of all are not above.
    Percentile(u8),
}

impl FromStr for Agg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "sum" => Self::Sum,
            "count" => Self::Count,
            "min" => Self::Min,
            "max" => Self::Max,
            "mean" => Self::Mean,
            _ => {
                let percent = name.strip_prefix('p').and_then(|digits| digits.parse().ok());
                let percent = percent.filter(|percent| (1..=100).contains(percent));
                let known = "one of sum, count, min, max, mean, and p1 to p100 for percentiles";
                Self::Percentile(percent.ok_or_else(|| format!("not {known}"))?)
            }
        })
    }
}

impl fmt::Display for Agg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Percentile(percent) => return write!(f, "p{percent}"),
        })
    }
}

/// The values of a key in one column.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    count: u64,
    sum: Decimal,
    least: Option<Decimal>,
    most: Option<Decimal>,
    /// All of them, if percentiles are wanted.
    values: Vec<Decimal>,
}

/// A sum with more digits than can be held.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl Stats {
    pub(crate) fn add(&mut self, value: Decimal, keep: bool) -> Result<(), TooLarge> {
        self.sum = self.sum.plus(value).ok_or(TooLarge)?;
        self.count += 1;
        self.least = Some(self.least.map_or(value, |least| least.min(value)));
        self.most = Some(self.most.map_or(value, |most| most.max(value)));
        if keep {
            self.values.push(value);
        }
        Ok(())
    }

    pub(crate) fn merge(&mut self, mut other: Self) -> Result<(), TooLarge> {
        self.sum = self.sum.plus(other.sum).ok_or(TooLarge)?;
        self.count += other.count;
        self.least = self.least.into_iter().chain(other.least).min();
        self.most = self.most.into_iter().chain(other.most).max();
        self.values.append(&mut other.values);
        Ok(())
    }

    /// After the last value.
    pub(crate) fn sort(&mut self) {
        self.values.sort_unstable();
    }

    pub(crate) fn get(&self, agg: Agg) -> Decimal {
        let whole = |count: u64| {
            Decimal::parse(count.to_string().as_bytes(), false).expect("a whole number")
        };
        match agg {
            Agg::Sum => self.sum,
            Agg::Count => whole(self.count),
            Agg::Min => self.least.unwrap_or_default(),
            Agg::Max => self.most.unwrap_or_default(),
            Agg::Mean => self.sum.over(self.count),
            Agg::Percentile(percent) => {
                let rank = (self.values.len() * usize::from(percent)).div_ceil(100);
                self.values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
            }
        }
    }
}
