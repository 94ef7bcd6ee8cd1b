//! What callers may rely on without reading code: which public types cross
//! threads, stay movable and can be printed.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use selvedge::counter::{self, SafeCounter, StripedCounter};
use selvedge::map::{Backend, UnknownBackend};
use selvedge::outcome::{Cancelled, Crash, Outcome, Panic, TimedOut};
use selvedge::pipeline;
use selvedge::queue;
use selvedge::rate;
use selvedge::threads::{MapError, Results, Threads};
use std::cell::Cell;
use std::rc::Rc;

/// Whether a concrete type implements a trait: an inherent constant is chosen
/// before one from a trait, and exists only where the bound holds.
macro_rules! implements {
    ($type:ty, $trait:path) => {{
        #[allow(dead_code)]
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            const HOLDS: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $trait> Probe<T> {
            const HOLDS: bool = true;
        }
        <Probe<$type>>::HOLDS
    }};
}

/// Rows of a type and exactly those of the traits that it has.
macro_rules! table {
    ($($type:ty: $traits:literal;)*) => {
        [$((
            stringify!($type),
            $traits,
            [
                ("Send", implements!($type, Send)),
                ("Sync", implements!($type, Sync)),
                ("Unpin", implements!($type, Unpin)),
                ("Debug", implements!($type, std::fmt::Debug)),
                ("Error", implements!($type, std::error::Error)),
            ],
        )),*]
    };
}

#[test]
fn public_types_have_the_traits_they_promise() {
    let rows = table! {
        Outcome<u8, String>: "Send Sync Unpin Debug";
        Outcome<Rc<u8>, String>: "Unpin Debug";
        Panic: "Send Sync Unpin Debug Error";
        Cancelled: "Send Sync Unpin Debug Error";
        TimedOut: "Send Sync Unpin Debug Error";
        SafeCounter: "Send Sync Unpin Debug";
        StripedCounter: "Send Sync Unpin Debug";
        counter::Writer: "Send Unpin Debug";
        counter::Overflow: "Send Sync Unpin Debug Error";
        queue::Sender<u8>: "Send Sync Unpin Debug";
        queue::Sender<Rc<u8>>: "Unpin Debug";
        queue::Receiver<Cell<u8>>: "Send Sync Unpin Debug";
        queue::SendFuture<'static, u8>: "Send Sync Unpin Debug";
        queue::RecvFuture<'static, u8>: "Send Sync Unpin Debug";
        queue::RecvStream<u8>: "Send Sync Unpin Debug";
        queue::Closed: "Send Sync Unpin Debug Error";
        queue::SendError<Rc<u8>>: "Unpin Debug Error";
        queue::TryRecvError: "Send Sync Unpin Debug Error";
        rate::Limiter: "Send Sync Unpin Debug";
        rate::Rate: "Send Sync Unpin Debug";
        rate::Gcra: "Send Sync Unpin Debug";
        rate::Acquire<&'static rate::Limiter>: "Send Sync Unpin Debug";
        rate::Reservation<&'static rate::Limiter>: "Send Sync Unpin Debug";
        rate::RateLimited<queue::RecvStream<u8>>: "Send Sync Unpin Debug";
        rate::RateLimitedIter<std::vec::IntoIter<Rc<u8>>>: "Unpin Debug";
        rate::AcquireError: "Send Sync Unpin Debug Error";
        rate::TryAcquireError: "Send Sync Unpin Debug Error";
        Threads<'static>: "Send Sync Unpin Debug";
        Results<'static, u8>: "Unpin Debug";
        MapError<String>: "Send Sync Unpin Debug";
        MapError<std::fmt::Error>: "Send Sync Unpin Debug Error";
        Backend: "Send Sync Unpin Debug";
        UnknownBackend: "Send Sync Unpin Debug Error";
        Crash: "Send Sync Unpin Debug Error";
        pipeline::Flow<Cell<u8>>: "Send Unpin Debug";
        pipeline::Meter: "Send Sync Unpin Debug";
        pipeline::Report: "Send Sync Unpin Debug";
        pipeline::Report<Rc<u8>>: "Unpin Debug";
        pipeline::Error: "Send Sync Unpin Debug Error";
    };
    for (name, expected, traits) in rows {
        let has: Vec<_> = traits.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        assert_eq!(has.join(" "), expected, "{name}");
    }
}
