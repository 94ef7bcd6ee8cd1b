//! Every task gets its own value or its own error, whatever its types, its
//! destructors and its neighbours do.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "tasks that break their process on purpose")]

use selvedge::nz;
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::{Builder, Described, Fault, Pool, Portable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::time::Duration;

/// Set in workers alone.
const WORKER: &str = "VALUES_WORKER";

fn in_a_worker() -> bool {
    std::env::var_os(WORKER).is_some()
}

fn builder() -> Builder {
    Pool::builder().workers(nz!(2)).env(WORKER, "1")
}

fn batch(tasks: u32) -> NonZeroU32 {
    NonZeroU32::new(tasks).unwrap()
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    b: u8,
    c: Vec<u8>,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(tag = "kind")]
enum Tagged {
    A { n: u32 },
    B,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(untagged)]
enum Untagged {
    N(u32),
    S(String),
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Flat {
    y: u8,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Inner {
    x: u8,
}

/// A value of another type becomes `T` in the worker, to go the second way
/// only.
trait Made: Portable + Debug + Clone + PartialEq {
    fn made() -> Vec<Self>;
}

impl Made for Skips {
    fn made() -> Vec<Self> {
        // With postcard alone: `Skips { a: Some(2), b: 7, c: [] }` and the like.
        vec![Self { a: None, b: 1, c: vec![7, 0] }, Self { a: None, b: 5, c: vec![7] }]
    }
}
impl Made for Tagged {
    fn made() -> Vec<Self> {
        vec![Self::A { n: 3 }, Self::B]
    }
}
impl Made for Untagged {
    fn made() -> Vec<Self> {
        vec![Self::S("x".into()), Self::N(4)]
    }
}
impl Made for Flat {
    fn made() -> Vec<Self> {
        vec![Self { y: 1, inner: Inner { x: 2 } }]
    }
}

fn is_refused<T: Made>(named: &str) {
    let pool = builder().build().unwrap();
    for (n, value) in T::made().into_iter().enumerate() {
        let there = pool.submit(|value: T| value == value.clone(), value.clone()).wait();
        let back = pool.submit(|n: usize| T::made().swap_remove(n), n).wait();
        let mut texts = Vec::new();
        match there.outcome {
            Outcome::Err(fault @ (Fault::Encode(_) | Fault::Decode(_))) => {
                texts.push(fault.to_string());
            }
            other => panic!("there: {other:?}"),
        }
        match back.outcome {
            Outcome::Err(fault @ (Fault::Encode(_) | Fault::Decode(_))) => {
                texts.push(fault.to_string());
            }
            other => panic!("back: {other:?}"),
        }
        assert!(texts[0].contains("the item: ") && texts[1].contains("the result: "), "{texts:?}");
        for text in texts {
            assert!(text.contains(named), "{text}");
            assert!(text.contains("selvedge::process::Described"), "{text}");
        }
        let whole = pool.submit(|value: Described<T>| value, Described(value.clone())).wait();
        assert_eq!(whole.outcome, Outcome::Ok(Described(value)));
    }
}

#[test]
fn attributes_that_do_not_cross_say_so() {
    is_refused::<Skips>("the field `a` of `Skips` was left out");
    is_refused::<Tagged>("tag");
    is_refused::<Untagged>("untagged");
    is_refused::<Flat>("flatten");
}

/// Deeper than a stack of 2 MiB can hold.
#[derive(Debug, Default)]
struct Nest(Vec<Nest>);

impl Nest {
    fn of(levels: usize) -> Self {
        (0..levels).fold(Self::default(), |inner, _| Self(vec![inner]))
    }
}

impl Drop for Nest {
    /// Not by recursion.
    fn drop(&mut self) {
        let mut left = std::mem::take(&mut self.0);
        while let Some(mut next) = left.pop() {
            left.append(&mut next.0);
        }
    }
}

impl Serialize for Nest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Nest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Nest)
    }
}

/// Writes the bytes of a value as deep as it says: a worker that keeps to no
/// limit. Its first byte and all others are lengths of one.
#[derive(Debug)]
struct Forged(#[expect(dead_code, reason = "read by decoding alone")] Nest);

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&[1; 1_000_000])
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nest::deserialize(deserializer).map(Forged)
    }
}

