//! Values there and back, and what is refused.

use super::*;
use crate::process::codec::{self, Portable, Unencoded};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;

mod fields;

fn bytes<T: Portable>(value: &T) -> Result<Vec<u8>, String> {
    let text = |error: Unencoded| error.to_string();
    let mut room = vec![0; codec::encoded_len(value).map_err(text)?];
    let len = codec::encode_to_slice(value, &mut room).map_err(text)?;
    assert_eq!(len, room.len(), "it takes what was measured");
    Ok(room)
}

fn there_and_back<T: Portable>(value: &T) -> Result<T, String> {
    codec::decode(&bytes(value)?)
}

#[track_caller]
fn crosses<T: Portable + PartialEq + Debug>(value: T) {
    assert_eq!(there_and_back(&value).as_ref(), Ok(&value));
}

/// Neither crosses as it is, nor becomes another value; described, it crosses.
#[track_caller]
fn needs_a_description<T: Portable + PartialEq + Debug>(value: T, named: &[&str]) {
    let error = there_and_back(&value).unwrap_err();
    for part in named.iter().chain(&["selvedge::process::Described"]) {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    crosses(Described(value));
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
enum Plain {
    Unit,
    New(i16),
    Tuple(bool, char, Option<Option<u8>>),
    Struct { text: String, bytes: Vec<u8>, map: BTreeMap<u8, ()>, next: Option<Box<Plain>> },
}

fn plain() -> impl Strategy<Value = Plain> {
    let leaf = prop_oneof![
        Just(Plain::Unit),
        any::<i16>().prop_map(Plain::New),
        (any::<bool>(), any::<char>(), any::<Option<Option<u8>>>())
            .prop_map(|(a, b, c)| Plain::Tuple(a, b, c)),
    ];
    leaf.prop_recursive(6, 12, 2, |inner| {
        (any::<String>(), any::<Vec<u8>>(), any::<BTreeMap<u8, ()>>(), prop::option::of(inner))
            .prop_map(|(text, bytes, map, next)| Plain::Struct {
                text,
                bytes,
                map,
                next: next.map(Box::new),
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: crate::test_seeds("process-format"),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_the_derives_make(value: (u8, i64, u128, i128, f32, f64), list in prop::collection::vec(plain(), 0..4)) {
        let same = |bits: (u8, i64, u128, i128, f32, f64)| {
            (bits.0, bits.1, bits.2, bits.3, bits.4.to_bits(), bits.5.to_bits())
        };
        prop_assert_eq!(there_and_back(&value).map(same), Ok(same(value)));
        prop_assert_eq!(there_and_back(&Described(value)).map(|got| same(got.0)), Ok(same(value)));
        prop_assert_eq!(&there_and_back(&list).map_err(TestCaseError::fail)?, &list);
        let described = Described(list);
        prop_assert_eq!(&there_and_back(&described).map_err(TestCaseError::fail)?, &described);
    }

    /// Bytes that were cut off, spoilt or made up are an error or some value:
    /// no panic, and nothing more than they can pay for.
    #[test]
    fn spoilt_bytes(list in prop::collection::vec(plain(), 0..3), cut: prop::sample::Index, place: prop::sample::Index, byte: u8) {
        for mut bytes in [bytes(&list).unwrap(), bytes(&Described(list)).unwrap()] {
            let at = place.index(bytes.len());
            bytes[at] = byte;
            let _ = codec::decode::<Vec<Plain>>(&bytes);
            let _ = codec::decode::<Described<Vec<Plain>>>(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = codec::decode::<Vec<Plain>>(&bytes);
            let _ = codec::decode::<Described<Vec<Plain>>>(&bytes);
        }
    }
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

#[test]
fn a_field_that_is_left_out_is_named() {
    #[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Skips {
        #[serde(skip_serializing_if = "is_zero")]
        first: u8,
        second: u8,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        third: Vec<u8>,
    }
    let skips = |first, third: &[u8]| Skips { first, second: 1, third: third.to_vec() };
    crosses(skips(7, &[1]));
    needs_a_description(skips(0, &[7, 0]), &["field `first` of `Skips`", "skip_serializing_if"]);
    needs_a_description(skips(1, &[]), &["field `third` of `Skips`", "skip_serializing_if"]);
    needs_a_description(vec![skips(0, &[]), skips(9, &[9])], &["field `first`"]);

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    enum InVariant {
        Struct {
            #[serde(skip_serializing_if = "Option::is_none")]
            left: Option<u8>,
            right: u8,
        },
    }
    crosses(InVariant::Struct { left: Some(1), right: 2 });
    needs_a_description(
        InVariant::Struct { left: None, right: 2 },
        &["field `left` of `InVariant`"],
    );
}

/// serde does not say which field of a tuple is left out, nor of the ones that
/// always are: then their number differs.
#[test]
fn fields_that_only_one_side_knows_are_errors() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Pair(
        #[serde(skip_serializing_if = "Option::is_none", default)] Option<u8>,
        #[serde(default)] Option<u8>,
    );
    crosses(Pair(Some(1), None));
    let error = there_and_back(&Pair(None, Some(5))).unwrap_err();
    assert!(error.contains("`Pair` writes other fields than it reads"), "{error}");

    #[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Unwritten {
        #[serde(skip_serializing)]
        first: u8,
        second: u8,
    }
    let error = there_and_back(&Unwritten { first: 1, second: 2 }).unwrap_err();
    assert!(error.contains("`Unwritten` writes other fields than it reads"), "{error}");

    #[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
    struct Unread {
        #[serde(skip_deserializing)]
        first: u8,
        second: u8,
    }
    let error = there_and_back(&Unread { first: 1, second: 2 }).unwrap_err();
    assert!(error.contains("`Unread` writes other fields than it reads"), "{error}");
    assert!(error.contains("skip_deserializing"), "{error}");
}

#[test]
fn attributes_that_do_no_harm() {
    #[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
    struct Named {
        #[serde(skip)]
        cache: u8,
        #[serde(rename = "other", alias = "third", alias = "fourth")]
        first: u8,
        #[serde(default)]
        second: Option<u8>,
    }
    crosses(Named { cache: 0, first: 1, second: Some(2) });
    crosses(Described(Named { cache: 0, first: 1, second: None }));

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(transparent)]
    struct Through(Vec<u8>);
    crosses(Through(vec![1, 2]));

    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
    #[serde(into = "String", try_from = "String")]
    struct Even(u32);
    impl From<Even> for String {
        fn from(even: Even) -> Self {
            even.0.to_string()
        }
    }
    impl TryFrom<String> for Even {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            let n: u32 = text.parse().map_err(|_| format!("{text} is no number"))?;
            if n.is_multiple_of(2) { Ok(Self(n)) } else { Err(format!("{n} is odd")) }
        }
    }
    crosses(Even(4));
    crosses(Described(Even(4)));
    // An implementation's own words are kept.
    assert_eq!(there_and_back(&Even(5)), Err("5 is odd".to_owned()));
    assert_eq!(there_and_back(&Described(Even(5))), Err("5 is odd".to_owned()));
}

/// With numbers the one behind the skipped variant became the next.
#[test]
fn variants_behind_a_skipped_one_keep_their_names() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    enum Kept {
        #[serde(skip)]
        _Gone,
        First,
        Second(u8),
        Third,
    }
    for kept in [Kept::First, Kept::Second(3), Kept::Third] {
        crosses(kept);
    }
    assert!(bytes(&Kept::_Gone).unwrap_err().contains("cannot be serialized"));
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(untagged)]
enum Anything {
    Nothing(()),
    Flag(bool),
    Whole(i64),
    Half(f64),
    Text(String),
    List(Vec<Anything>),
    Named(BTreeMap<String, Anything>),
}

#[test]
fn types_that_ask_what_they_are() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(tag = "kind")]
    enum Tagged {
        Struct { n: Option<Option<u32>>, plain: Plain },
        Unit,
    }
    needs_a_description(Tagged::Struct { n: Some(None), plain: Plain::Unit }, &["tag"]);
    crosses(Described(Tagged::Struct { n: None, plain: Plain::New(-3) }));
    crosses(Described(Tagged::Struct {
        n: Some(Some(7)),
        plain: Plain::Tuple(true, 'é', Some(None)),
    }));
    needs_a_description(Tagged::Unit, &["tag"]);

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(tag = "kind", content = "content")]
    enum Adjacent {
        New(u8),
        Tuple(u8, u8),
        Unit,
    }
    for adjacent in [Adjacent::New(1), Adjacent::Tuple(1, 2), Adjacent::Unit] {
        needs_a_description(adjacent, &["tag"]);
    }

    let list = vec![Anything::Whole(-1), Anything::Half(0.5), Anything::Nothing(())];
    let named = BTreeMap::from([
        ("list".to_owned(), Anything::List(list)),
        ("text".to_owned(), Anything::Text("x".into())),
        ("flag".to_owned(), Anything::Flag(true)),
    ]);
    needs_a_description(Anything::Whole(4), &["untagged"]);
    needs_a_description(Anything::Named(named), &["untagged"]);

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Outer {
        own: u8,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        rest: BTreeMap<String, Anything>,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Inner {
        deep: Option<Plain>,
    }
    let rest = BTreeMap::from([("else".to_owned(), Anything::Whole(9))]);
    let inner = Inner { deep: Some(Plain::New(5)) };
    needs_a_description(Outer { own: 1, inner, rest }, &["flatten"]);
}

