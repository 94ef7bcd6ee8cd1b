//! Tasks and results as bytes.
//!
//! A message begins with a head of fixed length: a mark, the version, and the
//! build. Nothing behind it is looked at before these are right, and every
//! length is checked against what is there.

use bytes::{Buf, BufMut, Bytes};
use selvedge::outcome::{Cancelled, Crash, Outcome, Panic, TimedOut};
use selvedge::process::{Fault, portable};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;

const MARK: u32 = 0x5e1d_ed6e;
const VERSION: u32 = 1;

/// Bytes of an item besides its own.
pub(crate) const ITEM: usize = 12;
/// Bytes of a result besides its own.
pub(crate) const RESULT: usize = 17;
/// Bytes that a message may take besides its items.
pub(crate) const HEAD: usize = 256;

/// The message is none of ours, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Garbled(pub(crate) &'static str);

/// Whose batch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) caller: u64,
    pub(crate) run: u64,
    pub(crate) batch: u64,
}

/// What lies behind a head: here, or in the object store under this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Here(Bytes),
    Object(String),
}

fn put_head(out: &mut Vec<u8>, identity: u64, address: Address) {
    out.put_u32_le(MARK);
    out.put_u32_le(VERSION);
    for word in [identity, address.caller, address.run, address.batch] {
        out.put_u64_le(word);
    }
}

fn take_head(bytes: &mut Bytes, identity: u64) -> Result<Address, Garbled> {
    if bytes.len() < 40 {
        return Err(Garbled("it is too short"));
    }
    if bytes.get_u32_le() != MARK {
        return Err(Garbled("it does not begin as a message of ours"));
    }
    if bytes.get_u32_le() != VERSION {
        return Err(Garbled("it is of another version"));
    }
    if bytes.get_u64_le() != identity {
        return Err(Garbled("it is of another build"));
    }
    let mut word = || bytes.get_u64_le();
    Ok(Address { caller: word(), run: word(), batch: word() })
}

/// Tasks of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tasks {
    pub(crate) address: Address,
    pub(crate) function: u64,
    pub(crate) body: Body,
}

impl Tasks {
    pub(crate) fn write(&self, identity: u64) -> Vec<u8> {
        let body = match &self.body {
            Body::Here(bytes) => bytes.as_ref(),
            Body::Object(name) => name.as_bytes(),
        };
        let mut out = Vec::with_capacity(64 + body.len());
        put_head(&mut out, identity, self.address);
        out.put_u64_le(self.function);
        out.put_u8(u8::from(matches!(self.body, Body::Object(_))));
        out.extend_from_slice(body);
        out
    }

    pub(crate) fn read(mut bytes: Bytes, identity: u64) -> Result<Self, Garbled> {
        let address = take_head(&mut bytes, identity)?;
        if bytes.len() < 9 {
            return Err(Garbled("it is cut off"));
        }
        let function = bytes.get_u64_le();
        let body = match bytes.get_u8() {
            0 => Body::Here(bytes),
            1 => Body::Object(object(bytes)?),
            _ => return Err(Garbled("it has an unknown form")),
        };
        Ok(Self { address, function, body })
    }
}

fn object(bytes: Bytes) -> Result<String, Garbled> {
    let name = String::from_utf8(bytes.to_vec()).ok();
    name.filter(|name| name.len() < 200).ok_or(Garbled("it names no object"))
}

/// Adds an item to a body.
pub(crate) fn put_item(out: &mut Vec<u8>, index: u64, item: &[u8]) {
    out.put_u64_le(index);
    // Larger ones are refused before they come here.
    out.put_u32_le(item.len() as u32);
    out.extend_from_slice(item);
}

/// The items of a body.
pub(crate) fn items(mut body: Bytes) -> Result<Vec<(u64, Vec<u8>)>, Garbled> {
    let mut items = Vec::new();
    while !body.is_empty() {
        if body.len() < ITEM {
            return Err(Garbled("an item is cut off"));
        }
        let (index, len) = (body.get_u64_le(), body.get_u32_le() as usize);
        if body.len() < len {
            return Err(Garbled("an item is cut off"));
        }
        items.push((index, body[..len].to_vec()));
        body.advance(len);
    }
    Ok(items)
}

/// What a worker says of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) address: Address,
    pub(crate) worker: u64,
    /// Nanoseconds that the whole batch took, and its tasks.
    pub(crate) elapsed: u64,
    pub(crate) executed: u32,
    pub(crate) said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Results of some of the tasks.
    Some(Body),
    /// The batch ended workers too often.
    Poisoned,
}

