//! The pipeline from outside, on real threads.
//!
//! * totals, counts and samples are those of a sequential fold, for any lines,
//!   worker count, block size, line limit and reading pattern;
//! * every line is counted once;
//! * failures are the first in input order;
//! * totals are exact, and the overflow policy sees the finished sums alone.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use selvedge::nz;
use selvedge::pipeline::{
    Error, Input, Overflow, Pipeline, Progress, Reason, Record, Report, Stopped, key_value, times,
};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// Hands out `bytes` in pieces of these sizes, in turn; an interruption comes
/// before each piece.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    turn: usize,
    interrupted: bool,
}

impl Pieces {
    fn new(bytes: &[u8], sizes: &[usize]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0, sizes: sizes.to_vec(), turn: 0, interrupted: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let piece = self.sizes[self.turn % self.sizes.len()];
        self.turn += 1;
        let count = piece.min(into.len()).min(self.bytes.len() - self.at);
        into[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What a run comes to, in a form that can be compared.
#[derive(Debug, PartialEq, Eq, Default)]
struct Summary {
    totals: BTreeMap<String, i128>,
    bytes: u64,
    lines: u64,
    malformed: u64,
    /// Input, line, offset, reason.
    samples: Vec<(String, u64, u64, Reason)>,
}

impl From<Report> for Summary {
    fn from(report: Report) -> Self {
        let Progress { bytes, lines, malformed } = report.read;
        let totals: BTreeMap<_, _> =
            report.totals.iter().map(|(key, total)| (key.to_owned(), total)).collect();
        assert_eq!(totals.len(), report.totals.len(), "each key once");
        for (key, total) in &totals {
            assert_eq!(report.totals.get(key), Some(*total));
        }
        let samples = report
            .samples
            .into_iter()
            .map(|it| (it.at.input.to_string(), it.at.line, it.at.offset, it.reason))
            .collect();
        Self { totals, bytes, lines, malformed, samples }
    }
}

/// The oracle: one line after the other, with nothing clever in it.
fn fold(inputs: &[Vec<u8>], factor: i64, max_line: usize, samples: usize) -> Summary {
    let mut sum = Summary::default();
    for (index, input) in inputs.iter().enumerate() {
        let mut offset = 0;
        for (number, whole) in input.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let line = whole.strip_suffix(b"\n").unwrap_or(whole);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let parsed = if line.len() > max_line {
                Err(Reason::TooLong(max_line))
            } else {
                parse(line).and_then(|(key, value)| {
                    let value = value.checked_mul(factor).ok_or_else(|| {
                        Reason::rejected(&format!(
                            "value times {factor} does not fit a signed 64-bit integer"
                        ))
                    })?;
                    Ok((key, value))
                })
            };
            match parsed {
                Ok((key, value)) => *sum.totals.entry(key).or_default() += i128::from(value),
                Err(reason) => {
                    sum.malformed += 1;
                    if sum.samples.len() < samples {
                        let at = (format!("input {index}"), number as u64 + 1, offset, reason);
                        sum.samples.push(at);
                    }
                }
            }
            sum.lines += 1;
            offset += whole.len() as u64;
        }
        sum.bytes += offset;
    }
    sum
}

/// The grammar again, by other means.
fn parse(line: &[u8]) -> Result<(String, i64), Reason> {
    let line = String::from_utf8(line.to_vec()).map_err(|_| Reason::NotUtf8)?;
    let mut parts: Vec<&str> = line.split(':').collect();
    let value = parts.pop().expect("a split has a part");
    if line.is_empty() {
        return Err(Reason::EmptyLine);
    }
    if parts.is_empty() {
        return Err(Reason::NoColon);
    }
    let key = parts.join(":");
    if key.is_empty() {
        return Err(Reason::EmptyKey);
    }
    if value.is_empty() {
        return Err(Reason::EmptyValue);
    }
    let unsigned = match value.as_bytes()[0] {
        b'+' | b'-' => &value[1..],
        _ => value,
    };
    if unsigned.is_empty() || !unsigned.bytes().all(|c| "0123456789".as_bytes().contains(&c)) {
        return Err(Reason::NotANumber);
    }
    let mut wide = 0_i128;
    for digit in unsigned.bytes() {
        wide = (wide * 10 + i128::from(digit - b'0')).min(1 << 70);
    }
    if value.starts_with('-') {
        wide = -wide;
    }
    i64::try_from(wide).map(|value| (key, value)).map_err(|_| Reason::OutOfRange)
}

/// One line without its ending.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        4 => "[ab]{1,2}",
        2 => "k[0-9]{1,3}",
        1 => "[a-c:é ]{0,40}",
    ];
    let value = prop_oneof![
        6 => any::<i16>().prop_map(|value| value.to_string()),
        1 => any::<i64>().prop_map(|value| value.to_string()),
        1 => "[+-]?[0-9]{0,25}",
        1 => "[0-9 x.-]{0,6}",
    ];
    let record = (key, value).prop_map(|(key, value)| format!("{key}:{value}").into_bytes());
    prop_oneof![
        12 => record,
        1 => Just(Vec::new()),
        1 => "[a-z0-9]{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..20),
        1 => (20_usize..200).prop_map(|len| vec![b'x'; len]),
    ]
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let ending = prop_oneof![5 => Just(&b"\n"[..]), 1 => Just(&b"\r\n"[..])];
    (prop::collection::vec((line(), ending), 0..60), any::<bool>()).prop_map(|(lines, cut)| {
        let mut input = Vec::new();
        for (line, ending) in lines {
            input.extend(line);
            input.extend(ending);
        }
        if cut {
            input.pop();
        }
        input
    })
}

