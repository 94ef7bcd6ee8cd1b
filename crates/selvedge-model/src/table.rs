//! The picture of an execution in text: a column for each thread, a line for
//! each operation.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};

/// The widest that a cell gets.
const WIDEST: usize = 46;

/// Operations that a table shows: the last so many.
pub(crate) const MOST: usize = 200;

/// Short names: the kind, and a number for each of it.
pub(crate) fn names<'a>(kinds: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let name = |kind: &'a str| {
        let count = seen.entry(kind).or_insert(0);
        *count += 1;
        format!("{kind}#{count}")
    };
    kinds.map(name).collect()
}

/// A line of a file: without its folders in the caller's own package, and from
/// `src` on in another.
pub(crate) fn short(at: &Location<'_>) -> String {
    let path = Path::new(at.file());
    let name = || path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let inside = path.components().skip_while(|part| part.as_os_str() != "src").skip(1);
    let inside: PathBuf = inside.collect();
    let file = match inside.to_str() {
        Some(file) if path.is_absolute() && !file.is_empty() => file.to_owned(),
        _ => name(),
    };
    format!("{file}:{}", at.line())
}

/// Writes the last `most` of the cells, each in the column of its lane.
pub(crate) fn write(
    out: &mut String,
    lanes: &[(usize, String)],
    cells: &[(usize, String)],
    most: usize,
) {
    let width = |(lane, name): &(usize, String)| {
        let longest = cells.iter().filter(|(task, _)| task == lane).map(|(_, cell)| cell.len());
        longest.chain([name.len()]).max().unwrap_or(0).min(WIDEST) + 2
    };
    let widths: Vec<usize> = lanes.iter().map(width).collect();
    let _ = write!(out, "\n     ");
    for ((_, name), width) in lanes.iter().zip(&widths) {
        let _ = write!(out, "{name:width$}");
    }
    out.truncate(out.trim_end().len());
    let shown = cells.len().saturating_sub(most);
    if shown > 0 {
        let _ = write!(out, "\n ... {shown} more before");
    }
    for (number, (task, cell)) in cells.iter().enumerate().skip(shown) {
        let column = lanes.iter().position(|(lane, _)| lane == task).unwrap_or(0);
        let indent: usize = widths[..column.min(widths.len())].iter().sum();
        let _ = write!(out, "\n{:>3}  {:indent$}{cell}", number + 1, "");
    }
    let _ = writeln!(out);
}
