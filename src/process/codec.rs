//! Values as bytes: postcard, with a short way for `Vec<u8>`.
//!
//! serde sees a `Vec<u8>` as a sequence of numbers and would take them one by
//! one. Both sides are the same executable, so both know when the type is
//! `Vec<u8>` and copy it whole instead.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use std::any::Any;

/// What can cross to a worker process and back: everything that serde can
/// write and read, and that borrows nothing. Implemented for all of it.
///
/// A `Vec<u8>` is copied whole; other bytes are best wrapped by `serde_bytes`.
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
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// Appends to a vector, up to a limit on its length.
struct Append<'v> {
    into: &'v mut Vec<u8>,
    most: usize,
}

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > self.most - self.into.len() {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.into.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// How many bytes `value` takes.
pub(crate) fn encoded_len<T: Portable>(value: &T) -> Result<usize, Unencoded> {
    match as_bytes(value) {
        Some(bytes) => Ok(bytes.len()),
        None => Ok(postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default())?),
    }
}

/// Appends `value` to `into` if it takes at most `room` bytes; on an error
/// `into` is as it was.
#[inline]
pub(crate) fn encode_to_vec<T: Portable>(
    value: &T,
    into: &mut Vec<u8>,
    room: usize,
) -> Result<(), Unencoded> {
    let before = into.len();
    let mut append = Append { most: before.saturating_add(room).max(before), into };
    let done = match as_bytes(value) {
        Some(bytes) => append.try_extend(bytes),
        None => postcard::serialize_with_flavor(value, append),
    };
    done.map_err(|error| {
        into.truncate(before);
        error.into()
    })
}

/// Writes `value` to the start of `room`; returns how many bytes it took.
#[inline]
pub(crate) fn encode_to_slice<T: Portable>(value: &T, room: &mut [u8]) -> Result<usize, Unencoded> {
    if let Some(bytes) = as_bytes(value) {
        let to = room.get_mut(..bytes.len()).ok_or(Unencoded::NoRoom)?;
        to.copy_from_slice(bytes);
        return Ok(bytes.len());
    }
    Ok(postcard::to_slice(value, room)?.len())
}
