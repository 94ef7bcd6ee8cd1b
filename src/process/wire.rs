//! What travels between parent and worker.
//!
//! Messages are packets of a `SOCK_SEQPACKET` socket: postcard, then a tail of
//! bytes where there is a payload. Arguments and results lie in shared memory
//! ([`Region`](super::region::Region)) as records: a head of four bytes (a
//! length and a [`Kind`]), then as many bytes. Arguments are grouped: the
//! entry of a function, a count, then so many records. A result's head has
//! four bytes more, the number of its task in the batch: results are matched
//! to tasks by that and not by their place (see `results`).
//!
//! Everything that comes from a worker is checked: a packet is at most
//! [`PACKET`] bytes, a record lies inside what was copied out of the shared
//! memory, and anything else is [`Garbled`], which ends that worker.

use super::sheet::Place;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Of the protocol; both sides are the same build anyway.
pub(crate) const VERSION: u32 = 2;

/// Longest payload that travels in a packet or among other records.
pub(crate) const INLINE: usize = 64 << 10;

/// Longest packet.
pub(crate) const PACKET: usize = INLINE + 256;

/// Bytes of an argument's head.
pub(crate) const HEAD: usize = 4;

/// Bytes of a result's head.
pub(crate) const RESULT_HEAD: usize = 8;

/// Bytes before the records of one function: its entry and their count.
pub(crate) const GROUP: usize = 12;

/// From the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The executable is the right one, and the initializer is over.
    Ready { version: u32, identity: u64 },
    /// The initializer failed, or the context could not be read.
    StartFailed { why: String },
    /// Every task of the batch is finished.
    Done { seq: u64, elapsed: u64 },
    /// The result of one task: the tail, or what begins a file that came with
    /// it. `sheet`: the bit by which the worker wants to know when it was
    /// read, and its serial number.
    Elsewhere { seq: u64, index: u32, kind: u8, len: u64, sheet: Option<(u8, u64)> },
}

/// To the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// Lies in the socket from the start. Comes with the shared memory, and with the
    /// context if there is one.
    Welcome {
        version: u32,
        identity: u64,
        /// Whether to note when each task starts.
        stamp: bool,
        /// Longest result, in bytes.
        largest: u64,
        memory: Option<u64>,
        /// Length of the context, and the entry that decodes it.
        context: Option<(u64, u64)>,
        initializer: Option<u64>,
    },
    /// A batch lies in this slot. May come with a file, the argument of its
    /// only task.
    Run { seq: u64, slot: u8 },
    /// No more tasks: end.
    Bye,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A value.
    Value = 0,
    /// A panic: its location, a line break, its message.
    Panic = 1,
    /// The argument could not be decoded, and why.
    Undecoded = 2,
    /// The result could not be encoded, and why.
    Unencoded = 3,
    /// Not here: in a packet or a file of its own. An argument's length in the
    /// file, and the file's number, take its place.
    Elsewhere = 4,
}

impl Kind {
    pub(crate) fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            0 => Self::Value,
            1 => Self::Panic,
            2 => Self::Undecoded,
            3 => Self::Unencoded,
            4 => Self::Elsewhere,
            _ => return None,
        })
    }
}

/// The other side broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Garbled(pub(crate) &'static str);

/// A message as a packet; the tail goes behind it.
pub(crate) fn packet(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("messages are plain data")
}

/// A message and its tail.
pub(crate) fn unpack<T: DeserializeOwned>(packet: &[u8]) -> Result<(T, &[u8]), Garbled> {
    if packet.len() > PACKET {
        return Err(Garbled("a packet that is too long"));
    }
    postcard::take_from_bytes(packet).map_err(|_| Garbled("a packet that is no message"))
}

/// A record's head.
#[inline]
pub(crate) fn head(kind: Kind, len: usize) -> [u8; HEAD] {
    debug_assert!(len <= INLINE);
    ((len as u32) << 3 | kind as u32).to_le_bytes()
}

/// The record at `at`, and where the next one begins.
#[inline]
pub(crate) fn record(bytes: &[u8], at: usize) -> Result<(Kind, &[u8], usize), Garbled> {
    let cut = Garbled("a record that is cut off");
    let (head, rest) =
        bytes.get(at..).and_then(<[u8]>::split_first_chunk::<HEAD>).ok_or(cut.clone())?;
    let head = u32::from_le_bytes(*head);
    let kind = Kind::from_u8((head & 7) as u8).ok_or(Garbled("a record of no kind"))?;
    let len = (head >> 3) as usize;
    let body = rest.get(..len).ok_or(cut)?;
    Ok((kind, body, at + HEAD + len))
}