fn some(range: std::ops::Range<usize>) -> impl Strategy<Value = NonZeroUsize> {
    range.prop_map(|n| NonZeroUsize::new(n).expect("the ranges start above zero"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/proptest-regressions/pipeline.txt"
        )))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_run_is_the_sequential_fold(
        inputs in prop::collection::vec(input(), 0..4),
        sizes in prop::collection::vec(1_usize..64, 1..4),
        block_size in prop_oneof![some(1..8), some(8..64), some(64..4096)],
        max_line in prop_oneof![some(1..20), some(20..120), Just(nz!(1 << 20))],
        samples in 0_usize..6,
        factor in prop_oneof![Just(1), Just(2), Just(-3), Just(i64::MAX), Just(i64::MIN)],
    ) {
        let expected = fold(&inputs, factor, max_line.get(), samples);
        for workers in [nz!(1), nz!(2), nz!(8)] {
            let readers = inputs.iter().enumerate().map(|(index, input)| {
                Input::reader(&format!("input {index}"), Pieces::new(input, &sizes))
            });
            let report = Pipeline::key_value()
                .transform(times(factor))
                .workers(workers)
                .block_size(block_size)
                .max_line(max_line)
                .samples(samples)
                .overflow(Overflow::Widen)
                .run(readers)
                .expect("no reader fails and no stage panics");
            prop_assert_eq!(&Summary::from(report), &expected, "{} workers", workers);
        }
    }
}

fn run(lines: &str) -> Result<Report, Error> {
    Pipeline::key_value().run([Input::reader("lines", io::Cursor::new(lines.to_owned()))])
}

/// Enough keys of both kinds, in blocks enough, that every worker pours its
/// table out several times and the shards grow.
#[test]
fn many_keys_are_poured_and_grown_without_loss() {
    let mut text = String::new();
    let mut expected = BTreeMap::new();
    for round in 0..3_i64 {
        for key in 0..60_000_u64 {
            let name = match key % 3 {
                0 => format!("k{key}"),
                1 => format!("a key of sixteen or more bytes {key}"),
                _ => format!("{key:016}"),
            };
            text.push_str(&format!("{name}:{}\n", round + 1));
            *expected.entry(name).or_insert(0_i128) += i128::from(round) + 1;
        }
    }
    for workers in [nz!(1), nz!(2), nz!(8)] {
        let report = Pipeline::key_value()
            .workers(workers)
            .block_size(nz!(16 << 10))
            .run([Input::reader("lines", io::Cursor::new(text.clone()))])
            .unwrap();
        assert_eq!(Summary::from(report).totals, expected);
    }
}