impl Results {
    pub(crate) fn write(&self, identity: u64) -> Vec<u8> {
        let (form, body) = match &self.said {
            Said::Some(Body::Here(bytes)) => (0, bytes.as_ref()),
            Said::Some(Body::Object(name)) => (1, name.as_bytes()),
            Said::Poisoned => (2, &[][..]),
        };
        let mut out = Vec::with_capacity(64 + body.len());
        put_head(&mut out, identity, self.address);
        out.put_u64_le(self.worker);
        out.put_u64_le(self.elapsed);
        out.put_u32_le(self.executed);
        out.put_u8(form);
        out.extend_from_slice(body);
        out
    }

    pub(crate) fn read(mut bytes: Bytes, identity: u64) -> Result<Self, Garbled> {
        let address = take_head(&mut bytes, identity)?;
        if bytes.len() < 21 {
            return Err(Garbled("it is cut off"));
        }
        let (worker, elapsed, executed) =
            (bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_u32_le());
        let said = match bytes.get_u8() {
            0 => Said::Some(Body::Here(bytes)),
            1 => Said::Some(Body::Object(object(bytes)?)),
            2 => Said::Poisoned,
            _ => return Err(Garbled("it has an unknown form")),
        };
        Ok(Self { address, worker, elapsed, executed, said })
    }
}

/// How a task ended: its encoded value, or why there is none.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) attempt: u32,
    pub(crate) outcome: Result<Bytes, Outcome<Infallible, Fault>>,
}

/// Adds a result to a body.
pub(crate) fn put_result(out: &mut Vec<u8>, index: u64, ended: &Ended) {
    let lost;
    let (kind, bytes) = match &ended.outcome {
        Ok(value) => (0, value.as_ref()),
        Err(outcome) => {
            lost = Lost::of(outcome).encoded();
            (1, &lost[..])
        }
    };
    out.put_u64_le(index);
    out.put_u32_le(ended.attempt);
    out.put_u8(kind);
    out.put_u32_le(bytes.len() as u32);
    out.extend_from_slice(bytes);
}

/// The results of a body.
pub(crate) fn results(mut body: Bytes) -> Result<Vec<(u64, Ended)>, Garbled> {
    let mut results = Vec::new();
    while !body.is_empty() {
        if body.len() < RESULT {
            return Err(Garbled("a result is cut off"));
        }
        let (index, attempt) = (body.get_u64_le(), body.get_u32_le());
        let (kind, len) = (body.get_u8(), body.get_u32_le() as usize);
        if body.len() < len {
            return Err(Garbled("a result is cut off"));
        }
        let bytes = body.split_to(len);
        let outcome = match kind {
            0 => Ok(bytes),
            1 => {
                let lost: Lost = portable::decode(&bytes).map_err(|_| Garbled("a failure"))?;
                Err(lost.outcome())
            }
            _ => return Err(Garbled("a result of no kind")),
        };
        results.push((index, Ended { attempt, outcome }));
    }
    Ok(results)
}

/// An outcome without a value, as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Lost {
    Panicked { message: String, location: Option<String> },
    Cancelled(Option<String>),
    TimedOut { deadline: String, after: Duration },
    Signal(i32),
    Exit(i32),
    OutOfMemory(u64),
    Garbled(String),
    Unseen,
    NotStarted(String),
    NoThread(String),
    Encode(String),
    Decode(String),
    Undelivered(String),
    Broken(String),
}

impl Lost {
    fn of(outcome: &Outcome<Infallible, Fault>) -> Self {
        match outcome {
            Outcome::Ok(never) => match *never {},
            Outcome::Err(fault) => match fault {
                Fault::Task(never) => match *never {},
                Fault::Encode(why) => Self::Encode(why.to_string()),
                Fault::Decode(why) => Self::Decode(why.to_string()),
                Fault::Undelivered(why) => Self::Undelivered(why.to_string()),
                Fault::Broken(why) => Self::Broken(why.to_string()),
                other => Self::Undelivered(other.to_string()),
            },
            Outcome::Panicked(panic) => Self::Panicked {
                message: panic.message().into(),
                location: panic.location().map(Into::into),
            },
            Outcome::Cancelled(why) => Self::Cancelled(why.cause().map(Into::into)),
            Outcome::TimedOut(late) => {
                Self::TimedOut { deadline: late.deadline().into(), after: late.after() }
            }
            Outcome::Crashed(crash) => match crash {
                Crash::Signal(signal) => Self::Signal(*signal),
                Crash::Exit(code) => Self::Exit(*code),
                Crash::OutOfMemory(limit) => Self::OutOfMemory(*limit),
                Crash::Garbled(what) => Self::Garbled(what.to_string()),
                Crash::Unseen => Self::Unseen,
                Crash::NotStarted(why) => Self::NotStarted(why.to_string()),
                Crash::NoThread(why) => Self::NoThread(why.to_string()),
                other => Self::Garbled(other.to_string()),
            },
        }
    }

