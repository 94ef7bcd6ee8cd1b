//! Flows and pipelines against each other, on random input, stopped and not.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use selvedge::cancel::Token;
use selvedge::nz;
use selvedge::pipeline::{
    Bound, Flow, Input, Overflow, Pipeline, Progress, Reason, Report, Stopped, key_value, times,
};
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Sample = (String, u64, u64, Reason, String);

/// What a run comes to, in a form that can be compared.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    totals: BTreeMap<String, i128>,
    read: Progress,
    samples: Vec<Sample>,
}

impl From<Report> for Summary {
    fn from(report: Report) -> Self {
        let totals = report.totals.iter().map(|(key, total)| (key.to_owned(), total)).collect();
        let samples = report.samples.into_iter();
        let samples = samples
            .map(|it| (it.at.input.to_string(), it.at.line, it.at.offset, it.reason, it.excerpt));
        Self { totals, read: report.read, samples: samples.collect() }
    }
}

const SAMPLES: usize = 4;
const FACTOR: i64 = -3;
const MAX_LINE: NonZeroUsize = nz!(40);

fn readers(inputs: &[Vec<u8>]) -> Vec<Input> {
    let reader = |(index, input): (usize, &Vec<u8>)| {
        Input::reader(&format!("input {index}"), io::Cursor::new(input.clone()))
    };
    inputs.iter().enumerate().map(reader).collect()
}

/// One worker over blocks of whole inputs, which `tests/pipeline.rs` holds to
/// a sequential fold.
fn plain(inputs: &[Vec<u8>]) -> Summary {
    let report = Pipeline::key_value()
        .transform(times(FACTOR))
        .workers(nz!(1))
        .max_line(MAX_LINE)
        .samples(SAMPLES)
        .overflow(Overflow::Widen)
        .run(readers(inputs));
    report.expect("no reader fails and no stage panics").into()
}

/// The first `count` lines of them.
fn beginning(inputs: &[Vec<u8>], mut count: u64) -> Vec<Vec<u8>> {
    let mut begun = Vec::new();
    for input in inputs {
        let lines: Vec<_> = input.split_inclusive(|&byte| byte == b'\n').collect();
        let taken = lines.len().min(usize::try_from(count).unwrap());
        count -= taken as u64;
        begun.push(lines[..taken].concat());
    }
    begun
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[ab]{1,2}:[+-]?[0-9]{1,4}".prop_map(String::into_bytes),
        1 => "[a:é]{1,8}:[0-9]{1,19}".prop_map(String::into_bytes),
        1 => "[a-z:]{0,50}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..20),
    ]
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let ending = prop_oneof![5 => Just(&b"\n"[..]), 1 => Just(&b"\r\n"[..])];
    (prop::collection::vec((line(), ending), 0..40), any::<bool>()).prop_map(|(lines, cut)| {
        let mut input: Vec<u8> =
            lines.into_iter().flat_map(|(line, ending)| [line, ending.to_vec()].concat()).collect();
        if cut {
            input.pop();
        }
        input
    })
}

fn some(range: std::ops::Range<usize>) -> impl Strategy<Value = NonZeroUsize> {
    range.prop_map(|n| NonZeroUsize::new(n).expect("the ranges start above zero"))
}

fn bound() -> impl Strategy<Value = Bound> {
    (some(1..6), some(1..6)).prop_map(|(at_once, waiting)| Bound::new(at_once).waiting(waiting))
}

/// How each of the two stages runs, and how often it yields.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tasks(u32),
    Threads,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![3 => (0_u32..4).prop_map(Kind::Tasks), 1 => Just(Kind::Threads)]
}

type Pair = (String, i64);

fn parse(line: &str) -> Result<Pair, Reason> {
    key_value(line).map(|it| (it.key.to_owned(), it.value))
}

fn transform((key, value): Pair) -> Result<Pair, Reason> {
    let record = times(FACTOR)(selvedge::pipeline::Record { key: &key, value })?;
    let value = record.value;
    Ok((key, value))
}

