//! Folds against a loop over the same lines.
#![cfg(not(loom))]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use selvedge::nz;
use selvedge::pipeline::{
    Error, FoldErrorKind, Groups, Input, Line, LineError, Location, Pipeline, Reason,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::panic::panic_any;

/// Gives its bytes in pieces of these sizes, over and over.
struct Pieces {
    bytes: VecDeque<u8>,
    sizes: Vec<usize>,
    reads: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = self.sizes[self.reads % self.sizes.len()];
        self.reads += 1;
        let count = most.min(into.len()).min(self.bytes.len());
        for (place, byte) in into.iter_mut().zip(self.bytes.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }
}

fn inputs(inputs: &[Vec<u8>], sizes: &[usize]) -> Vec<Input> {
    let input = |(at, bytes): (usize, &Vec<u8>)| {
        let (bytes, sizes) = (bytes.iter().copied().collect(), sizes.to_vec());
        Input::reader(&format!("in{at}"), Pieces { bytes, sizes, reads: 0 })
    };
    inputs.iter().enumerate().map(input).collect()
}

/// A line, its input, its number and its offset.
type Seen = (String, u64, u64, Vec<u8>);

/// The lines in turn, and whether each is too long.
fn lines(inputs: &[Vec<u8>], max_line: usize) -> Vec<(Seen, bool)> {
    let mut all = Vec::new();
    for (at, bytes) in inputs.iter().enumerate() {
        let mut offset = 0;
        for (number, whole) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            let line = whole.strip_suffix(b"\n").unwrap_or(whole);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let seen = (format!("in{at}"), number, offset, line.to_vec());
            all.push((seen, line.len() > max_line));
            offset += whole.len() as u64;
        }
    }
    all
}

fn seen(line: &Line<'_>) -> Seen {
    (line.input().to_owned(), line.number(), line.offset(), line.bytes().to_vec())
}

fn place((input, line, offset, _): &Seen) -> Location {
    Location { input: input.as_str().into(), line: *line, offset: *offset }
}

/// What the step makes of a line that starts so.
const MALFORMED: u8 = b'm';
const FATAL: u8 = b'f';
const PANICS: u8 = b'p';

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Fatal(u64);

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fatal at {}", self.0)
    }
}

fn step(all: &mut Vec<Seen>, line: Line<'_>) -> Result<(), LineError<Fatal>> {
    match line.bytes().first() {
        Some(&MALFORMED) => return Err(Reason::rejected("m").into()),
        Some(&FATAL) => return Err(LineError::Fatal(Fatal(line.number()))),
        Some(&PANICS) => panic_any("p"),
        _ => all.push(seen(&line)),
    }
    Ok(())
}

fn text() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = prop_oneof![
        20 => "[a-e]{0,12}".prop_map(String::into_bytes),
        2 => Just(b"m".to_vec()),
        1 => Just(b"\xff\xfe".to_vec()),
        2 => "[a-e]{20,60}".prop_map(String::into_bytes),
    ];
    let ending = prop_oneof![9 => Just(&b"\n"[..]), 1 => Just(&b"\r\n"[..])];
    let input = prop::collection::vec((line, ending), 0..40).prop_map(|lines| {
        lines.into_iter().flat_map(|(line, ending)| [&line[..], ending].concat()).collect()
    });
    prop::collection::vec(input, 0..4)
}

#[derive(Debug, Clone)]
struct Shape {
    sizes: Vec<usize>,
    workers: NonZeroUsize,
    block: NonZeroUsize,
    max_line: NonZeroUsize,
}

fn shape() -> impl Strategy<Value = Shape> {
    let some = |range: std::ops::Range<usize>| {
        range.prop_map(|number| NonZeroUsize::new(number).expect("from one on"))
    };
    (prop::collection::vec(1..50_usize, 1..5), some(1..4), some(1..100), some(1..40))
        .prop_map(|(sizes, workers, block, max_line)| Shape { sizes, workers, block, max_line })
}

fn shaped<W>(pipeline: Pipeline<W>, shape: &Shape) -> Pipeline<W> {
    pipeline.workers(shape.workers).block_size(shape.block).max_line(shape.max_line)
}

/// Puts one of these lines among the others.
fn spoil(inputs: &mut [Vec<u8>], at: prop::sample::Index, line: &[u8]) -> bool {
    let ends: Vec<(usize, usize)> = inputs
        .iter()
        .enumerate()
        .flat_map(|(input, bytes)| {
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            ends.map(move |(end, _)| (input, end + 1))
        })
        .collect();
    if ends.is_empty() {
        return false;
    }
    let (input, end) = ends[at.index(ends.len())];
    inputs[input].splice(end..end, line.iter().copied());
    true
}

