//! What it saves to run one schedule of each class: `loom-tests/CLASSES.md`.
//!
//! With `SELVEDGE_COMPARE` each model is searched twice, plainly and by
//! classes, and leaves a line: its name, and for each search its executions,
//! whether it ended, and the nanoseconds that it took.

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Searches every model plainly and by classes, and writes both counts to
/// loom-tests/CLASSES.md.
#[derive(Debug, Parser)]
pub struct Options {
    /// At most so many executions a search.
    #[arg(long, default_value_t = 30_000)]
    pub most: u64,
    /// Take the lines that a run left here, instead of running.
    #[arg(long)]
    pub from: Option<PathBuf>,
}

const INTRO: &str = "\
# One schedule of each class, against every schedule

Made by `cargo run -q -p loom-tests --bin classes`. Each model of the project is searched twice: depth first through
every schedule, and through one of each class of schedules that differ only in the order of steps which touch nothing
in common. A count with a `>` is of a search that did not end within its executions. The first schedule of the classes
is run twice, to see that it is the same, and both are counted. The times are of one run on one machine, and compare
with each other alone.

";

#[derive(Debug, Clone, Copy)]
struct Search {
    executions: u64,
    ended: bool,
    nanos: u64,
}

#[derive(Debug)]
struct Row {
    model: String,
    plain: Search,
    classes: Search,
}

impl Row {
    fn fewer(&self) -> f64 {
        self.plain.executions as f64 / self.classes.executions as f64
    }

    fn faster(&self) -> f64 {
        self.plain.nanos as f64 / self.classes.nanos as f64
    }
}

/// Writes the file of the workspace at `root`.
///
/// # Errors
///
/// If a model fails, or leaves a line that makes no sense.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let lines = match &options.from {
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => compare(root, options.most)?,
    };
    let path = root.join("loom-tests/CLASSES.md");
    let text = render(parse(&lines)?);
    fs::write(&path, &text)?;
    println!("wrote {}\n{}", path.display(), text.rsplit("\n\n").next().unwrap_or_default());
    Ok(())
}

fn compare(root: &Path, most: u64) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("lines");
    // One at a time: the searches are timed.
    let status = Command::new("cargo")
        .args(["test", "-q", "-p", "selvedge", "--lib", "--", "models::", "--test-threads=1"])
        .current_dir(root)
        .env_remove("SELVEDGE_REPLAY")
        .env("SELVEDGE_COMPARE", &file)
        .env("SELVEDGE_COMPARE_MOST", most.to_string())
        .stdin(Stdio::null())
        .status()
        .context("cargo cannot be run")?;
    ensure!(status.success(), "a model is red");
    fs::read_to_string(&file).context("no model left a line")
}

fn parse(lines: &str) -> Result<Vec<Row>> {
    let rows: Result<Vec<Row>> = lines.lines().map(row).collect();
    let mut rows = rows?;
    ensure!(!rows.is_empty(), "no model left a line");
    rows.sort_by(|a, b| a.model.cmp(&b.model));
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let not_one = || format!("not a line of a model: {line}");
    let fields: Vec<&str> = line.split('\t').collect();
    let &[model, a, b, c, d, e, f] = &fields[..] else { anyhow::bail!(not_one()) };
    let search = |executions: &str, ended: &str, nanos: &str| -> Result<Search> {
        Ok(Search {
            executions: executions.parse().with_context(not_one)?,
            ended: ended.parse().with_context(not_one)?,
            nanos: nanos.parse().with_context(not_one)?,
        })
    };
    Ok(Row { model: model.to_owned(), plain: search(a, b, c)?, classes: search(d, e, f)? })
}

fn render(rows: Vec<Row>) -> String {
    let mut text = INTRO.to_owned();
    text += "| model | every schedule | ms | one of each class | ms | fewer | faster |\n";
    text += "|---|---:|---:|---:|---:|---:|---:|\n";
    let count =
        |search: &Search| format!("{}{}", if search.ended { "" } else { "> " }, search.executions);
    for row in &rows {
        let Row { model, plain, classes } = row;
        let at_least = if plain.ended { "" } else { "> " };
        let (fewer, faster) = if classes.ended {
            let ratio = |ratio: f64| format!("{at_least}{ratio:.1}x");
            (ratio(row.fewer()), ratio(row.faster()))
        } else {
            ("-".to_owned(), "-".to_owned())
        };
        let _ = writeln!(
            text,
            "| `{model}` | {} | {} | {} | {} | {fewer} | {faster} |",
            count(plain),
            plain.nanos / 1_000_000,
            count(classes),
            classes.nanos / 1_000_000,
        );
    }
    let both: Vec<&Row> = rows.iter().filter(|row| row.plain.ended && row.classes.ended).collect();
    let classes = rows.iter().filter(|row| row.classes.ended).count();
    let mut fewer: Vec<f64> = both.iter().map(|row| row.fewer()).collect();
    let mut faster: Vec<f64> = both.iter().map(|row| row.faster()).collect();
    let rate = |search: Search| search.executions as f64 / (search.nanos as f64 / 1e9);
    let mut rates: Vec<f64> = rows.iter().map(|row| rate(row.classes) / rate(row.plain)).collect();
    let _ = writeln!(
        text,
        "\n{} models: the plain search ends in {}, the classes in {classes}. Where both end, there are {:.1} times \
         fewer executions in the median, at least {:.1}; it takes {:.1} times less time in the median. Executions a \
         second against the plain search, over all models: {:.2} in the median.",
        rows.len(),
        both.len(),
        median(&mut fewer),
        fewer.first().copied().unwrap_or(f64::NAN),
        median(&mut faster),
        median(&mut rates),
    );
    text
}

/// Sorts.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_model_and_the_medians() {
        let lines = "b\t1000\ttrue\t9000000\t10\ttrue\t1000000\na\t30000\tfalse\t8000000\t50\ttrue\t4000000\n";
        let text = render(parse(lines).unwrap());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `a` | > 30000 | 8 | 50 | 4 | > 600.0x | > 2.0x |",
                "| `b` | 1000 | 9 | 10 | 1 | 100.0x | 9.0x |",
            ]
        );
        let sum = "2 models: the plain search ends in 1, the classes in 2. Where both end, there are 100.0 times";
        assert!(text.contains(sum), "{text}");
        assert!(parse("a\t1\n").is_err() && parse("").is_err());
    }
}
