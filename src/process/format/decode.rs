//! Reading values that both sides know the type of.

use super::described::{self, Marked};
use super::{LEVELS, REMEDY, mark_of, too_deep};
use postcard::de_flavors::Slice;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Visitor};
use std::fmt;

/// Why bytes are no value.
#[derive(Debug)]
pub(in crate::process) struct Undecoded(pub(super) Box<str>);

impl fmt::Display for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Undecoded {}

impl de::Error for Undecoded {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string().into())
    }
}

/// Reads one value.
pub(in crate::process) struct Decoder<'de> {
    bytes: postcard::Deserializer<'de, Slice<'de>>,
    /// Levels that may still be opened.
    left: u32,
}

impl<'de> Decoder<'de> {
    pub(in crate::process) fn new(bytes: &'de [u8]) -> Self {
        Self { bytes: postcard::Deserializer::from_bytes(bytes), left: LEVELS }
    }

    /// What was not read.
    pub(in crate::process) fn rest(self) -> Result<&'de [u8], Undecoded> {
        self.bytes.finalize().map_err(de::Error::custom)
    }

    /// A number, text or the like.
    #[inline]
    pub(super) fn leaf<T: Deserialize<'de>>(&mut self) -> Result<T, Undecoded> {
        T::deserialize(&mut self.bytes).map_err(de::Error::custom)
    }

    /// Reads what lies a level deeper.
    #[inline]
    pub(super) fn inner<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Undecoded>,
    ) -> Result<T, Undecoded> {
        self.left = self.left.checked_sub(1).ok_or_else(|| Undecoded(too_deep().into()))?;
        let value = read(&mut *self)?;
        self.left += 1;
        Ok(value)
    }

    #[inline]
    fn elements<V: Visitor<'de>>(
        &mut self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        self.inner(|decoder| {
            let mut elements = Elements { decoder, left: count };
            let value = visitor.visit_seq(&mut elements)?;
            all_read(elements.left)?;
            Ok(value)
        })
    }

    #[inline]
    fn fields<V: Visitor<'de>>(
        &mut self,
        of: &'static str,
        known: usize,
        names: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        let came = self.leaf()?;
        self.inner(|decoder| {
            let mut fields = Fields { decoder, of, known, names, came, asked: 0 };
            let value = visitor.visit_seq(&mut fields)?;
            if fields.asked < came {
                return Err(other_fields(of));
            }
            Ok(value)
        })
    }
}

fn all_read(left: usize) -> Result<(), Undecoded> {
    match left {
        0 => Ok(()),
        _ => Err(Undecoded(format!("{left} elements were written and not read").into())),
    }
}

#[cold]
fn other_fields(of: &str) -> Undecoded {
    Undecoded(
        format!(
            "`{of}` writes other fields than it reads (`#[serde(skip_serializing)]`, \
             `skip_deserializing`, a `rename` that differs between the two, or \
             `skip_serializing_if` in a tuple): {REMEDY}, or leave the field out on both sides \
             (`#[serde(skip)]`), or let the one that reads know the other's name as an `alias`"
        )
        .into(),
    )
}

#[cold]
fn not_described<T>() -> Result<T, Undecoded> {
    Err(Undecoded(
        format!(
            "it asks what it is, which does not cross (`#[serde(untagged)]`, `tag`, `flatten`, \
             and types such as `serde_json::Value` do): {REMEDY}"
        )
        .into(),
    ))
}

macro_rules! leaves {
    ($($method:ident $visit:ident $type:ty),*) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecoded> {
            let value: $type = self.leaf()?;
            visitor.$visit(value)
        }
    )* };
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = Undecoded;

    leaves!(
        deserialize_bool visit_bool bool, deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128, deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64, deserialize_char visit_char char,
        deserialize_str visit_borrowed_str &'de str,
        deserialize_string visit_borrowed_str &'de str,
        deserialize_bytes visit_borrowed_bytes &'de [u8],
        deserialize_byte_buf visit_borrowed_bytes &'de [u8]
    );

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Undecoded> {
        not_described()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Undecoded> {
        not_described()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Undecoded> {
        not_described()
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecoded> {
        match self.leaf::<u8>()? {
            0 => visitor.visit_none(),
            1 => self.inner(|decoder| visitor.visit_some(decoder)),
            _ => Err(Undecoded("an option that is neither `None` nor `Some`".into())),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecoded> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        if name == described::NAME {
            return visitor.visit_newtype_struct(Marked::next(self)?);
        }
        self.inner(|decoder| visitor.visit_newtype_struct(decoder))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecoded> {
        let count = self.leaf()?;
        self.elements(count, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        self.elements(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        self.fields(name, len, None, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecoded> {
        let count = self.leaf()?;
        self.inner(|decoder| {
            let mut entries = Elements { decoder, left: count };
            let value = visitor.visit_map(&mut entries)?;
            all_read(entries.left)?;
            Ok(value)
        })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        self.fields(name, fields.len(), Some(fields), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        visitor.visit_enum(Variant { decoder: self, of: name })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements or entries that were counted.
struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Undecoded;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Undecoded> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Undecoded;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Undecoded> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Undecoded> {
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Fields, each of which is asked for.
struct Fields<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    of: &'static str,
    /// Fields of the type, aliases among them.
    known: usize,
    /// Their names, from where the last field was found on; tuples have none.
    names: Option<&'static [&'static str]>,
    came: usize,
    asked: usize,
}

impl<'de> de::SeqAccess<'de> for &mut Fields<'_, 'de> {
    type Error = Undecoded;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Undecoded> {
        if self.asked == self.came {
            if self.came >= self.known {
                return Ok(None);
            }
            // `None` would become the field's default.
            return Err(other_fields(self.of));
        }
        self.asked += 1;
        if let Some(names) = self.names {
            let mark = u16::from_be_bytes(self.decoder.leaf()?);
            // The aliases of a field stand together, its own name among them.
            let at = names.iter().position(|name| mark_of(name) == mark);
            let at = at.ok_or_else(|| other_fields(self.of))?;
            self.names = Some(&names[at + 1..]);
        }
        seed.deserialize(&mut *self.decoder).map(Some)
    }
}

struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    of: &'static str,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Undecoded;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Undecoded> {
        let name = self.decoder.leaf()?;
        let variant = seed.deserialize(BorrowedStrDeserializer::<Undecoded>::new(name))?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Undecoded;

    #[inline]
    fn unit_variant(self) -> Result<(), Undecoded> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Undecoded> {
        self.decoder.inner(|decoder| seed.deserialize(decoder))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Undecoded> {
        self.decoder.fields(self.of, len, None, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecoded> {
        self.decoder.fields(self.of, fields.len(), Some(fields), visitor)
    }
}
