//! Exact decimal numbers, with or without a unit.

use selvedge::pipeline::Reason;
use std::cmp::Ordering;
use std::fmt;

/// `mantissa / 10^scale`, without zeros at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Decimal {
    mantissa: i128,
    scale: u32,
}

/// More decimals than this are refused.
const MOST_DECIMALS: u32 = 30;
/// The decimals that a mean has more than its sum.
const MEAN: u32 = 6;

/// What a unit multiplies by. A `B` may follow.
const UNITS: [(&str, i128); 15] = [
    ("", 1),
    ("k", 1000),
    ("K", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];

fn too_large() -> Reason {
    Reason::rejected("value has more digits than can be added up exactly")
}

impl Decimal {
    /// `-12`, `1.5`, `.5`, `1e3`; with `units` also `12 kB` and `1.5Gi`.
    pub(crate) fn parse(text: &[u8], units: bool) -> Result<Self, Reason> {
        if text.is_empty() {
            return Err(Reason::rejected("no value"));
        }
        let no_number = || Reason::rejected("value is not a number");
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (whole, rest) = rest.split_at(digits(rest));
        let (part, rest) = match rest {
            [b'.', rest @ ..] => rest.split_at(digits(rest)),
            rest => (&[][..], rest),
        };
        if whole.is_empty() && part.is_empty() {
            return Err(no_number());
        }
        let (exponent, rest) = exponent(rest);
        let factor = match (rest, units) {
            ([], _) => 1,
            (unit, true) => unit_factor(unit).ok_or_else(|| Reason::rejected("unknown unit"))?,
            (_, false) => return Err(no_number()),
        };
        let part =
            &part[..part.len() - part.iter().rev().take_while(|&&byte| byte == b'0').count()];
        let mut mantissa = 0_i128;
        for digit in whole.iter().chain(part) {
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(i128::from(digit - b'0')))
                .ok_or_else(too_large)?;
        }
        let mantissa = mantissa.checked_mul(factor).ok_or_else(too_large)?;
        if mantissa == 0 {
            return Ok(Self::default());
        }
        let decimals = i64::try_from(part.len()).expect("shorter than a line") - exponent;
        Self::new(if negative { -mantissa } else { mantissa }, decimals).ok_or_else(too_large)
    }

    fn new(mut mantissa: i128, decimals: i64) -> Option<Self> {
        let mut decimals = decimals;
        while decimals > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            decimals -= 1;
        }
        if decimals < 0 {
            let up = 10_i128.checked_pow(u32::try_from(-decimals).ok()?)?;
            (mantissa, decimals) = (mantissa.checked_mul(up)?, 0);
        }
        let scale = u32::try_from(decimals).ok().filter(|scale| *scale <= MOST_DECIMALS)?;
        Some(Self { mantissa, scale })
    }

    fn at_scale(self, scale: u32) -> Option<i128> {
        self.mantissa.checked_mul(10_i128.checked_pow(scale - self.scale)?)
    }

    /// The exact sum, unless it has too many digits.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let sum = self.at_scale(scale)?.checked_add(other.at_scale(scale)?)?;
        Self::new(sum, scale.into())
    }

    /// Divided by `count`, rounded half to even after some more decimals.
    pub(crate) fn over(self, count: u64) -> Self {
        let count = i128::from(count.max(1));
        let more =
            (0..=MEAN).rev().find_map(|more| Some((more, self.at_scale(self.scale + more)?)));
        let (more, mantissa) = more.unwrap_or((0, self.mantissa));
        let (down, rest) = (mantissa.div_euclid(count), mantissa.rem_euclid(count));
        let up = match (rest * 2).cmp(&count) {
            Ordering::Less => 0,
            Ordering::Equal => down & 1,
            Ordering::Greater => 1,
        };
        let (mut mantissa, mut scale) = (down + up, self.scale + more);
        while scale > 0 && mantissa % 10 == 0 {
            (mantissa, scale) = (mantissa / 10, scale - 1);
        }
        Self { mantissa, scale }
    }
}

/// `e3`, `E-3`; else nothing.
fn exponent(rest: &[u8]) -> (i64, &[u8]) {
    let none = (0, rest);
    let [b'e' | b'E', after @ ..] = rest else { return none };
    let signs = usize::from(matches!(after, [b'+' | b'-', ..]));
    let digits = after[signs..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return none;
    }
    let (exponent, rest) = after.split_at(signs + digits);
    let text = std::str::from_utf8(exponent).unwrap_or_default();
    // Far from what fits, and far from overflow when it is used.
    let most = i64::from(i32::MAX);
    (text.parse().unwrap_or(most).clamp(-most, most), rest)
}

fn unit_factor(unit: &[u8]) -> Option<i128> {
    let unit = std::str::from_utf8(unit).ok()?.trim_start_matches(' ');
    let prefix = unit.strip_suffix('B').unwrap_or(unit);
    UNITS.iter().find(|(name, _)| *name == prefix && !unit.is_empty()).map(|(_, factor)| *factor)
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        match (self.at_scale(scale), other.at_scale(scale)) {
            (Some(one), Some(other)) => one.cmp(&other),
            // Only one of them was made larger: it is the one further from zero.
            (None, _) => self.mantissa.cmp(&0),
            (_, None) => 0.cmp(&other.mantissa),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let digits = self.mantissa.unsigned_abs().to_string();
        let places = self.scale as usize;
        let digits = format!("{digits:0>width$}", width = places + 1);
        let (whole, part) = digits.split_at(digits.len() - places);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}.{part}")
    }
}
