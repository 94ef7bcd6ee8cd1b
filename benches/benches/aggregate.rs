//! The pipeline against the ways to total `key:value` lines that people use:
//! 200 MB, 5 % of the lines malformed, 1 thousand and 1 million keys.
//!
//! The Python contestants run in `python3`, or in what `SELVEDGE_PYTHON`
//! names, and are skipped with a message where they cannot be imported; so is
//! mawk where it is not installed. The Python ones time themselves, without the
//! start of the interpreter and the imports. Every contestant's number of keys
//! and grand total are checked.

use memchr::{memchr_iter, memrchr};
use rayon::prelude::*;
use selvedge::pipeline::{Input, Pipeline};
use selvedge_benches::{Contest, Effort, Row, print_machine};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const BYTES: usize = 200_000_000;
const KEYS: [u64; 2] = [1_000, 1_000_000];

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != MEMORY).skip(1);
    if let Some(path) = args.next() {
        return peak_memory(Path::new(&path));
    }
    let effort = Effort::from_args();
    let (bytes, rounds) = match effort {
        Effort::Quick => (BYTES / 10, 2),
        Effort::Full => (BYTES, 5),
    };
    print_machine();
    println!("figures are ns per byte: 1000 / figure = MB/s");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut rows = Vec::new();
    for keys in KEYS {
        let path = folder.path().join(format!("{keys}.txt"));
        let expected = generate(&path, bytes, keys);
        rows.push(contest(&path, bytes, keys, rounds, &expected));
    }
    println!();
    for row in &rows {
        let speeds: Vec<String> = row
            .names
            .iter()
            .zip(&row.medians)
            .map(|(name, median)| format!("{name} {:.0}", 1000.0 / median))
            .collect();
        println!("{}, MB/s: {}", row.title, speeds.join(", "));
    }
    let [few, many] = &rows[..] else { unreachable!("two rows") };
    target(few, RAYON, 1.0);
    target(few, POLARS, 3.0);
    target(many, DUCKDB, 1.0);
    for (keys, row) in KEYS.iter().zip(&rows) {
        memory(&folder.path().join(format!("{keys}.txt")), &row.title);
    }
}

const RAYON: &str = "rayon+mmap+ahash";
const POLARS: &str = "polars";
const DUCKDB: &str = "duckdb";

/// Prints whether ours is `times` as fast as `peer`, or that nobody knows.
fn target(row: &Row, peer: &str, times: f64) {
    if row.names.iter().any(|name| name == peer) {
        let ratio = 1.0 / row.ratio(peer);
        let met = if ratio >= times { "met" } else { "MISSED" };
        println!("target {}: >= {times:.1}x {peer}: {ratio:.2}x, {met}", row.title);
    } else {
        println!("target {}: >= {times:.1}x {peer}: not measured, {peer} is not here", row.title);
    }
}

/// What the totals must come to.
#[derive(Debug, PartialEq, Eq, Clone, Copy, Default)]
struct Checksum {
    keys: usize,
    sum: i64,
}

/// Writes `bytes` of lines, always the same ones, and says what they total.
fn generate(path: &Path, bytes: usize, keys: u64) -> Checksum {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("a new file"));
    let mut seen = vec![false; keys as usize];
    let mut expected = Checksum::default();
    let mut state = 0x5e1_7ed6e_u64;
    let mut written = 0;
    let mut line = Vec::new();
    while written < bytes {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = state;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        let key = (random >> 32) % keys;
        let value = (random & 0xffff) as i64 % 10_000;
        line.clear();
        if (random >> 16).is_multiple_of(20) {
            writeln!(line, "key{key} {value}").expect("a vector takes it");
        } else {
            writeln!(line, "key{key}:{value}").expect("a vector takes it");
            expected.sum += value;
            expected.keys += usize::from(!std::mem::replace(&mut seen[key as usize], true));
        }
        out.write_all(&line).expect("the disk takes it");
        written += line.len();
    }
    out.flush().expect("the disk takes it");
    expected
}