    fn encoded(&self) -> Vec<u8> {
        // Plain data; were it refused, its text is as good.
        portable::encode(self).unwrap_or_default()
    }

    fn outcome(self) -> Outcome<Infallible, Fault> {
        match self {
            Self::Panicked { message, location } => {
                Outcome::Panicked(Panic::new(&message, location.as_deref()))
            }
            Self::Cancelled(None) => Outcome::Cancelled(Cancelled::default()),
            Self::Cancelled(Some(cause)) => Outcome::Cancelled(Cancelled::because(&cause)),
            Self::TimedOut { deadline, after } => {
                Outcome::TimedOut(TimedOut::new(&deadline, after))
            }
            Self::Signal(signal) => Outcome::Crashed(Crash::Signal(signal)),
            Self::Exit(code) => Outcome::Crashed(Crash::Exit(code)),
            Self::OutOfMemory(limit) => Outcome::Crashed(Crash::OutOfMemory(limit)),
            Self::Garbled(what) => Outcome::Crashed(Crash::Garbled(what.into())),
            Self::Unseen => Outcome::Crashed(Crash::Unseen),
            Self::NotStarted(why) => Outcome::Crashed(Crash::NotStarted(why.into())),
            Self::NoThread(why) => Outcome::Crashed(Crash::NoThread(why.into())),
            Self::Encode(why) => Outcome::Err(Fault::Encode(why.into())),
            Self::Decode(why) => Outcome::Err(Fault::Decode(why.into())),
            Self::Undelivered(why) => Outcome::Err(Fault::Undelivered(why.into())),
            Self::Broken(why) => Outcome::Err(Fault::Broken(why.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Address = Address { caller: 1, run: 2, batch: 3 };

    #[test]
    fn tasks_and_results_are_read_as_they_were_written() {
        let mut body = Vec::new();
        put_item(&mut body, 5, b"five");
        put_item(&mut body, 6, b"");
        for body in [Body::Here(body.into()), Body::Object("name".into())] {
            let tasks = Tasks { address: ADDRESS, function: 9, body };
            assert_eq!(Tasks::read(tasks.write(7).into(), 7), Ok(tasks.clone()));
            let other = Tasks::read(tasks.write(7).into(), 8);
            assert_eq!(other, Err(Garbled("it is of another build")));
        }
        let lost = Outcome::Err(Fault::Decode("x".into()));
        for outcome in [Ok(Bytes::from_static(b"v")), Err(lost)] {
            let mut body = Vec::new();
            put_result(&mut body, 5, &Ended { attempt: 2, outcome: outcome.clone() });
            let said = Said::Some(Body::Here(body.into()));
            let all = Results { address: ADDRESS, worker: 4, elapsed: 5, executed: 1, said };
            let read = Results::read(all.write(7).into(), 7).unwrap();
            assert_eq!(read, all);
            let Said::Some(Body::Here(body)) = read.said else { panic!("it is here") };
            let [(5, Ended { attempt: 2, outcome: back })] = &results(body).unwrap()[..] else {
                panic!("one result")
            };
            assert_eq!(*back, outcome);
        }
    }

    /// Wherever a message is cut, and whatever byte is another: an error, or
    /// other values, and never a panic.
    #[test]
    fn whatever_comes_is_read_or_refused() {
        let mut body = Vec::new();
        put_item(&mut body, 5, b"five");
        let tasks = Tasks { address: ADDRESS, function: 9, body: Body::Here(body.into()) };
        let whole = tasks.write(7);
        for cut in 0..whole.len() {
            let _ = Tasks::read(Bytes::copy_from_slice(&whole[..cut]), 7).map(|tasks| match tasks
                .body
            {
                Body::Here(body) => items(body).is_ok(),
                Body::Object(_) => false,
            });
            let _ = Results::read(Bytes::copy_from_slice(&whole[..cut]), 7);
            for byte in [0, 1, 2, 0x7f, 0xff] {
                let mut other = whole.clone();
                other[cut] = byte;
                if let Ok(Tasks { body: Body::Here(body), .. }) =
                    Tasks::read(other.clone().into(), 7)
                {
                    let _ = (items(body.clone()), results(body));
                }
                let _ = Results::read(other.into(), 7);
            }
        }
    }
}