#[test]
fn sorted_by_total_then_key_and_top_is_its_beginning() {
    let report = run("b:2\na:2\nc:9\nd:-1\ne:0\n").unwrap();
    let sorted = [("c", 9), ("a", 2), ("b", 2), ("e", 0), ("d", -1)];
    assert_eq!(report.totals.sorted(), sorted);
    for count in 0..7 {
        assert_eq!(report.totals.top(count), sorted[..count.min(5)]);
    }
    assert_eq!(report.totals.get("nobody"), None);
    assert!(run("").unwrap().totals.is_empty());
}

#[test]
fn a_partial_sum_may_leave_the_range_and_come_back() {
    let max = i64::MAX;
    let report = run(&format!("a:{max}\na:{max}\na:-{max}\na:-{max}\na:-1\n")).unwrap();
    assert_eq!(report.totals.sorted(), [("a", -1)]);
}

#[test]
fn a_total_out_of_range_is_an_error_that_names_the_first_such_key() {
    let max = i64::MAX;
    let lines =
        format!("z:{max}\nz:1\na key that is longer:{max}\na key that is longer:{max}\nb:1\n");
    let Err(Error::Overflow { key, total }) = run(&lines) else { panic!("it fits") };
    assert_eq!((key.as_str(), total), ("a key that is longer", i128::from(max) * 2));
    let error = run(&format!("a:{max}\na:1\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the total of \"a\", 9223372036854775808, does not fit a signed 64-bit integer"
    );
}

#[test]
fn saturate_and_widen_do_as_they_say() {
    let lines = format!("a:{max}\na:5\nb:{min}\nb:-5\nc:1\n", max = i64::MAX, min = i64::MIN);
    let with = |policy| {
        let input = Input::reader("lines", io::Cursor::new(lines.clone()));
        let report = Pipeline::key_value().overflow(policy).run([input]).unwrap();
        ["a", "b", "c"].map(|key| report.totals.get(key).unwrap())
    };
    let (max, min) = (i128::from(i64::MAX), i128::from(i64::MIN));
    assert_eq!(with(Overflow::Saturate), [max, min, 1]);
    assert_eq!(with(Overflow::Widen), [max + 5, min - 5, 1]);
}

/// Sums that leave the range in different workers' tables and in the shared
/// one are still one sum.
#[test]
fn wide_sums_are_exact_for_any_number_of_workers() {
    let mut lines = String::new();
    for key in 0..40_000 {
        lines.push_str(&format!("a:{}\nk{key}:1\nb:{}\n", i64::MAX, i64::MIN));
    }
    for workers in [nz!(1), nz!(2), nz!(8)] {
        let report = Pipeline::key_value()
            .workers(workers)
            .block_size(nz!(4096))
            .overflow(Overflow::Widen)
            .run([Input::reader("lines", io::Cursor::new(lines.clone()))])
            .unwrap();
        assert_eq!(report.totals.get("a"), Some(i128::from(i64::MAX) * 40_000));
        assert_eq!(report.totals.get("b"), Some(i128::from(i64::MIN) * 40_000));
        assert_eq!(report.totals.len(), 40_002);
    }
}

#[test]
fn a_panic_fails_the_run_at_its_line_whatever_the_workers() {
    let mut lines = String::new();
    for line in 1..=2_000 {
        lines.push_str(if line % 700 == 0 { "boom:1\n" } else { "fine:1\n" });
    }
    for workers in [nz!(1), nz!(2), nz!(8)] {
        let error = Pipeline::key_value()
            .transform(|record| {
                assert_ne!(record.key, "boom", "refused");
                Ok(record)
            })
            .workers(workers)
            .block_size(nz!(64))
            .run([
                Input::reader("before", &b"a:1\n"[..]),
                Input::reader("lines", io::Cursor::new(lines.clone())),
            ])
            .unwrap_err();
        let Error::Panicked { at, stage: None, panic } = &error else { panic!("{error}") };
        assert_eq!((&*at.input, at.line, at.offset), ("lines", 700, 699 * 7));
        assert!(panic.message().contains("refused"), "{panic}");
        assert!(error.to_string().starts_with("lines:700: a stage panicked: "), "{error}");
    }
}

#[test]
fn stages_of_ones_own() {
    fn semicolons(line: &str) -> Result<Record<'_>, Reason> {
        let (key, value) = line.split_once(';').ok_or(Reason::NoColon)?;
        Ok(Record { key, value: value.len() as i64 })
    }
    let report = Pipeline::parsing(semicolons)
        .transform(|record| match record.key.strip_prefix('#') {
            Some(_) => Err(Reason::rejected("a comment")),
            None => Ok(Record { key: &record.key[..1], ..record }),
        })
        .run([Input::reader("lines", &b"ab;x\nac;xyz\n#no;x\nnone\n"[..])])
        .unwrap();
    assert_eq!(report.totals.sorted(), [("a", 4)]);
    let samples: Vec<_> = report.samples.iter().map(ToString::to_string).collect();
    assert_eq!(samples, ["lines:3: a comment: \"#no;x\"", "lines:4: no colon: \"none\""]);
}