fn contest(path: &Path, bytes: usize, keys: u64, rounds: usize, expected: &Checksum) -> Row {
    let check = |who: &str, got: Checksum| assert_eq!(got, *expected, "{who}");
    let mut contest = Contest::new(format!("{keys} keys"), rounds)
        .per_item("selvedge", bytes, || check("selvedge", ours(path)))
        .per_item("selvedge, from a pipe", bytes, || check("selvedge, pipe", piped(path)))
        .per_item(RAYON, bytes, || check(RAYON, rayon(path)))
        .per_item("std lines, 1 thread", bytes, || check("std lines", std_lines(path)));
    for outside in outsiders(path) {
        match outside.works() {
            Ok(()) => {
                let name = outside.name;
                contest = contest.figure(name, move || {
                    let (got, seconds) = outside.run();
                    check(name, got);
                    seconds * 1e9 / bytes as f64
                });
            }
            Err(why) => println!("{} skipped: {why}", outside.name),
        }
    }
    contest.run()
}

fn ours(path: &Path) -> Checksum {
    totals(Input::file(path))
}

fn piped(path: &Path) -> Checksum {
    let mut cat =
        Command::new("cat").arg(path).stdout(Stdio::piped()).spawn().expect("cat is installed");
    let pipe = cat.stdout.take().expect("it was asked for");
    let checksum = totals(Input::reader("a pipe", pipe));
    assert!(cat.wait().expect("it was started").success());
    checksum
}

fn totals(input: Input) -> Checksum {
    let report = Pipeline::key_value().run([input]).expect("the file can be read");
    let sum: i128 = report.totals.iter().map(|(_, total)| total).sum();
    Checksum { keys: report.totals.len(), sum: sum as i64 }
}

type Record<'a> = (&'a [u8], i64);

fn parse(line: &[u8]) -> Option<Record<'_>> {
    let colon = memrchr(b':', line)?;
    let (key, digits) = (&line[..colon], &line[colon + 1..]);
    if key.is_empty() || digits.is_empty() {
        return None;
    }
    let mut value = 0_i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit.into())?;
    }
    Some((key, value))
}

#[allow(unsafe_code, reason = "mapping a file; the bench does not change it meanwhile")]
fn rayon(path: &Path) -> Checksum {
    let file = File::open(path).expect("the file is there");
    // SAFETY: nobody writes to the file while it is mapped.
    let map = unsafe { memmap2::Mmap::map(&file).expect("it can be mapped") };
    let parts = rayon::current_num_threads() * 8;
    let mut cuts = vec![0];
    for part in 1..parts {
        let at = (map.len() / parts * part).max(cuts[cuts.len() - 1]);
        let newline = memchr::memchr(b'\n', &map[at..]).map_or(map.len(), |n| at + n + 1);
        cuts.push(newline);
    }
    cuts.push(map.len());
    let totals = cuts
        .par_windows(2)
        .fold(ahash::AHashMap::<&[u8], i64>::new, |mut totals, cut| {
            let part = &map[cut[0]..cut[1]];
            let mut start = 0;
            for end in memchr_iter(b'\n', part) {
                if let Some((key, value)) = parse(&part[start..end]) {
                    *totals.entry(key).or_default() += value;
                }
                start = end + 1;
            }
            totals
        })
        .reduce(ahash::AHashMap::new, |mut left, mut right| {
            if left.len() < right.len() {
                std::mem::swap(&mut left, &mut right);
            }
            for (key, value) in right {
                *left.entry(key).or_default() += value;
            }
            left
        });
    Checksum { keys: totals.len(), sum: totals.values().sum() }
}

fn std_lines(path: &Path) -> Checksum {
    let mut totals = HashMap::<String, i64>::new();
    for line in BufReader::new(File::open(path).expect("the file is there")).lines() {
        let line = line.expect("it is UTF-8");
        let Some((key, value)) = line.rsplit_once(':') else { continue };
        let Ok(value) = value.parse::<i64>() else { continue };
        match totals.get_mut(key) {
            Some(total) => *total += value,
            None => drop(totals.insert(key.to_owned(), value)),
        }
    }
    Checksum { keys: totals.len(), sum: totals.values().sum() }
}

/// A contestant that is another program. It prints keys and sum, and how many
/// seconds it took unless its start counts.
struct Outside {
    name: &'static str,
    probe: Command,
    command: Command,
}