#[test]
fn values_that_are_too_deep_are_errors() {
    let pool = builder().build().unwrap();
    let error = |end: Outcome<_, Fault>| match end {
        Outcome::Err(fault) => fault.to_string(),
        other => panic!("{other:?}"),
    };
    let deep = pool.submit(|n: usize| Nest::of(n), 200).wait().into_result().unwrap();
    assert_eq!(deep.0.len(), 1);
    let ends = pool.map_outcomes(|n: usize| Nest::of(n), [3, 1_000_000, 4]);
    assert!(ends[0].outcome.is_ok() && ends[2].outcome.is_ok());
    for end in ends.into_iter().skip(1).step_by(2) {
        let text = error(end.outcome.map_ok());
        assert!(text.contains("the result: it is nested more than 256 levels deep"), "{text}");
    }
    let text = error(pool.submit(|_: Nest| (), Nest::of(1_000_000)).wait().outcome);
    assert!(text.contains("the item: it is nested more than 256 levels deep"), "{text}");
    let text = error(pool.submit(|()| Forged(Nest::of(0)), ()).wait().outcome.map_ok());
    assert!(text.contains("the result: it is nested more than 256 levels deep"), "{text}");
    assert_eq!(pool.map(|n: u32| n, 0..3).unwrap(), [0, 1, 2]);
}

trait MapOk<E> {
    fn map_ok(self) -> Outcome<(), E>;
}

impl<T: Debug, E: Debug> MapOk<E> for Outcome<T, E> {
    fn map_ok(self) -> Outcome<(), E> {
        match self {
            Outcome::Err(error) => Outcome::Err(error),
            other => panic!("{other:?}"),
        }
    }
}

/// Panics where it is read, in the parent alone, or in the worker alone, if its
/// number says so.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ReadsBadly(u32);

impl<'de> Deserialize<'de> for ReadsBadly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = u32::deserialize(deserializer)?;
        match n % 50 {
            7 if !in_a_worker() => panic!("reading {n}"),
            9 if in_a_worker() => std::panic::panic_any(Bomb),
            _ => Ok(Self(n)),
        }
    }
}

/// A payload that panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload too");
    }
}

/// A panic in a result's `Deserialize` is that item's outcome, and the next
/// report is the next item's.
#[test]
fn a_result_whose_deserialize_panics_costs_itself() {
    let pool = builder().build().unwrap();
    let is_right = |n: u32, outcome: Outcome<ReadsBadly, Fault>| match (n % 50, outcome) {
        (7, Outcome::Panicked(panic)) => assert_eq!(panic.message(), format!("reading {n}")),
        (7, other) => panic!("{n}: {other:?}"),
        (_, other) => assert_eq!(other, Outcome::Ok(ReadsBadly(n))),
    };
    let ends = pool.map_outcomes(|n: u32| ReadsBadly(n), 0..1_000);
    assert_eq!(ends.len(), 1_000);
    for (n, end) in (0..).zip(ends) {
        assert_eq!(end.index, n as usize);
        is_right(n, end.outcome);
    }
    let stream = pool.stream(|n: u32| ReadsBadly(n), 0..1_000, nz!(64));
    let mut count = 0;
    for (n, end) in (0..).zip(stream) {
        is_right(n, end.outcome);
        count += 1;
    }
    assert_eq!(count, 1_000);
    // The values before it were taken many at a time.
    let failed = pool.map(|n: u32| ReadsBadly(n), 0..1_000).unwrap_err();
    assert_eq!((failed.index, failed.to_string()), (7, "item 7: panicked: reading 7".to_owned()));
    is_right(57, pool.submit(|n: u32| ReadsBadly(n), 57).wait().outcome);
    // In a file of its own.
    let large = pool.submit(|n: u32| (vec![1_u8; 200_000], ReadsBadly(n)), 7).wait();
    assert!(matches!(large.outcome, Outcome::Panicked(_)), "{large:?}");
}

#[test]
fn an_item_whose_deserialize_panics_costs_itself() {
    let pool = builder().build().unwrap();
    let items = (0..1_000).filter(|n| n % 50 != 7).map(ReadsBadly);
    for end in pool.map_outcomes(|item: ReadsBadly| item.0, items.clone()) {
        let n = items.clone().nth(end.index).unwrap().0;
        match end.outcome {
            Outcome::Ok(value) => assert!(value == n && n % 50 != 9, "{n}"),
            Outcome::Panicked(_) => assert_eq!(n % 50, 9),
            other => panic!("{n}: {other:?}"),
        }
    }
}