/// Empty keys cannot come from the parser but can from a transform.
#[test]
fn a_transform_may_empty_the_key() {
    let report = Pipeline::key_value()
        .transform(|record| Ok(Record { key: "", ..record }))
        .run([Input::reader("lines", &b"a:1\nb:2\n"[..])])
        .unwrap();
    assert_eq!(report.totals.sorted(), [("", 3)]);
}

/// A reader that fails after its bytes.
struct Failing(io::Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(io::Error::other("the cable is out")),
            count => Ok(count),
        }
    }
}

#[test]
fn an_input_that_fails_is_named_and_later_ones_are_not_opened() {
    let never = std::iter::from_fn(|| -> Option<Input> { panic!("opened too much") });
    let failing = Failing(io::Cursor::new(b"a:1\n".repeat(100)));
    let inputs = [Input::reader("first", &b"a:1\n"[..]), Input::reader("second", failing)];
    let error =
        Pipeline::key_value().block_size(nz!(16)).run(inputs.into_iter().chain(never)).unwrap_err();
    let Error::Input { at, source, so_far } = &error else { panic!("{error}") };
    assert_eq!((&*at.input, source.to_string().as_str()), ("second", "the cable is out"));
    assert_eq!((at.line, at.offset), (101, 400));
    assert_eq!(error.to_string(), "cannot read second beyond line 100 (byte 400)");
    let so_far = so_far.as_ref().unwrap();
    assert_eq!((so_far.totals.sorted(), so_far.read.lines), (vec![("a", 101)], 101));

    let missing = Pipeline::key_value().run([Input::file("/no/such/file")]).unwrap_err();
    assert_eq!(missing.to_string(), "cannot read /no/such/file");
    assert_eq!(
        std::error::Error::source(&missing).unwrap().to_string(),
        "No such file or directory (os error 2)"
    );
}

/// A panic comes before a reader's failure if its line does.
#[test]
fn the_first_failure_in_input_order_is_reported() {
    for workers in [nz!(1), nz!(8)] {
        let failing = Failing(io::Cursor::new(b"boom:1\n".to_vec()));
        let error = Pipeline::parsing(|line| match line {
            "boom:1" => panic!("refused"),
            line => key_value(line),
        })
        .workers(workers)
        .block_size(nz!(7))
        .run([Input::reader("lines", failing)])
        .unwrap_err();
        assert!(matches!(error, Error::Panicked { .. }), "{error}");
    }
}