/// How many lines in turn are folded, and how many are malformed, before the
/// place.
fn before(all: &[(Seen, bool)], next: &Location) -> (Vec<Seen>, u64) {
    let beginning: Vec<_> = all.iter().take_while(|(seen, _)| place(seen) != *next).collect();
    let bad = |(seen, long): &(Seen, bool)| *long || seen.3.first() == Some(&MALFORMED);
    let (malformed, folded): (Vec<_>, Vec<_>) = beginning.into_iter().partition(|one| bad(one));
    (folded.into_iter().map(|(seen, _)| seen.clone()).collect(), malformed.len() as u64)
}

fn nowhere() -> Location {
    Location { input: "".into(), line: 0, offset: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/proptest-regressions/pipeline_fold.txt"
        )))),
        ..ProptestConfig::default()
    })]

    /// In order it is the loop, to the byte, with every place.
    #[test]
    fn a_fold_in_order_is_the_loop(text in text(), shape in shape()) {
        let all = lines(&text, shape.max_line.get());
        let (expected, malformed) = before(&all, &nowhere());
        let fold = Pipeline::try_fold(Vec::new, step, |all: &mut Vec<Seen>, mut more| all.append(&mut more));
        let report = shaped(fold, &shape).in_order().run(inputs(&text, &shape.sizes)).unwrap();
        prop_assert_eq!(report.totals, expected);
        prop_assert_eq!(report.read.malformed, malformed);
        prop_assert_eq!(report.read.lines, all.len() as u64);
        prop_assert_eq!(report.read.bytes, text.iter().map(Vec::len).sum::<usize>() as u64);
    }

    /// Not in order, it is the loop where order and grouping do not matter.
    #[test]
    fn a_fold_of_groups_is_the_loop(text in text(), shape in shape()) {
        #[derive(Debug, Default, Clone, PartialEq)]
        struct Stats { count: u64, longest: usize, first: Option<u64> }
        let add = |stats: &mut Stats, line: &[u8], offset: u64| {
            stats.count += 1;
            stats.longest = stats.longest.max(line.len());
            stats.first = Some(stats.first.map_or(offset, |first| first.min(offset)));
        };
        let all = lines(&text, shape.max_line.get());
        let mut expected = BTreeMap::<Vec<u8>, Stats>::new();
        for (_, _, offset, line) in before(&all, &nowhere()).0 {
            add(expected.entry(line.iter().take(2).copied().collect()).or_default(), &line, offset);
        }
        let fold = Pipeline::fold(
            Groups::<Vec<u8>, Stats>::new,
            |groups, line| {
                if line.bytes().first() == Some(&MALFORMED) {
                    return Err(Reason::rejected("m"));
                }
                let key = &line.bytes()[..line.bytes().len().min(2)];
                add(groups.at(key), line.bytes(), line.offset());
                Ok(())
            },
            |into, from| into.merge(from, |into, from| {
                into.count += from.count;
                into.longest = into.longest.max(from.longest);
                into.first = into.first.into_iter().chain(from.first).min();
            }),
        );
        let report = shaped(fold, &shape).run(inputs(&text, &shape.sizes)).unwrap();
        let totals: Vec<_> = report.totals.sorted();
        prop_assert_eq!(totals, expected.iter().collect::<Vec<_>>());
    }

    /// What was done before a failure is all before it, and the rest can be
    /// done from there.
    #[test]
    fn a_failure_carries_what_was_done_and_where(
        mut text in text(),
        shape in shape(),
        at in any::<prop::sample::Index>(),
        fatal in any::<bool>(),
    ) {
        let max_line = shape.max_line.get();
        prop_assume!(spoil(&mut text, at, if fatal { b"f\n" } else { b"p\n" }));
        let all = lines(&text, max_line);
        let bad = all.iter().find(|(seen, _)| matches!(seen.3[..], [FATAL | PANICS])).unwrap();
        let append = |all: &mut Vec<Seen>, mut more| all.append(&mut more);
        let fold = Pipeline::try_fold(Vec::new, step, append);
        let failed = shaped(fold, &shape).in_order().run(inputs(&text, &shape.sizes)).unwrap_err();
        let next = failed.next.unwrap();
        match failed.kind {
            FoldErrorKind::Line { at, error } => {
                prop_assert!(fatal);
                prop_assert_eq!((&at, error), (&next, Fatal(at.line)));
                prop_assert_eq!(at, place(&bad.0));
            }
            FoldErrorKind::Run(error) => {
                let Error::Panicked { at, .. } = *error else { panic!("{error}") };
                prop_assert!(!fatal);
                prop_assert_eq!(at, place(&bad.0));
            }
            _ => unreachable!(),
        }
        let so_far = failed.so_far.unwrap();
        let (folded, malformed) = before(&all, &next);
        prop_assert_eq!(so_far.read.lines, folded.len() as u64 + malformed);
        prop_assert_eq!(so_far.read.malformed, malformed);
        prop_assert_eq!(&so_far.totals, &folded);
        // From there on, without the line that failed.
        let input: usize = next.input[2..].parse().unwrap();
        let mut rest = text[input..].to_vec();
        rest[0].drain(..usize::try_from(next.offset).unwrap());
        let bytes: u64 = text[..input].iter().map(|bytes| bytes.len() as u64).sum();
        prop_assert_eq!(so_far.read.bytes, bytes + next.offset);
        let bad_at = usize::try_from(bad.0.2 - next.offset).unwrap();
        rest[0].drain(bad_at..bad_at + 2);
        let fold = Pipeline::try_fold(Vec::new, step, append);
        let rest = shaped(fold, &shape).in_order().run(inputs(&rest, &shape.sizes)).unwrap();
        let is_other = |seen: &&Seen| place(seen) != place(&bad.0);
        let whole = before(&all, &nowhere()).0;
        let expected: Vec<_> = whole.iter().filter(is_other).map(|seen| &seen.3).collect();
        let done: Vec<_> = so_far.totals.iter().chain(&rest.totals).map(|seen| &seen.3).collect();
        prop_assert_eq!(done, expected);
    }
}

