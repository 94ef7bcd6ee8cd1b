//! What the benches share: contests in which every contestant runs in every
//! round, medians over the rounds, and a table of ratios.
//!
//! A shared machine disturbs some rounds; interleaving spreads the disturbance
//! over all contestants, and the median leaves it out. Absolute figures move
//! from run to run: read the ratios.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How thorough a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A few short rounds, to see that everything runs: `--quick`, and what
    /// `cargo test --benches` would do.
    Quick,
    /// The figures for the README.
    Full,
}

impl Effort {
    /// From the command line of the bench. `cargo bench` passes `--bench`,
    /// which is ignored, and so is a filter.
    #[must_use]
    pub fn from_args() -> Self {
        if std::env::args().any(|arg| arg == "--quick" || arg == "--test") {
            Self::Quick
        } else {
            Self::Full
        }
    }

    /// `full` rounds, or 2.
    #[must_use]
    pub fn rounds(self, full: usize) -> usize {
        if self == Self::Quick { 2 } else { full }
    }

    /// `full` items, or a hundredth of them.
    #[must_use]
    pub fn items(self, full: usize) -> usize {
        if self == Self::Quick { (full / 100).max(1) } else { full }
    }
}

/// Whether the command line asks for the row called `title`: it names no row,
/// or a part of this one's title.
#[must_use]
pub fn wanted(title: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).peekable();
    names.peek().is_none() || names.any(|name| title.contains(&name))
}

/// Somebody in a contest: a name and a run that returns its figure, lower
/// being better.
type Contestant<'a> = (String, Box<dyn FnMut() -> f64 + 'a>);

/// One row of figures: ours first, then peers and floors.
#[allow(missing_debug_implementations, reason = "holds closures")]
#[must_use]
pub struct Contest<'a> {
    title: String,
    rounds: usize,
    contestants: Vec<Contestant<'a>>,
}

impl<'a> Contest<'a> {
    /// A contest of so many rounds, after one warm-up round.
    pub fn new(title: impl Into<String>, rounds: usize) -> Self {
        Self { title: title.into(), rounds, contestants: Vec::new() }
    }

    /// Adds a contestant whose run returns its own figure. The first is ours.
    pub fn figure(mut self, name: &str, run: impl FnMut() -> f64 + 'a) -> Self {
        self.contestants.push((name.to_owned(), Box::new(run)));
        self
    }

    /// Adds a contestant that is timed over `items`, in nanoseconds an item.
    pub fn per_item(self, name: &str, items: usize, mut run: impl FnMut() + 'a) -> Self {
        self.figure(name, move || {
            let start = Instant::now();
            run();
            nanos(start.elapsed()) / items as f64
        })
    }

    /// Runs the rounds and prints the row; returns it for a summary.
    pub fn run(mut self) -> Row {
        let mut figures = vec![Vec::with_capacity(self.rounds); self.contestants.len()];
        for round in 0..=self.rounds {
            for (at, (_, run)) in self.contestants.iter_mut().enumerate() {
                let figure = run();
                if round > 0 {
                    figures[at].push(figure);
                }
            }
        }
        let medians = figures.iter_mut().map(|figures| median(figures)).collect();
        let names = self.contestants.into_iter().map(|(name, _)| name).collect();
        let row = Row { title: self.title, names, medians };
        println!("{}", row.line());
        row
    }
}

/// A finished contest.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub title: String,
    /// The contestants, ours first.
    pub names: Vec<String>,
    /// Their medians.
    pub medians: Vec<f64>,
}

impl Row {
    /// `title: ours 12.3 | peer 45.6 (0.27x)`, the ratio being ours over it.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("{:<34} {} {}", self.title, self.names[0], figure(self.medians[0]));
        for (name, median) in self.names.iter().zip(&self.medians).skip(1) {
            let ratio = self.medians[0] / median;
            let _ = write!(line, " | {name} {} ({ratio:.2}x)", figure(*median));
        }
        line
    }

    /// Ours over the contestant called `name`.
    #[must_use]
    pub fn ratio(&self, name: &str) -> f64 {
        let at = self.names.iter().position(|n| n == name).expect("a contestant's name");
        self.medians[0] / self.medians[at]
    }

    /// Ours over the best of the contestants called `names`.
    #[must_use]
    pub fn ratio_to_best(&self, names: &[&str]) -> f64 {
        names.iter().map(|name| self.ratio(name)).fold(0.0, f64::max)
    }
}

/// The rows as a Markdown table, for the README. They share their contestants.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let mut table =
        format!("| | {} |\n|---|{}\n", first.names.join(" | "), "---|".repeat(first.names.len()));
    for row in rows {
        let cells: Vec<String> = row
            .medians
            .iter()
            .map(|median| format!("{} ({:.2}x)", figure(*median), row.medians[0] / median))
            .collect();
        let _ = writeln!(table, "| {} | {} |", row.title, cells.join(" | "));
    }
    table
}

/// Says what machine the figures are from.
pub fn print_machine() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!(
        "machine: {cores} cores, shared; medians of interleaved rounds; ratio = ours / peer, lower is better"
    );
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