#[test]
fn a_reader_that_panics_takes_the_run_with_it() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("in the reader")
        }
    }
    let run = || Pipeline::key_value().run([Input::reader("it", Panics)]).map(drop);
    let payload = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"in the reader"));
    assert!(run_is_fine_afterwards());
}

fn run_is_fine_afterwards() -> bool {
    run("a:1\n").unwrap().totals.sorted() == [("a", 1)]
}

#[test]
fn progress_ends_at_the_report() {
    let mut seen = Vec::new();
    let report = Pipeline::key_value()
        .block_size(nz!(8))
        .run_with([Input::reader("lines", &b"a:1\nbad\na:2\n\nb:3"[..])], |it| seen.push(it))
        .unwrap();
    assert!(seen.len() > 1);
    assert!(seen.windows(2).all(|pair| pair[0].bytes < pair[1].bytes));
    assert_eq!(seen.last(), Some(&report.read));
    assert_eq!(report.read, Progress { bytes: 16, lines: 5, malformed: 2 });
}

/// Memory is bounded: what is read of a line that is too long is not kept.
#[test]
fn a_long_line_is_skipped_in_small_pieces() {
    struct Endless {
        left: u64,
        largest: usize,
    }
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.largest = self.largest.max(into.len());
            assert!(self.largest <= 8192, "asked for {} bytes at once", self.largest);
            let count = self.left.min(into.len() as u64);
            into[..count as usize].fill(b'x');
            self.left -= count;
            Ok(count as usize)
        }
    }
    let long = Endless { left: 50_000_000, largest: 0 }.chain(&b"\na:1\n"[..]);
    let report = Pipeline::key_value()
        .block_size(nz!(8192))
        .max_line(nz!(1000))
        .run([Input::reader("it", long)])
        .unwrap();
    assert_eq!(report.totals.sorted(), [("a", 1)]);
    assert_eq!(report.samples[0].to_string(), "it:1: longer than 1000 bytes");
    assert_eq!(report.read, Progress { bytes: 50_000_005, lines: 2, malformed: 1 });
}

/// A line is too long by its content, wherever reading happens to stop.
#[test]
fn the_longest_line_is_the_same_for_any_block_size() {
    let max_line = nz!(6);
    for content in 0..12 {
        for ending in ["", "\n", "\r\n", "\r", "\r\r\n"] {
            let input = format!("a:1\n{}:1{ending}", "k".repeat(content)).into_bytes();
            let input = [input.clone(), input];
            let expected = fold(&input, 1, max_line.get(), 9);
            for block_size in 1..20 {
                let readers = input.iter().enumerate().map(|(index, input)| {
                    Input::reader(&format!("input {index}"), Pieces::new(input, &[3]))
                });
                let report = Pipeline::key_value()
                    .workers(nz!(1))
                    .block_size(NonZeroUsize::new(block_size).unwrap())
                    .max_line(max_line)
                    .run(readers)
                    .unwrap();
                assert_eq!(Summary::from(report), expected, "{content} {ending:?} {block_size}");
            }
        }
    }
}