impl Outside {
    fn works(&self) -> Result<(), String> {
        let mut probe = Command::new(self.probe.get_program());
        let out = probe.args(self.probe.get_args()).output();
        match out {
            Err(error) => Err(error.to_string()),
            Ok(out) if !out.status.success() => {
                let said = String::from_utf8_lossy(&out.stderr);
                Err(said.lines().last().unwrap_or("it failed").to_owned())
            }
            Ok(_) => Ok(()),
        }
    }

    fn run(&self) -> (Checksum, f64) {
        let start = Instant::now();
        let mut command = Command::new(self.command.get_program());
        let out = command.args(self.command.get_args()).output().expect("it was there before");
        let took = start.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&out.stdout);
        let mut numbers = said.split_whitespace().map(str::parse::<f64>);
        let mut next = || numbers.next().and_then(Result::ok);
        match (next(), next()) {
            (Some(keys), Some(sum)) => {
                (Checksum { keys: keys as usize, sum: sum as i64 }, next().unwrap_or(took))
            }
            _ => panic!("{}: {said}{}", self.name, String::from_utf8_lossy(&out.stderr)),
        }
    }
}

fn outsiders(path: &Path) -> Vec<Outside> {
    let mut mawk = Command::new("mawk");
    mawk.args(["-F:", "-v", "OFMT=%.0f", MAWK]).arg(path);
    let mut probe = Command::new("mawk");
    probe.arg("BEGIN { exit }");
    let mut all = vec![Outside { name: "mawk", probe, command: mawk }];
    let python = std::env::var("SELVEDGE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for (name, import, code) in [
        (POLARS, "import polars", POLARS_CODE),
        (DUCKDB, "import duckdb", DUCKDB_CODE),
        ("python dict", "import sys", PYTHON_CODE),
    ] {
        let mut probe = Command::new(&python);
        probe.args(["-c", import]);
        let mut command = Command::new(&python);
        command.args(["-c", code]).arg(path);
        all.push(Outside { name, probe, command });
    }
    all
}

const MAWK: &str = "NF == 2 { t[$1] += $2 } END { for (k in t) { n++; s += t[k] } print n, s + 0 }";

const PYTHON_CODE: &str = r#"
import sys, time
start = time.perf_counter()
totals = {}
for line in open(sys.argv[1]):
    key, colon, value = line.rpartition(":")
    if not colon:
        continue
    try:
        totals[key] = totals.get(key, 0) + int(value)
    except ValueError:
        pass
print(len(totals), sum(totals.values()), time.perf_counter() - start)
"#;

const POLARS_CODE: &str = r#"
import sys, time, polars as pl
start = time.perf_counter()
lines = pl.scan_csv(sys.argv[1], separator=":", has_header=False, new_columns=["k", "v"],
                    schema_overrides={"column_1": pl.String, "column_2": pl.Int64},
                    truncate_ragged_lines=True, quote_char=None)
totals = lines.drop_nulls("v").group_by("k").agg(pl.col("v").sum()).collect(engine="streaming")
print(totals.height, totals["v"].sum(), time.perf_counter() - start)
"#;

const DUCKDB_CODE: &str = r#"
import sys, time, duckdb
start = time.perf_counter()
totals = duckdb.sql(f"""
    select count(*), sum(v) from (
        select k, sum(v) as v from read_csv('{sys.argv[1]}', delim=':', header=false, quote='',
            escape='', auto_detect=false, null_padding=true, columns={{'k': 'VARCHAR', 'v': 'BIGINT'}})
        where v is not null group by k)
""").fetchall()[0]
print(*totals, time.perf_counter() - start)
"#;

/// The mode in which the bench runs itself to learn a peak of memory.
const MEMORY: &str = "--peak-memory-of";

/// Prints the peak memory of one run of ours in a process of its own, the table
/// of totals included.
fn memory(path: &Path, title: &str) {
    let bench = std::env::current_exe().expect("the bench knows its own path");
    let out = Command::new(bench).arg(MEMORY).arg(path).output().expect("it starts");
    print!("peak memory, {title}: {}", String::from_utf8_lossy(&out.stdout));
}

/// That mode: runs ours and prints what Linux says of this process.
fn peak_memory(path: &Path) {
    let Checksum { keys, .. } = ours(path);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    match peak {
        Some(kib) => println!("{} MiB for {keys} keys", kib / 1024),
        None => println!("not known on this system"),
    }
}