#[test]
fn one_field_may_be_described() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Mixed {
        before: u32,
        anything: Described<Anything>,
        after: Option<Described<Option<Anything>>>,
    }
    crosses(Mixed {
        before: 1,
        anything: Anything::Text("x".into()).into(),
        after: Some(Described(None)),
    });
    crosses(Described(Described(Some(Some(())))));
}

#[test]
fn lengths_are_kept_to() {
    struct Says(Option<usize>, bool);
    impl Serialize for Says {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{SerializeMap, SerializeSeq};
            if self.1 {
                let mut map = serializer.serialize_map(self.0)?;
                map.serialize_entry(&1_u8, &2_u8)?;
                return map.end();
            }
            let mut seq = serializer.serialize_seq(self.0)?;
            seq.serialize_element(&1_u8)?;
            seq.end()
        }
    }
    impl<'de> Deserialize<'de> for Says {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self(None, false))
        }
    }
    for map in [false, true] {
        assert!(bytes(&Says(Some(1), map)).is_ok());
        for wrong in [0, 2] {
            let error = bytes(&Says(Some(wrong), map)).unwrap_err();
            assert!(error.contains(&format!("length of {wrong} and wrote 1")), "{error}");
        }
        let error = bytes(&Says(None, map)).unwrap_err();
        assert!(error.contains("does not say its length"), "{error}");
        assert!(bytes(&Described(Says(None, map))).is_ok());
    }
}

