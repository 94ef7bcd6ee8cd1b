//! Values that say what they are: a mark before each, fields by their names.

use super::encode::Encoder;
use super::{Decoder, decode::Undecoded};
use crate::process::codec::Unencoded;
use postcard::ser_flavors::Flavor;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use std::fmt;
use std::marker::PhantomData;

/// A value that crosses to a worker process, or back, with a description of
/// itself: what it is, and the names of its fields.
///
/// For types that cannot cross without ([`Portable`](crate::process::Portable)
/// says which): those with the attributes `skip_serializing_if`, `flatten`,
/// `tag` or `untagged`, and those that can be anything, such as
/// `serde_json::Value`. It takes more bytes and more time. Wrap the whole item
/// or result, or the one field whose type needs it.
///
/// To other formats, such as JSON, it is the value alone.
///
/// ```
/// use selvedge::process::{Described, Pool};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// #[serde(tag = "kind")]
/// enum Shape {
///     Square { side: f64 },
///     Circle { radius: f64 },
/// }
///
/// let pool = Pool::builder().build()?;
/// let grow = |Described(shape): Described<Shape>| {
///     Described(match shape {
///         Shape::Square { side } => Shape::Square { side: side * 2.0 },
///         Shape::Circle { radius } => Shape::Circle { radius: radius * 2.0 },
///     })
/// };
/// let grown = pool.map(grow, [Described(Shape::Circle { radius: 1.5 })])?;
/// assert_eq!(grown[0].0, Shape::Circle { radius: 3.0 });
///
/// // Without it the task ends with an error that says what to do.
/// let failed = pool.map(|shape: Shape| shape, [Shape::Square { side: 1.0 }]).unwrap_err();
/// assert!(failed.to_string().contains("selvedge::process::Described"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Described<T>(pub T);

impl<T> From<T> for Described<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

/// By this name our own encoder and decoder know it.
pub(super) const NAME: &str = "selvedge::process::Described";

impl<T: Serialize> Serialize for Described<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(NAME, &self.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Described<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inside<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Inside<T> {
            type Value = Described<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with a description")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Described<T>, D::Error> {
                T::deserialize(deserializer).map(Described)
            }
        }
        deserializer.deserialize_newtype_struct(NAME, Inside(PhantomData))
    }
}

/// What comes next.
mod mark {
    pub(super) const END: u8 = 0;
    pub(super) const UNIT: u8 = 1;
    pub(super) const NONE: u8 = 2;
    pub(super) const SOME: u8 = 3;
    pub(super) const BOOL: u8 = 4;
    pub(super) const UNSIGNED: u8 = 5;
    pub(super) const SIGNED: u8 = 6;
    pub(super) const U128: u8 = 7;
    pub(super) const I128: u8 = 8;
    pub(super) const F32: u8 = 9;
    pub(super) const F64: u8 = 10;
    pub(super) const CHAR: u8 = 11;
    pub(super) const STR: u8 = 12;
    pub(super) const BYTES: u8 = 13;
    /// Values up to `END`.
    pub(super) const SEQ: u8 = 14;
    /// Keys and values up to `END`.
    pub(super) const MAP: u8 = 15;
    /// A name, then what the variant holds.
    pub(super) const VARIANT: u8 = 16;
}

type Wrote = Result<(), Unencoded>;

/// Writes marks before values.
pub(super) struct Describing<'e, F: Flavor>(pub(super) &'e mut Encoder<F>);

impl<'e, F: Flavor> Describing<'e, F> {
    fn leaf<T: Serialize + ?Sized>(self, mark: u8, value: &T) -> Wrote {
        self.0.byte(mark)?;
        self.0.leaf(value)
    }

    fn inner<T: Serialize + ?Sized>(self, value: &T) -> Wrote {
        self.0.open()?;
        value.serialize(Describing(&mut *self.0))?;
        self.0.close();
        Ok(())
    }

    fn variant(self, name: &str) -> Result<Self, Unencoded> {
        self.0.byte(mark::VARIANT)?;
        self.0.leaf(name)?;
        Ok(self)
    }

    fn parts(self, mark: u8) -> Result<Marks<'e, F>, Unencoded> {
        self.0.byte(mark)?;
        self.0.open()?;
        Ok(Marks(self.0))
    }
}

macro_rules! leaves {
    ($($method:ident $mark:ident $type:ty as $wide:ty),*) => { $(
        fn $method(self, value: $type) -> Wrote {
            self.leaf(mark::$mark, &<$wide>::from(value))
        }
    )* };
}

