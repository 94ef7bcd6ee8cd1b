//! How values are written: serde's two halves over postcard's numbers and
//! texts.
//!
//! The wire of `encode` and `decode` does not describe itself, since both sides
//! know the type. They differ from plain postcard where that would let a value
//! arrive as another one, or as none without a reason:
//!
//! * A struct says how many fields were written, and each must be read: a
//!   field that only one side knows is an error. Before each field stands a
//!   mark of its name, since two such fields may even out in the number. One
//!   that `skip_serializing_if` leaves out is refused while it is written, by
//!   its name.
//! * A variant goes by its name: an enum with skipped variants numbers them
//!   differently on both sides.
//! * What announces a length must keep to it.
//! * Values are nested at most [`LEVELS`] deep, in both directions, so that no
//!   thread of usual size runs out of stack.
//! * Errors keep the text that a type's own implementation gave them.
//!
//! `described` writes values that are asked what they are when they are read
//! ([`Described`](super::Described)).

mod decode;
mod described;
mod encode;

pub(super) use decode::Decoder;
pub use described::Described;
pub(super) use encode::Encoder;

/// How deep values may be nested: sequences, maps, structs, tuples, variants,
/// options and newtypes each count as one level.
pub(super) const LEVELS: u32 = 256;

/// What to do about a value that says only itself what it is.
const REMEDY: &str = "send the value inside `selvedge::process::Described`";

/// Sixteen bits that tell a field's name from another. The name is a constant
/// where a derive writes it, and so is its mark where that is inlined.
#[inline]
fn mark_of(name: &str) -> u16 {
    let mut mixed = name.len() as u64;
    for chunk in name.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed = (mixed.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    (mixed >> 48) as u16
}

/// Odd, with bits of no pattern: 2^64 divided by pi.
const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

fn too_deep() -> String {
    format!(
        "it is nested more than {LEVELS} levels deep: keep its parts in a `Vec` and let them name \
         each other by index"
    )
}

#[cfg(test)]
mod tests;
