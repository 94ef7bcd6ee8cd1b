//! Where the numbers come from.

use anyhow::{Context, anyhow};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;

/// `START..END`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    start: u64,
    end: u64,
}

impl Range {
    pub(crate) fn len(self) -> u64 {
        self.end - self.start
    }

    pub(crate) fn iter(self) -> std::ops::Range<u64> {
        self.start..self.end
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start, end) = text.split_once("..").ok_or("not of the form START..END")?;
        let part = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
        let range = Self { start: part(start)?, end: part(end)? };
        if range.start > range.end {
            return Err("its start is greater than its end".to_owned());
        }
        Ok(range)
    }
}

/// The file, or standard input, and the file's size.
pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<(Box<dyn BufRead>, Option<u64>)> {
    match path {
        Some(path) if path != Path::new("-") => {
            let name = || format!("cannot read {}", path.display());
            let file = File::open(path).with_context(name)?;
            let size = file.metadata().with_context(name)?.len();
            Ok((Box::new(BufReader::with_capacity(1 << 18, file)), Some(size)))
        }
        _ => Ok((Box::new(BufReader::with_capacity(1 << 18, io::stdin())), None)),
    }
}

/// A longer line is no number. It is not held.
const LONGEST: u64 = 4096;

/// The numbers of an input, in order, up to the first line that is none.
pub(crate) fn numbers(mut input: Box<dyn BufRead>) -> impl Iterator<Item = anyhow::Result<u64>> {
    let mut line = Vec::new();
    let mut at = 0_u64;
    std::iter::from_fn(move || {
        loop {
            line.clear();
            at += 1;
            match input.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.len() as u64 == LONGEST => {
                    return Some(Err(anyhow!("line {at}: longer than {LONGEST} bytes")));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error).with_context(|| format!("line {at}"))),
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            return Some(number.with_context(|| {
                let shown: String = String::from_utf8_lossy(text).chars().take(40).collect();
                format!("line {at}: {shown:?} is not an unsigned 64-bit integer")
            }));
        }
    })
}