#[test]
fn excerpts_are_short_and_printable() {
    let text = [b"a\x1b[31m\xff\t\"".as_slice(), &"é".repeat(300).into_bytes()].concat();
    let report = Pipeline::key_value().run([Input::reader("it", io::Cursor::new(text))]).unwrap();
    let excerpt = &report.samples[0].excerpt;
    assert!(excerpt.starts_with(r#"a\u{1b}[31m\xff\t\"éé"#), "{excerpt}");
    assert_eq!(excerpt.chars().count(), 60);
}

/// Every line that could be read counts, whatever the blocks; the line that
/// was cut off does not, and what cannot be read is listed.
#[test]
fn a_run_that_keeps_going_loses_no_total() {
    for workers in [1, 4] {
        for block_size in [1, 3, 16, 1 << 20] {
            let failing = |bytes: &[u8]| Failing(io::Cursor::new(bytes.to_vec()));
            let report = Pipeline::key_value()
                .workers(NonZeroUsize::new(workers).unwrap())
                .block_size(NonZeroUsize::new(block_size).unwrap())
                .keep_going()
                .run([
                    Input::reader("one", &b"a:1\nbad\n"[..]),
                    Input::reader("two", failing(b"a:10\na:20\na:9")),
                    Input::file("/no/such/file"),
                    Input::reader("three", failing(b"")),
                    Input::reader("four", &b"\nb:100"[..]),
                ])
                .unwrap();
            assert_eq!(report.totals.sorted(), [("b", 100), ("a", 31)]);
            assert_eq!((report.read.lines, report.read.malformed), (6, 2));
            assert_eq!(report.samples[1].to_string(), "four:1: empty line");
            let unreadable: Vec<_> = report.unreadable.iter().map(ToString::to_string).collect();
            assert_eq!(
                unreadable,
                [
                    "cannot read two beyond line 2 (byte 10): the cable is out",
                    "cannot read /no/such/file: No such file or directory (os error 2)",
                    "cannot read three: the cable is out",
                ]
            );
        }
    }
}

/// A reader that does not come to the end of a line before its time is over.
struct Endless(Option<selvedge::cancel::Token>, Instant);

impl io::Read for Endless {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if Instant::now() > self.1 {
            return Err(io::Error::other("read on and on"));
        }
        bytes.fill(0);
        if let Some(token) = &self.0 {
            token.cancel_because("enough");
        }
        Ok(bytes.len())
    }
}

/// A deadline or a cancel is noticed in the middle of a line, which then does
/// not count; the lines before it do.
#[test]
fn a_line_without_an_end_is_no_way_out_of_a_deadline() {
    let inputs = |token| {
        let long = Instant::now() + Duration::from_secs(10);
        let lines = io::Read::chain(&b"a:1\na:2\n"[..], Endless(token, long));
        [Input::reader("endless", lines)]
    };
    let run = Pipeline::key_value().max_line(nz!(64)).block_size(nz!(512));
    let report = run.within(Duration::from_millis(50)).run(inputs(None)).unwrap();
    assert!(matches!(report.stopped, Some(Stopped::TimedOut(_))), "{:?}", report.stopped);
    // Nothing at all, where the deadline had passed before the first read.
    let read = (report.totals.sorted(), report.read.lines);
    assert!(read == (vec![("a", 3)], 2) || read == (vec![], 0), "{read:?}");

    let token = selvedge::cancel::Token::new();
    let run = Pipeline::key_value().block_size(nz!(512)).token(token.clone());
    let report = run.run(inputs(Some(token))).unwrap();
    assert!(matches!(report.stopped, Some(Stopped::Cancelled(_))), "{:?}", report.stopped);
    assert_eq!((report.totals.sorted(), report.read.lines), (vec![("a", 3)], 2));
}

/// A report is read by a person, whatever is in it.
#[test]
fn a_report_is_short_when_it_is_formatted() {
    let report = Pipeline::key_value().run([Input::reader("r", &b"a:1\nb:2\n"[..])]).unwrap();
    let text = format!("{report:?}");
    assert!(text.contains(r#"Totals { keys: 2, largest: {"b": 2, "a": 1} }"#), "{text}");
    assert!(text.len() < 600, "{} bytes: {text}", text.len());
    let many: String = (0..5_000).map(|n| format!("key{n}:{n}\n")).collect();
    let many = io::Cursor::new(many.into_bytes());
    let report = Pipeline::key_value().run([Input::reader("r", many)]).unwrap();
    let text = format!("{:?}", report.totals);
    assert!(text.starts_with(r#"Totals { keys: 5000, largest: {"key4999": 4999, "#), "{text}");
    assert!(text.ends_with("}, .. }") && text.len() < 300, "{text}");
}