/// Each level is the smallest that a type can have.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
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

#[test]
fn deep_values_are_errors_on_both_sides() {
    // A newtype and a sequence each.
    let most = LEVELS as usize / 2 - 1;
    crosses(Nest::of(most));
    crosses(Described(Nest::of(most)));
    for levels in [most + 1, 1_000_000] {
        let nest = Nest::of(levels);
        for refused in [bytes(&nest), bytes(&Described(nest))] {
            let error = refused.unwrap_err();
            assert!(error.contains("nested more than 256 levels deep"), "{error}");
        }
    }
    // As a worker that keeps to nothing would send them: sequences of one, as
    // many options, and the same with descriptions.
    let deep = vec![1_u8; 1_000_000];
    let error = codec::decode::<Nest>(&deep).unwrap_err();
    assert!(error.contains("nested more than 256 levels deep"), "{error}");
    for mark in [3_u8, 14, 16] {
        let unit = if mark == 16 { vec![16, 1, b'x'] } else { vec![mark] };
        let deep = unit.repeat(300_000);
        let error = codec::decode::<Described<Whatever>>(&deep).map(drop).unwrap_err();
        assert!(error.contains("nested more than 256 levels deep"), "{mark}: {error}");
    }
}

/// Follows whatever it is shown.
#[derive(Serialize)]
struct Whatever;

impl<'de> Deserialize<'de> for Whatever {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(serde::de::IgnoredAny).map(|_| Self)
    }
}

/// The limit is of use only if so many levels fit a thread's stack, with large
/// frames and without optimisation.
#[test]
fn the_deepest_values_fit_a_small_stack() {
    #[derive(Serialize, Deserialize, Debug, PartialEq, Default, Clone)]
    struct Wide {
        numbers: [u64; 16],
        more: [String; 8],
        name: String,
        next: Option<Box<Wide>>,
    }
    let deep = (0..LEVELS / 2 - 1)
        .fold(Wide::default(), |inner, _| Wide { next: Some(Box::new(inner)), ..Wide::default() });
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let thread = small.spawn(move || {
        crosses(deep.clone());
        crosses(Described(deep));
    });
    thread.unwrap().join().unwrap();
}
