//! Fields that only one side knows, two of which even out in the number.
#![allow(dead_code, reason = "values that are refused are not looked at")]

use super::{Portable, crosses, needs_a_description, there_and_back};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;

#[track_caller]
fn is_refused<T: Portable + fmt::Debug>(value: T) {
    let error = there_and_back(&value).unwrap_err();
    for part in ["writes other fields than it reads", "skip_deserializing", "skip_serializing"] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn one_unwritten_beside_one_unread() {
    #[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
    struct Beside {
        #[serde(skip_serializing, default)]
        first: u8,
        #[serde(skip_deserializing)]
        second: u8,
    }
    is_refused(Beside { first: 1, second: 2 });
    // It was another value: `Beside { first: 2, second: 0 }`.
    needs_a_description(Beside::default(), &["`Beside` writes other fields"]);

    #[derive(Serialize, Deserialize, Debug)]
    struct TheOtherWay {
        #[serde(skip_deserializing)]
        first: u8,
        #[serde(skip_serializing)]
        second: u8,
    }
    is_refused(TheOtherWay { first: 1, second: 2 });

    #[derive(Serialize, Deserialize, Debug)]
    struct Apart {
        #[serde(skip_deserializing)]
        first: u8,
        between: u8,
        #[serde(skip)]
        nowhere: u8,
        #[serde(skip_serializing)]
        last: u8,
    }
    is_refused(Apart { first: 1, between: 2, nowhere: 3, last: 4 });
    is_refused(vec![Some(Apart { first: 1, between: 2, nowhere: 3, last: 4 })]);

    #[derive(Serialize, Deserialize, Debug)]
    enum Variant {
        Struct {
            #[serde(skip_serializing)]
            first: u8,
            #[serde(skip_deserializing)]
            second: u8,
        },
    }
    is_refused(Variant::Struct { first: 1, second: 2 });
}

#[test]
fn one_left_out_beside_one_unread() {
    #[derive(Serialize, Deserialize, Debug)]
    struct Sometimes {
        #[serde(skip_serializing_if = "Option::is_none")]
        first: Option<u8>,
        #[serde(skip_deserializing)]
        second: u8,
    }
    // Left out, it is named while it is written.
    let error = there_and_back(&Sometimes { first: None, second: 2 }).unwrap_err();
    assert!(error.contains("field `first` of `Sometimes` was left out"), "{error}");
    is_refused(Sometimes { first: Some(1), second: 2 });
}

#[test]
fn names_that_differ_between_the_sides() {
    #[derive(Serialize, Deserialize, Debug)]
    struct Renamed {
        #[serde(rename(serialize = "out", deserialize = "in"))]
        field: u8,
    }
    is_refused(Renamed { field: 1 });

    #[derive(Serialize, Deserialize, Debug)]
    #[serde(rename_all(serialize = "camelCase", deserialize = "snake_case"))]
    struct Cases {
        two_words: u8,
    }
    is_refused(Cases { two_words: 1 });

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Known {
        #[serde(rename(serialize = "out", deserialize = "in"), alias = "out")]
        field: u8,
        #[serde(alias = "a", alias = "z")]
        other: u8,
    }
    crosses(Known { field: 1, other: 2 });

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "camelCase", rename = "Elsewhere")]
    struct Same {
        two_words: u8,
        #[serde(rename = "r#odd")]
        r#type: u8,
    }
    crosses(Same { two_words: 1, r#type: 2 });
}

/// Aliases make the list of names longer than the number of fields, and hide
/// none that is missing.
#[test]
fn aliases_hide_nothing() {
    #[derive(Serialize, Deserialize, Debug)]
    struct Aliased {
        #[serde(alias = "a", alias = "z")]
        first: u8,
        #[serde(skip_serializing, alias = "b")]
        second: u8,
        #[serde(skip_deserializing)]
        third: u8,
    }
    is_refused(Aliased { first: 1, second: 2, third: 3 });
}

/// Fields by number, of which some are written and some are read.
const NAMES: [&str; 6] = ["a", "b", "field_3", "field_4", "a long name of a field", "a long name"];
const ALIASES: [&str; 6] = ["0", "c", "field", "z", "a long name of", "b long name"];

thread_local! {
    static WRITTEN: Cell<usize> = const { Cell::new(0) };
    static READ: Cell<usize> = const { Cell::new(0) };
    static ALIASED: Cell<usize> = const { Cell::new(0) };
}

fn of(mask: usize) -> impl Iterator<Item = usize> {
    (0..NAMES.len()).filter(move |field| mask & (1 << field) != 0)
}

#[derive(Debug, PartialEq)]
struct Some6([u8; 6]);

impl Serialize for Some6 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = WRITTEN.get();
        let mut fields = serializer.serialize_struct("Some6", written.count_ones() as usize)?;
        for field in of(written) {
            fields.serialize_field(NAMES[field], &self.0[field])?;
        }
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Some6 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InPlaces;
        impl<'de> Visitor<'de> for InPlaces {
            type Value = Some6;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("some of six fields")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Some6, A::Error> {
                let mut fields = [0; 6];
                for field in of(READ.get()) {
                    let value = seq.next_element()?;
                    fields[field] = value.ok_or_else(|| de::Error::invalid_length(field, &self))?;
                }
                Ok(Some6(fields))
            }
        }
        let (mut names, aliased) = (Vec::new(), ALIASED.get());
        for field in of(READ.get()) {
            let mut group = vec![NAMES[field]];
            group.extend((aliased & (1 << field) != 0).then_some(ALIASES[field]));
            group.sort_unstable();
            names.extend(group);
        }
        deserializer.deserialize_struct("Some6", names.leak(), InPlaces)
    }
}

/// Whatever is written and whatever is read, with and without aliases: the
/// value is the same, or it is refused.
#[test]
fn any_fields_written_and_any_read() {
    for (written, read) in (0..64).flat_map(|written| (0..64).map(move |read| (written, read))) {
        for aliased in [0, 0b10_1010, 0b11_1111] {
            WRITTEN.set(written);
            READ.set(read);
            ALIASED.set(aliased);
            let mut value = Some6([0; 6]);
            of(written & read).for_each(|field| value.0[field] = field as u8 + 1);
            of(written & !read).for_each(|field| value.0[field] = 0xEE);
            match there_and_back(&value) {
                Ok(same) => assert_eq!((written, same), (read, value)),
                Err(error) => {
                    assert_ne!(written, read, "{error}");
                    assert!(error.contains("writes other fields than it reads"), "{error}");
                }
            }
        }
    }
}