/// A stage of either kind around `work`.
fn stage<T, U, F>(flow: Flow<T>, name: &'static str, kind: Kind, bound: Bound, work: F) -> Flow<U>
where
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(T) -> Result<U, Reason> + Send + Sync + 'static,
{
    match kind {
        Kind::Threads => flow.threads(name, bound, work),
        Kind::Tasks(yields) => {
            let work = Arc::new(work);
            flow.tasks(name, bound, move |item| {
                let work = Arc::clone(&work);
                async move {
                    for _ in 0..yields {
                        tokio::task::yield_now().await;
                    }
                    work(item)
                }
            })
        }
    }
}

fn runtime(threads: bool) -> tokio::runtime::Runtime {
    if threads {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
    } else {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/proptest-regressions/flow.txt"
        )))),
        ..ProptestConfig::default()
    })]

    /// Whole, or cancelled from inside at some line: the report is that of the
    /// lines that it says were folded.
    #[test]
    fn a_flow_is_the_fold_of_its_beginning(
        inputs in prop::collection::vec(input(), 0..3),
        kinds in (kind(), kind()),
        bounds in (bound(), bound()),
        window in some(1..20),
        cancel_at in prop::option::of(0_u64..60),
        many in any::<bool>(),
    ) {
        let token = Token::new();
        let begun = AtomicU64::new(0);
        let canceller = token.clone();
        let counted = move |line: Arc<str>| {
            if Some(begun.fetch_add(1, Ordering::Relaxed)) == cancel_at {
                canceller.cancel();
            }
            parse(&line)
        };
        let flow = Flow::inputs(readers(&inputs), MAX_LINE);
        let flow = stage(flow, "parse", kinds.0, bounds.0, counted);
        let flow = stage(flow, "transform", kinds.1, bounds.1, transform);
        let run = flow.window(window).samples(SAMPLES).token(token).totals(Overflow::Widen);
        let report = runtime(many).block_on(run).expect("no stage panics");

        if cancel_at.is_none() {
            prop_assert_eq!(&report.stopped, &None);
        }
        let whole = plain(&inputs);
        let folded = match report.stopped {
            None => whole.read.lines,
            Some(Stopped::Cancelled(_)) => report.read.lines,
            Some(Stopped::TimedOut(_)) => unreachable!("there is no deadline"),
        };
        let expected = plain(&beginning(&inputs, folded));
        prop_assert_eq!(Summary::from(report), expected);
    }

    /// The same for the pipeline of blocks, which stops between blocks.
    #[test]
    fn a_pipeline_is_the_fold_of_its_beginning(
        inputs in prop::collection::vec(input(), 0..3),
        block_size in some(1..64),
        cancel_at in prop::option::of(0_u64..60),
        workers in some(1..9),
    ) {
        let token = Token::new();
        let (begun, canceller) = (AtomicU64::new(0), token.clone());
        let report = Pipeline::parsing(move |line| {
            if Some(begun.fetch_add(1, Ordering::Relaxed)) == cancel_at {
                canceller.cancel();
            }
            key_value(line)
        })
        .transform(times(FACTOR))
        .workers(workers)
        .block_size(block_size)
        .max_line(MAX_LINE)
        .samples(SAMPLES)
        .overflow(Overflow::Widen)
        .token(token)
        .run(readers(&inputs))
        .expect("no stage panics");
        let folded = match report.stopped {
            None => plain(&inputs).read.lines,
            Some(_) => report.read.lines,
        };
        let expected = plain(&beginning(&inputs, folded));
        prop_assert_eq!(Summary::from(report), expected);
    }
}

#[test]
fn a_pipeline_stops_when_told() {
    let endless = || [Input::reader("endless", io::repeat(b'\n'))];
    let pipeline = Pipeline::parsing(|_| Ok(selvedge::pipeline::Record { key: "a", value: 1 }));
    let report = pipeline.within(super::ms(5)).run(endless()).unwrap();
    assert_eq!(report.totals.get("a").unwrap_or(0), i128::from(report.read.lines));
    assert_eq!(report.stopped.unwrap().to_string(), "timed out: run of 5ms passed");

    let token = Token::new();
    token.cancel_because("enough");
    let meter = selvedge::pipeline::Meter::new();
    let report = Pipeline::key_value().token(token).meter(&meter).run(endless()).unwrap();
    assert_eq!(report.stopped.unwrap().to_string(), "cancelled: enough");
    assert!(report.totals.is_empty());
    assert_eq!(report.stages, meter.stages());
    let input = [Input::reader("lines", io::Cursor::new("a:1\n".repeat(1000)))];
    let report = Pipeline::key_value().block_size(nz!(400)).run(input).unwrap();
    let counts: Vec<_> = report.stages.iter().map(|it| (it.name, it.items, it.busy)).collect();
    assert_eq!(counts, [("read", 10, 0), ("parse and total", 10, 0)]);
}
