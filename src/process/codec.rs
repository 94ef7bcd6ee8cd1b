//! Values as bytes: in our `format`, with a short way for `Vec<u8>`.
//!
//! serde sees a `Vec<u8>` as a sequence of numbers and would take them one by
//! one. Both sides are the same executable, so both know when the type is
//! `Vec<u8>` and copy it whole instead.

use super::format::{Decoder, Encoder};
use super::wire::{HEAD, INLINE, Kind, head};
use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use std::any::Any;

/// What can cross to a worker process and back: types that serde can write and
/// read, and that borrow nothing. Implemented for all of them.
///
/// # What crosses
///
/// A value crosses whole, or its task ends with [`Fault::Encode`] or
/// [`Fault::Decode`] and a text that says what to do. It never becomes another
/// value.
///
/// Everything that the derives make without attributes crosses, and so do
/// values with the attributes `skip`, `rename`, `alias`, `default`, `with`,
/// `from`, `into`, `transparent` and `remote`. Variants go by their names, and fields by
/// their places with 16 bits of their names, so the sides may not disagree on them.
///
/// Both sides know the type, and values do not describe themselves. The
/// following therefore need [`Described`] around them, and are refused without:
///
/// * fields that only one side knows (`skip_serializing_if`,
///   `skip_serializing`, `skip_deserializing`);
/// * `tag` (with `content` too), `untagged` and `flatten`, and types that ask what they are, such as
///   `serde_json::Value`;
/// * sequences and maps that do not know their length beforehand.
///
/// A field that is renamed for one side alone needs the other name as an
/// `alias`.
///
/// Three things are not told from what is right: a type whose own `Serialize`
/// and `Deserialize` disagree (one writes a tuple, the other reads a sequence);
/// in a tuple struct, whose fields have no names, one field that is not written
/// beside another that is not read; and in a struct the same where an `alias`
/// of a third field is the name of the one that is not read.
///
/// # Depth
///
/// Values may be nested 256 levels deep: each sequence, map, struct, tuple,
/// variant, option and newtype is one. Deeper ones are refused on both sides,
/// and overflow no stack of the usual 2 MiB.
///
/// [`Fault::Encode`]: super::Fault::Encode
/// [`Fault::Decode`]: super::Fault::Decode
/// [`Described`]: super::Described
///
/// # Sending bytes
///
/// A `Vec<u8>` that is the whole item or result is copied as it is. Inside
/// other types serde sees a `Vec<u8>` as a sequence of numbers and takes them
/// one by one, some nanoseconds each: use `serde_bytes::ByteBuf` there, or its
/// `#[serde(with = "serde_bytes")]`.
///
/// Items and results of more than 64 KiB travel in memory of their own, which
/// is used again: a pool keeps up to 128 MiB for arguments, and each worker as
/// much for results, until the pool is dropped.
pub trait Portable: Serialize + DeserializeOwned + 'static {}
impl<T: Serialize + DeserializeOwned + 'static> Portable for T {}

/// Why a value was not encoded.
#[derive(Debug)]
pub(crate) enum Unencoded {
    /// It does not fit.
    NoRoom,
    /// Its `Serialize` refused.
    Refused(String),
}

impl std::fmt::Display for Unencoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRoom => f.write_str("too large"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Unencoded {}

impl serde::ser::Error for Unencoded {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self::Refused(text.to_string())
    }
}

impl From<postcard::Error> for Unencoded {
    fn from(error: postcard::Error) -> Self {
        match error {
            postcard::Error::SerializeBufferFull => Self::NoRoom,
            other => Self::Refused(other.to_string()),
        }
    }
}

/// The bytes of a `Vec<u8>`, if that is what it is.
pub(crate) fn as_bytes<T: 'static>(value: &T) -> Option<&[u8]> {
    (value as &dyn Any).downcast_ref::<Vec<u8>>().map(Vec::as_slice)
}

/// Whether a value of this type is its bytes.
pub(crate) fn is_bytes<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<Vec<u8>>()
}

/// Makes a `T` of bytes that are its own.
pub(crate) fn from_vec<T: Portable>(bytes: Vec<u8>) -> Result<T, String> {
    if !is_bytes::<T>() {
        return decode(&bytes);
    }
    let mut whole = Some(bytes);
    let whole: &mut dyn Any = &mut whole;
    let whole = whole.downcast_mut::<Option<T>>().expect("T is Vec<u8>");
    Ok(whole.take().expect("it was put there"))
}

/// Decodes all of `bytes`.
#[inline]
pub(crate) fn decode<T: Portable>(bytes: &[u8]) -> Result<T, String> {
    if is_bytes::<T>() {
        return from_vec(bytes.to_vec());
    }
    let mut decoder = Decoder::new(bytes);
    let read = T::deserialize(&mut decoder).and_then(|value| Ok((value, decoder.rest()?)));
    match read {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// Bytes that postcard takes for a number, at most.
const LONGEST_NUMBER: usize = 10;

/// Writes to a slice from its front.
///
/// Most of what is written is numbers, which postcard puts together byte by
/// byte: a call of `memcpy`, or a copy of several bytes at once, would wait for
/// those single bytes to reach the cache.
struct Ahead<'r> {
    room: &'r mut [u8],
    at: usize,
}

impl Flavor for Ahead<'_> {
    type Output = usize;

    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        let place = self.room.get_mut(self.at).ok_or(postcard::Error::SerializeBufferFull)?;
        *place = byte;
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let room = self.room.get_mut(self.at..).and_then(|room| room.get_mut(..bytes.len()));
        let room = room.ok_or(postcard::Error::SerializeBufferFull)?;
        self.at += bytes.len();
        if bytes.len() > LONGEST_NUMBER {
            room.copy_from_slice(bytes);
            return Ok(());
        }
        macro_rules! one_by_one {
            ($($at:literal)*) => {
                $(
                    if bytes.len() == $at {
                        return Ok(());
                    }
                    room[$at] = bytes[$at];
                )*
            };
        }
        one_by_one!(0 1 2 3 4 5 6 7 8 9);
        Ok(())
    }

    #[inline(always)]
    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.at)
    }
}

