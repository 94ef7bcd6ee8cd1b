//! Writing values that both sides know the type of.

use super::described::{self, Describing};
use super::{LEVELS, REMEDY, mark_of, too_deep};
use crate::process::codec::Unencoded;
use postcard::ser_flavors::Flavor;
use serde::{Serialize, ser};

type Wrote = Result<(), Unencoded>;

/// Writes one value to a flavor of postcard's.
pub(in crate::process) struct Encoder<F: Flavor> {
    out: postcard::Serializer<F>,
    /// Levels that may still be opened.
    left: u32,
}

impl<F: Flavor> Encoder<F> {
    pub(in crate::process) fn new(output: F) -> Self {
        Self { out: postcard::Serializer { output }, left: LEVELS }
    }

    pub(in crate::process) fn finish(self) -> Result<F::Output, Unencoded> {
        Ok(self.out.output.finalize()?)
    }

    /// A number, text or the like.
    #[inline]
    pub(super) fn leaf<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        Ok(value.serialize(&mut self.out)?)
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) -> Wrote {
        Ok(self.out.output.try_push(byte)?)
    }

    /// What tells the next field from others.
    #[inline]
    fn name(&mut self, name: &str) -> Wrote {
        let [high, low] = mark_of(name).to_be_bytes();
        self.byte(high)?;
        self.byte(low)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Wrote {
        Ok(ser::Serializer::serialize_bytes(&mut self.out, bytes)?)
    }

    #[inline]
    pub(super) fn open(&mut self) -> Wrote {
        self.left = self.left.checked_sub(1).ok_or_else(|| Unencoded::Refused(too_deep()))?;
        Ok(())
    }

    #[inline]
    pub(super) fn close(&mut self) {
        self.left += 1;
    }

    #[inline]
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        self.open()?;
        value.serialize(&mut *self)?;
        self.close();
        Ok(())
    }

    #[inline]
    fn parts(&mut self, of: &'static str, promised: usize) -> Result<Parts<'_, F>, Unencoded> {
        self.open()?;
        Ok(Parts { encoder: self, of, promised, wrote: 0 })
    }

    /// As [`parts`](Self::parts), and says how many there are.
    #[inline]
    fn counted(&mut self, of: &'static str, promised: usize) -> Result<Parts<'_, F>, Unencoded> {
        self.leaf(&promised)?;
        self.parts(of, promised)
    }
}

fn length_unknown(what: &str) -> Unencoded {
    Unencoded::Refused(format!(
        "a {what} does not say its length beforehand (`#[serde(flatten)]` makes maps of this \
         kind): {REMEDY}"
    ))
}

macro_rules! leaves {
    ($($method:ident $type:ty),*) => { $(
        #[inline]
        fn $method(self, value: $type) -> Wrote {
            self.leaf(&value)
        }
    )* };
}

impl<'e, F: Flavor> ser::Serializer for &'e mut Encoder<F> {
    type Ok = ();
    type Error = Unencoded;
    type SerializeSeq = Parts<'e, F>;
    type SerializeTuple = Parts<'e, F>;
    type SerializeTupleStruct = Parts<'e, F>;
    type SerializeTupleVariant = Parts<'e, F>;
    type SerializeMap = Parts<'e, F>;
    type SerializeStruct = Parts<'e, F>;
    type SerializeStructVariant = Parts<'e, F>;

    leaves!(
        serialize_bool bool, serialize_i8 i8, serialize_i16 i16, serialize_i32 i32,
        serialize_i64 i64, serialize_i128 i128, serialize_u8 u8, serialize_u16 u16,
        serialize_u32 u32, serialize_u64 u64, serialize_u128 u128, serialize_f32 f32,
        serialize_f64 f64, serialize_char char, serialize_str &str
    );

    fn serialize_bytes(self, value: &[u8]) -> Wrote {
        self.bytes(value)
    }

    #[inline]
    fn serialize_none(self) -> Wrote {
        self.byte(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Wrote {
        self.byte(1)?;
        self.inner(value)
    }

    #[inline]
    fn serialize_unit(self) -> Wrote {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Wrote {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Wrote {
        self.leaf(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Wrote {
        if name == described::NAME {
            return value.serialize(Describing(self));
        }
        self.inner(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Wrote {
        self.leaf(variant)?;
        self.inner(value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'e, F>, Unencoded> {
        self.counted("a sequence", len.ok_or_else(|| length_unknown("sequence"))?)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Parts<'e, F>, Unencoded> {
        self.parts("a tuple", len)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Parts<'e, F>, Unencoded> {
        self.counted(name, len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'e, F>, Unencoded> {
        self.leaf(variant)?;
        self.counted(name, len)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'e, F>, Unencoded> {
        self.counted("a map", len.ok_or_else(|| length_unknown("map"))?)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Parts<'e, F>, Unencoded> {
        self.counted(name, len)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'e, F>, Unencoded> {
        self.leaf(variant)?;
        self.counted(name, len)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements, entries or fields being written.
pub(in crate::process) struct Parts<'e, F: Flavor> {
    encoder: &'e mut Encoder<F>,
    of: &'static str,
    promised: usize,
    wrote: usize,
}

impl<F: Flavor> Parts<'_, F> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        self.wrote += 1;
        value.serialize(&mut *self.encoder)
    }

    /// A struct goes by its fields' places: one that is left out would move
    /// all that follow.
    #[cold]
    fn left_out(&self, field: &str) -> Wrote {
        let Self { of, .. } = self;
        Err(Unencoded::Refused(format!(
            "the field `{field}` of `{of}` was left out (`#[serde(skip_serializing_if)]`): {REMEDY}, \
             or write the field always"
        )))
    }

    #[inline]
    fn finish(self) -> Wrote {
        if self.wrote != self.promised {
            let Self { of, promised, wrote, .. } = self;
            return Err(Unencoded::Refused(format!(
                "{of} announced a length of {promised} and wrote {wrote}: its `Serialize` is wrong"
            )));
        }
        self.encoder.close();
        Ok(())
    }
}

macro_rules! compound {
    ($($trait:ident: $method:ident$(($key:ident))?),*) => { $(
        impl<F: Flavor> ser::$trait for Parts<'_, F> {
            type Ok = ();
            type Error = Unencoded;

            #[inline]
            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Wrote {
                $(self.encoder.name($key)?;)?
                self.part(value)
            }

            $(fn skip_field(&mut self, $key: &'static str) -> Wrote {
                self.left_out($key)
            })?

            #[inline]
            fn end(self) -> Wrote {
                self.finish()
            }
        }
    )* };
}
compound!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
    SerializeStruct: serialize_field(key),
    SerializeStructVariant: serialize_field(key)
);

impl<F: Flavor> ser::SerializeMap for Parts<'_, F> {
    type Ok = ();
    type Error = Unencoded;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Wrote {
        self.part(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn end(self) -> Wrote {
        self.finish()
    }
}