/// Panics where it is written, if its number says so: in the parent.
#[derive(Debug, Deserialize)]
struct WritesBadly(u32, Vec<u8>);

impl Serialize for WritesBadly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTupleStruct;
        let mut parts = serializer.serialize_tuple_struct("WritesBadly", 2)?;
        parts.serialize_field(&self.0)?;
        assert!(self.0 % 50 != 7, "writing {}", self.0);
        parts.serialize_field(&self.1)?;
        parts.end()
    }
}

/// All behind such an item keep their own numbers. Some items go by themselves.
#[test]
fn an_item_whose_serialize_panics_costs_itself() {
    let pool = builder().build().unwrap();
    let items = (0..1_000).map(|n| WritesBadly(n, vec![0; if n % 90 == 0 { 100_000 } else { 3 }]));
    let ends = pool.map_outcomes(|item: WritesBadly| item.0, items);
    assert_eq!(ends.len(), 1_000);
    for (n, end) in (0..).zip(ends) {
        assert_eq!(end.index, n as usize);
        match (n % 50, end.outcome) {
            (7, Outcome::Panicked(panic)) => assert_eq!(panic.message(), format!("writing {n}")),
            (7, other) => panic!("{n}: {other:?}"),
            (_, other) => assert_eq!(other, Outcome::Ok(n)),
        }
    }
}

/// A result that panics when the worker drops it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DropsBadly(u32, Vec<u8>);

impl Drop for DropsBadly {
    fn drop(&mut self) {
        if self.0 % 50 == 7 && in_a_worker() {
            panic!("dropping {}", self.0);
        }
    }
}

/// Such a task has panicked, whether its result went among others or by
/// itself; every other task has its own value.
#[test]
fn a_result_whose_destructor_panics_costs_itself() {
    let pool = builder().build().unwrap();
    pool.map(|n: u32| n, 0..20_000).unwrap();
    let task = |n: u32| DropsBadly(n, vec![0; if n % 250 == 7 { 100_000 } else { 0 }]);
    for (n, end) in (0..).zip(pool.map_outcomes(task, 0..5_000)) {
        match (n % 50, end.outcome) {
            (7, Outcome::Panicked(panic)) => assert_eq!(panic.message(), format!("dropping {n}")),
            (7, other) => panic!("{n}: {other:?}"),
            (_, other) => assert_eq!(other.ok().map(|value| value.0), Some(n)),
        }
    }
}

/// One worker, batches of four, the last of which kills it: a batch of it is
/// still unread then, and the kernel says so before it hands over what the
/// worker had sent. Large results are among that.
#[test]
fn what_a_dead_worker_had_sent_is_kept() {
    let pool = Pool::builder().workers(nz!(1)).batch(batch(4)).build().unwrap();
    let task = |n: usize| {
        if n % 12 == 3 {
            // SAFETY: kills this process and nothing else.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        vec![n as u8; if n % 4 == 1 { 100_000 } else { 1 }]
    };
    for (n, end) in pool.map_outcomes(task, 0..1_200_usize).into_iter().enumerate() {
        let expected = match n % 12 {
            3 => Outcome::Crashed(Crash::Signal(libc::SIGKILL)),
            _ => Outcome::Ok(task_value(n)),
        };
        assert_eq!(end.outcome, expected, "task {n}");
    }
}

fn task_value(n: usize) -> Vec<u8> {
    vec![n as u8; if n % 4 == 1 { 100_000 } else { 1 }]
}

/// Written if it is small.
#[derive(Debug, Deserialize)]
struct Small(u32);

impl Serialize for Small {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 > 0 {
            return Err(serde::ser::Error::custom("not small"));
        }
        serializer.serialize_newtype_struct("Small", &0)
    }
}

/// Items that never reach a worker are not pulled without end while the first
/// one is at work.
#[test]
fn items_that_are_refused_are_bounded() {
    let pool = builder().build().unwrap();
    let mut pulled = 0;
    let items = (0..1_000_000).inspect(|_| pulled += 1).map(Small);
    let failed = pool.map(|_: Small| std::thread::sleep(Duration::from_millis(50)), items);
    assert_eq!(failed.unwrap_err().index, 1);
    assert!(pulled < 50_000, "{pulled} items were pulled");
}