/// How many bytes `value` takes.
pub(crate) fn encoded_len<T: Portable>(value: &T) -> Result<usize, Unencoded> {
    match as_bytes(value) {
        Some(bytes) => Ok(bytes.len()),
        None => encode(value, postcard::ser_flavors::Size::default()),
    }
}

/// Writes `value` to the start of `room`; returns how many bytes it took.
#[inline]
pub(crate) fn encode_to_slice<T: Portable>(value: &T, room: &mut [u8]) -> Result<usize, Unencoded> {
    if let Some(bytes) = as_bytes(value) {
        let to = room.get_mut(..bytes.len()).ok_or(Unencoded::NoRoom)?;
        to.copy_from_slice(bytes);
        return Ok(bytes.len());
    }
    encode(value, Ahead { room, at: 0 })
}

/// Writes `value` to a vector of its own.
pub(crate) fn encode_to_vec<T: Portable>(value: &T) -> Result<Vec<u8>, Unencoded> {
    match as_bytes(value) {
        Some(bytes) => Ok(bytes.to_vec()),
        None => encode(value, postcard::ser_flavors::AllocVec::default()),
    }
}

#[inline(always)]
fn encode<T: Portable, F: Flavor>(value: &T, output: F) -> Result<F::Output, Unencoded> {
    let mut encoder = Encoder::new(output);
    value.serialize(&mut encoder)?;
    encoder.finish()
}

/// Records one after the other.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// All of it written to, for the encoder.
    bytes: Vec<u8>,
    used: usize,
    count: u32,
}

impl Records {
    /// Room for about as many bytes, which grows.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes + bytes / 8], used: 0, count: 0 }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Where the next record begins.
    pub(crate) fn mark(&self) -> (usize, u32) {
        (self.used, self.count)
    }

    /// Takes back what was added since.
    pub(crate) fn back_to(&mut self, (used, count): (usize, u32)) {
        (self.used, self.count) = (used, count);
    }

    /// Adds a record of a value; one longer than [`INLINE`] finds no room.
    #[inline]
    pub(crate) fn add<T: Portable>(&mut self, value: &T) -> Result<(), Unencoded> {
        let start = self.used + HEAD;
        let most = start + INLINE;
        loop {
            let end = self.bytes.len().min(most);
            let encoded = match self.bytes.get_mut(start..end) {
                Some(room) => encode_to_slice(value, room),
                None => Err(Unencoded::NoRoom),
            };
            match encoded {
                Ok(len) => {
                    self.bytes[self.used..start].copy_from_slice(&head(Kind::Value, len));
                    self.used = start + len;
                    self.count += 1;
                    return Ok(());
                }
                Err(Unencoded::NoRoom) if end < most => {
                    let doubled = (2 * self.bytes.len()).max(start + 16);
                    self.bytes.resize(doubled.min(most), 0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.used);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 500,
            failure_persistence: crate::test_seeds("process-codec"),
            ..ProptestConfig::default()
        })]

        /// What is written byte by byte is what postcard writes, and it is
        /// refused by a room that is a byte too small.
        #[test]
        fn as_postcard_writes_it(
            value: (u64, i32, bool, Option<u16>, String, Vec<u32>, u128, f64),
        ) {
            let expected = postcard::to_allocvec(&value).expect("plain data");
            let mut room = vec![0; expected.len()];
            prop_assert_eq!(encode_to_slice(&value, &mut room).ok(), Some(expected.len()));
            prop_assert_eq!(&room, &expected);
            prop_assert_eq!(encoded_len(&value).ok(), Some(expected.len()));
            room.pop();
            prop_assert!(matches!(encode_to_slice(&value, &mut room), Err(Unencoded::NoRoom)));
        }

        /// Records come back in order, however the room had to grow; one that
        /// is too long changes nothing.
        #[test]
        fn records_of_any_length(lengths in prop::collection::vec(0..5_000_usize, 0..30), room in 0..200_usize) {
            let mut records = Records::with_room(room);
            let values: Vec<Vec<u8>> = lengths.iter().map(|len| vec![*len as u8; *len]).collect();
            for value in &values {
                prop_assert!(records.add(value).is_ok());
                prop_assert!(matches!(records.add(&vec![0_u8; INLINE + 1]), Err(Unencoded::NoRoom)));
            }
            prop_assert_eq!(records.count() as usize, values.len());
            let (bytes, mut at) = (records.into_bytes(), 0);
            for value in &values {
                let (kind, body, next) = super::super::wire::record(&bytes, at).expect("a record");
                prop_assert_eq!((kind, body), (Kind::Value, &value[..]));
                at = next;
            }
            prop_assert_eq!(at, bytes.len());
        }
    }

    #[test]
    fn nothing_takes_no_room() {
        let mut records = Records::default();
        assert!(records.add(&()).is_ok());
        assert_eq!((records.count(), records.into_bytes()), (1, vec![0; HEAD]));
    }
}