impl<'e, F: Flavor> Serializer for Describing<'e, F> {
    type Ok = ();
    type Error = Unencoded;
    type SerializeSeq = Marks<'e, F>;
    type SerializeTuple = Marks<'e, F>;
    type SerializeTupleStruct = Marks<'e, F>;
    type SerializeTupleVariant = Marks<'e, F>;
    type SerializeMap = Marks<'e, F>;
    type SerializeStruct = Marks<'e, F>;
    type SerializeStructVariant = Marks<'e, F>;

    leaves!(
        serialize_bool BOOL bool as bool,
        serialize_u8 UNSIGNED u8 as u64, serialize_u16 UNSIGNED u16 as u64,
        serialize_u32 UNSIGNED u32 as u64, serialize_u64 UNSIGNED u64 as u64,
        serialize_i8 SIGNED i8 as i64, serialize_i16 SIGNED i16 as i64,
        serialize_i32 SIGNED i32 as i64, serialize_i64 SIGNED i64 as i64,
        serialize_u128 U128 u128 as u128, serialize_i128 I128 i128 as i128,
        serialize_f32 F32 f32 as f32, serialize_f64 F64 f64 as f64,
        serialize_char CHAR char as char
    );

    fn serialize_str(self, value: &str) -> Wrote {
        self.leaf(mark::STR, value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Wrote {
        self.0.byte(mark::BYTES)?;
        self.0.bytes(value)
    }

    fn serialize_none(self) -> Wrote {
        self.0.byte(mark::NONE)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Wrote {
        self.0.byte(mark::SOME)?;
        self.inner(value)
    }

    fn serialize_unit(self) -> Wrote {
        self.0.byte(mark::UNIT)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Wrote {
        self.0.byte(mark::UNIT)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Wrote {
        self.variant(variant)?.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Wrote {
        self.inner(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Wrote {
        self.variant(variant)?.inner(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Marks<'e, F>, Unencoded> {
        self.parts(mark::SEQ)
    }

    fn serialize_tuple(self, _: usize) -> Result<Marks<'e, F>, Unencoded> {
        self.parts(mark::SEQ)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Marks<'e, F>, Unencoded> {
        self.parts(mark::SEQ)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Marks<'e, F>, Unencoded> {
        self.variant(variant)?.parts(mark::SEQ)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Marks<'e, F>, Unencoded> {
        self.parts(mark::MAP)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Marks<'e, F>, Unencoded> {
        self.parts(mark::MAP)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Marks<'e, F>, Unencoded> {
        self.variant(variant)?.parts(mark::MAP)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements, entries or fields being written.
pub(super) struct Marks<'e, F: Flavor>(&'e mut Encoder<F>);

impl<F: Flavor> Marks<'_, F> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        value.serialize(Describing(&mut *self.0))
    }

    fn finish(self) -> Wrote {
        self.0.close();
        self.0.byte(mark::END)
    }
}

macro_rules! compound {
    ($($trait:ident: $method:ident$(($key:ident))?),*) => { $(
        impl<F: Flavor> ser::$trait for Marks<'_, F> {
            type Ok = ();
            type Error = Unencoded;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Wrote {
                $(Describing(&mut *self.0).serialize_str($key)?;)?
                self.part(value)
            }

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

impl<F: Flavor> ser::SerializeMap for Marks<'_, F> {
    type Ok = ();
    type Error = Unencoded;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Wrote {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        self.part(value)
    }

    fn end(self) -> Wrote {
        self.finish()
    }
}

/// A value whose mark was read.
pub(super) struct Marked<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    mark: u8,
}

impl<'a, 'de> Marked<'a, 'de> {
    pub(super) fn next(decoder: &'a mut Decoder<'de>) -> Result<Self, Undecoded> {
        let mark = decoder.leaf()?;
        Ok(Self { decoder, mark })
    }

    fn inner<V: Visitor<'de>>(
        self,
        visit: impl FnOnce(Marked<'_, 'de>) -> Result<V::Value, Undecoded>,
    ) -> Result<V::Value, Undecoded> {
        let mark = self.mark;
        self.decoder.inner(|decoder| visit(Marked { decoder, mark }))
    }

    fn parts<V: Visitor<'de>>(
        self,
        visit: impl FnOnce(&mut Items<'_, 'de>) -> Result<V::Value, Undecoded>,
    ) -> Result<V::Value, Undecoded> {
        self.decoder.inner(|decoder| {
            let mut items = Items { decoder, over: false };
            let value = visit(&mut items)?;
            if items.over || items.next()?.is_none() {
                return Ok(value);
            }
            Err(Undecoded("more elements were written than are read".into()))
        })
    }
}

impl<'de> Deserializer<'de> for Marked<'_, 'de> {
    type Error = Undecoded;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecoded> {
        match self.mark {
            mark::UNIT => visitor.visit_unit(),
            mark::NONE => visitor.visit_none(),
            mark::SOME => self.inner::<V>(|some| visitor.visit_some(Marked::next(some.decoder)?)),
            mark::BOOL => visitor.visit_bool(self.decoder.leaf()?),
            mark::UNSIGNED => visitor.visit_u64(self.decoder.leaf()?),
            mark::SIGNED => visitor.visit_i64(self.decoder.leaf()?),
            mark::U128 => visitor.visit_u128(self.decoder.leaf()?),
            mark::I128 => visitor.visit_i128(self.decoder.leaf()?),
            mark::F32 => visitor.visit_f32(self.decoder.leaf()?),
            mark::F64 => visitor.visit_f64(self.decoder.leaf()?),
            mark::CHAR => visitor.visit_char(self.decoder.leaf()?),
            mark::STR => visitor.visit_borrowed_str(self.decoder.leaf()?),
            mark::BYTES => visitor.visit_borrowed_bytes(self.decoder.leaf()?),
            mark::SEQ => self.parts::<V>(|items| visitor.visit_seq(items)),
            mark::MAP => self.parts::<V>(|items| visitor.visit_map(items)),
            mark::VARIANT => {
                let name = self.decoder.leaf()?;
                let held = Marked::next(self.decoder)?;
                if held.mark == mark::UNIT {
                    return visitor.visit_borrowed_str(name);
                }
                // As serde's buffers know a variant.
                held.inner::<V>(|held| visitor.visit_map(OneEntry { name: Some(name), held }))
            }
            _ => Err(Undecoded("a value of no kind".into())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecoded> {
        match self.mark {
            mark::NONE | mark::SOME | mark::UNIT => self.deserialize_any(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        self.inner::<V>(|inner| visitor.visit_newtype_struct(inner))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        match self.mark {
            mark::STR => {
                let name = self.decoder.leaf()?;
                visitor.visit_enum(BorrowedStrDeserializer::<Undecoded>::new(name))
            }
            mark::VARIANT => self.inner::<V>(|variant| visitor.visit_enum(variant)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'a, 'de> de::EnumAccess<'de> for Marked<'a, 'de> {
    type Error = Undecoded;
    type Variant = Held<'a, 'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Held<'a, 'de>), Undecoded> {
        let name = self.decoder.leaf()?;
        let variant = seed.deserialize(BorrowedStrDeserializer::<Undecoded>::new(name))?;
        Ok((variant, Held(Marked::next(self.decoder)?)))
    }
}

/// What a variant holds.
pub(super) struct Held<'a, 'de>(Marked<'a, 'de>);

impl<'de> de::VariantAccess<'de> for Held<'_, 'de> {
    type Error = Undecoded;

    fn unit_variant(self) -> Result<(), Undecoded> {
        Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Undecoded> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Undecoded> {
        self.0.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        self.0.deserialize_any(visitor)
    }
}

/// Values up to an `END`.
struct Items<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    over: bool,
}

impl<'de> Items<'_, 'de> {
    fn next(&mut self) -> Result<Option<Marked<'_, 'de>>, Undecoded> {
        if self.over {
            return Ok(None);
        }
        let next = Marked::next(self.decoder)?;
        if next.mark == mark::END {
            self.over = true;
            return Ok(None);
        }
        Ok(Some(next))
    }
}

impl<'de> de::SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = Undecoded;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Undecoded> {
        self.next()?.map(|next| seed.deserialize(next)).transpose()
    }
}

impl<'de> de::MapAccess<'de> for &mut Items<'_, 'de> {
    type Error = Undecoded;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Undecoded> {
        self.next()?.map(|next| seed.deserialize(next)).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Undecoded> {
        seed.deserialize(Marked::next(self.decoder)?)
    }
}

/// A variant to whoever expects anything.
struct OneEntry<'a, 'de> {
    name: Option<&'de str>,
    held: Marked<'a, 'de>,
}

impl<'de> de::MapAccess<'de> for OneEntry<'_, 'de> {
    type Error = Undecoded;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Undecoded> {
        let name = self.name.take().map(BorrowedStrDeserializer::<Undecoded>::new);
        name.map(|name| seed.deserialize(name)).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Undecoded> {
        let Marked { decoder, mark } = &mut self.held;
        seed.deserialize(Marked { decoder, mark: *mark })
    }
}