/// The head of a result: a record's, and the number of its task.
#[inline]
pub(crate) fn result_head(kind: Kind, len: usize, number: u32) -> [u8; RESULT_HEAD] {
    let head = u64::from(u32::from_le_bytes(head(kind, len)));
    (head | u64::from(number) << 32).to_le_bytes()
}

/// The result at `at`: what it is, whose, and where the next one begins.
#[inline]
pub(crate) fn result(bytes: &[u8], at: usize) -> Result<(Kind, u32, &[u8], usize), Garbled> {
    let cut = Garbled("a result that is cut off");
    let (head, rest) =
        bytes.get(at..).and_then(<[u8]>::split_first_chunk::<RESULT_HEAD>).ok_or(cut.clone())?;
    let head = u64::from_le_bytes(*head);
    let kind = Kind::from_u8((head & 7) as u8).ok_or(Garbled("a result of no kind"))?;
    let len = (head as u32 >> 3) as usize;
    let body = rest.get(..len).ok_or(cut)?;
    Ok((kind, (head >> 32) as u32, body, at + RESULT_HEAD + len))
}

/// Where an argument lies in its file.
pub(crate) fn place(place: Place) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&place.len.to_le_bytes());
    bytes[8..].copy_from_slice(&place.serial.unwrap_or(u64::MAX).to_le_bytes());
    bytes
}

/// The same, read.
pub(crate) fn place_at(bytes: &[u8]) -> Option<Place> {
    let (len, serial) = bytes.split_first_chunk::<8>()?;
    let serial = u64::from_le_bytes(*serial.first_chunk::<8>()?);
    let serial = Some(serial).filter(|serial| *serial != u64::MAX);
    Some(Place { len: u64::from_le_bytes(*len), serial })
}

/// Before the records of one function.
pub(crate) fn group(entry: u64, count: u32) -> [u8; GROUP] {
    let mut bytes = [0; GROUP];
    bytes[..8].copy_from_slice(&entry.to_le_bytes());
    bytes[8..].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// Entry and count of the group at `at`.
pub(crate) fn group_at(bytes: &[u8], at: usize) -> Option<(u64, u32)> {
    let (entry, rest) = bytes.get(at..)?.split_first_chunk::<8>()?;
    let count = rest.first_chunk::<4>()?;
    Some((u64::from_le_bytes(*entry), u32::from_le_bytes(*count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2_000,
            failure_persistence: crate::test_seeds("process-wire"),
            ..ProptestConfig::default()
        })]

        /// Random bytes decode to a message no longer than they are, or to an
        /// error: no panic, and no allocation beyond the packet.
        #[test]
        fn random_packets(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok((FromWorker::StartFailed { why }, _)) = unpack::<FromWorker>(&bytes) {
                prop_assert!(why.capacity() <= bytes.len());
            }
            let _ = unpack::<ToWorker>(&bytes);
        }

        /// Random bytes are walked as records to their end or to an error, and
        /// every record lies inside them.
        #[test]
        fn random_records(bytes in prop::collection::vec(any::<u8>(), 0..3_000), start in 0..4_000_usize) {
            let mut at = start;
            let mut within = 0;
            while let Ok((_, body, next)) = record(&bytes, at) {
                prop_assert!(next > at && next <= bytes.len());
                within += body.len();
                at = next;
            }
            prop_assert!(within <= bytes.len());
            let _ = group_at(&bytes, start);
            at = start;
            while let Ok((_, _, _, next)) = result(&bytes, at) {
                prop_assert!(next > at && next <= bytes.len());
                at = next;
            }
        }

        /// What was written is read, whatever follows it.
        #[test]
        fn records_there_and_back(body in prop::collection::vec(any::<u8>(), 0..500), kind in 0..5_u8, rest in prop::collection::vec(any::<u8>(), 0..9)) {
            let kind = Kind::from_u8(kind).expect("of five");
            let mut bytes = head(kind, body.len()).to_vec();
            bytes.extend(&body);
            let end = bytes.len();
            bytes.extend(rest);
            prop_assert_eq!(record(&bytes, 0), Ok((kind, &body[..], end)));
            let number = end as u32 * 77_777;
            let mut bytes = result_head(kind, body.len(), number).to_vec();
            bytes.extend(&body);
            prop_assert_eq!(result(&bytes, 0), Ok((kind, number, &body[..], bytes.len())));
        }
    }

    /// A length that was tampered with is an error and not an allocation.
    #[test]
    fn a_length_of_4_gib_is_cut_off() {
        let mut bytes = packet(&FromWorker::StartFailed { why: "x".into() });
        let at = bytes.len() - 2;
        bytes.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(unpack::<FromWorker>(&bytes).is_err());
        assert!(unpack::<FromWorker>(&vec![1; PACKET + 1]).is_err());
    }
}