/// Its destructor panics too.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        panic_any("in drop");
    }
}

#[test]
fn a_state_that_panics_twice_aborts_nothing() {
    for in_order in [false, true] {
        let fold = Pipeline::fold(
            || Some(Loud),
            |_, _| -> Result<(), Reason> { panic_any("in step") },
            |_, other| std::mem::forget(other),
        );
        let fold = if in_order { fold.in_order() } else { fold };
        let failed = fold.run([Input::reader("one", &b"a\n"[..])]).map(|_| ()).unwrap_err();
        assert_eq!(failed.to_string(), "one:1: a stage panicked: in step");
        std::mem::forget(failed);
    }
}

#[test]
fn an_error_of_any_type_has_its_source() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let failed = Pipeline::try_fold(
        || 0,
        |sum, line| {
            *sum += line.text()?.parse::<i32>().map_err(|error| LineError::Fatal(Outer(error)))?;
            Ok(())
        },
        |sum, other| *sum += other,
    )
    .run([Input::reader("one", &b"1\nx\n"[..])])
    .unwrap_err();
    assert_eq!(failed.to_string(), "one:2: outer");
    let source = std::error::Error::source(&failed).expect("the step's error has one");
    assert_eq!(source.to_string(), "invalid digit found in string");
    assert!(failed.so_far.is_none() && failed.next.is_none(), "not in order");
}

#[test]
fn too_many_malformed_lines_end_a_fold() {
    let failed = Pipeline::fold(|| (), |(), line| line.text().map(drop), |(), ()| ())
        .malformed_at_most(1)
        .max_line(nz!(3))
        .in_order()
        .run([Input::reader("one", &b"ok\n\xff\nlong\nok\n"[..])])
        .unwrap_err();
    let FoldErrorKind::Run(error) = &failed.kind else { panic!("{failed}") };
    assert!(matches!(**error, Error::TooManyMalformed { limit: 1, .. }), "{error}");
    assert_eq!(
        failed.to_string(),
        "more than 1 malformed lines, the first of them one:2: not UTF-8: \"\\xff\""
    );
}

#[test]
fn nothing_folded_is_a_state_as_it_was_made() {
    for bytes in [&b""[..], b"long\n"] {
        let fold = Pipeline::fold(|| 7, |_, _| Ok(()), |sum, other| *sum += other);
        let report = fold.max_line(nz!(1)).run([Input::reader("one", bytes)]).unwrap();
        assert_eq!(report.totals, 7);
    }
}

#[test]
fn merged_groups_have_the_keys_of_both() {
    let groups = |words: &[&str]| {
        let mut groups = Groups::<String, u32>::new();
        words.iter().for_each(|word| *groups.at(*word) += 1);
        groups
    };
    for (one, other) in [("a b", "b c"), ("", "b c"), ("a b", ""), ("a", "b b c d")] {
        let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
        let mut merged = groups(&words(one));
        merged.merge(groups(&words(other)), |into, from| *into += from);
        let both = groups(&[words(one), words(other)].concat());
        assert_eq!(merged.sorted(), both.sorted());
        assert_eq!(merged.len(), both.len());
    }
}
