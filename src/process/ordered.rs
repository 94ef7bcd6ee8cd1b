//! Feeding a source to the pool and taking the results in the source's order.

use super::codec::{Portable, Records, Unencoded};
use super::error::{Fault, Report};
use super::group::{Delivery, Ended, Group, Unpacked};
use super::sheet::Stock;
use super::shell::{Load, Parcel, Shared};
use super::ship::Job;
use super::supervisor::TaskId;
use crate::guard::{self, Surfacing, told};
use crate::outcome::Outcome;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Bytes and items that close a parcel.
const PARCEL_BYTES: usize = 48 << 10;
const PARCEL_ITEMS: u32 = 8192;

/// Items of a slow source are sent on after this long.
const PATIENCE: Duration = Duration::from_micros(200);

/// Bytes of arguments that may be under way if nothing else bounds them.
const UNDER_WAY: usize = 4 << 20;

/// What an item counts for that never reached a worker: as its outcome, it is
/// kept until its turn.
const SETTLED: usize = 256;

/// Items of a source on their way through the pool.
pub(super) struct Ordered<I: Iterator, R> {
    shared: Arc<Shared>,
    /// Dropped last, after its end too: a panic in that is no item's.
    source: Surfacing<I>,
    /// The source has ended.
    dry: bool,
    job: Job<I::Item, R>,
    group: Arc<Group>,
    /// Items pulled and not yet given to the consumer are at most so many.
    window: u64,
    pulled: u64,
    given: u64,
    /// Deliveries whose turn has not come, by the index of their first item.
    early: BTreeMap<u64, Delivery>,
    current: Option<Unpacked>,
    /// Parcels sent, oldest first: first index, first task, items, bytes. Those
    /// that never reached a worker are no task.
    sent: VecDeque<(u64, Option<TaskId>, u32, usize)>,
    under_way: usize,
    /// The parcel being filled.
    filling: Records,
}

impl<I, R> Ordered<I, R>
where
    I: Iterator<Item: Portable>,
    R: Portable,
{
    pub(super) fn new(
        shared: Arc<Shared>,
        source: I,
        job: Job<I::Item, R>,
        window: Option<usize>,
    ) -> Self {
        Self {
            shared,
            source: Surfacing::new(source),
            dry: false,
            job,
            group: Arc::new(Group::default()),
            window: window.map_or(u64::MAX, |window| window as u64),
            pulled: 0,
            given: 0,
            early: BTreeMap::new(),
            current: None,
            sent: VecDeque::new(),
            under_way: 0,
            filling: Records::default(),
        }
    }

    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = if self.dry { (0, Some(0)) } else { self.source.size_hint() };
        let ours = (self.pulled - self.given) as usize;
        (least.saturating_add(ours), most.and_then(|most| most.checked_add(ours)))
    }

    /// The next report in order, waiting for it.
    pub(super) fn next(&mut self) -> Option<Report<R>> {
        loop {
            if let Some(report) = self.ready() {
                return Some(report);
            }
            if let Err(why) = self.shared.in_its_process() {
                return self.forked(why);
            }
            let exhausted = self.feed();
            if self.collect(None) || self.early.contains_key(&self.given) {
                continue;
            }
            if exhausted && self.given == self.pulled {
                return None;
            }
            let deliveries = self.group.wait(None);
            self.sort(deliveries);
        }
    }

    /// The values that are at hand, up to the first item that has none.
    #[inline]
    pub(super) fn values(&mut self, mut take: impl FnMut(R)) {
        let given = &mut self.given;
        if let Some(current) = &mut self.current {
            current.values(|value| {
                *given += 1;
                take(value);
            });
        }
    }

    /// The next report in order, or a wake-up when it may be there.
    pub(super) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Report<R>>> {
        loop {
            if let Some(report) = self.ready() {
                return Poll::Ready(Some(report));
            }
            if let Err(why) = self.shared.in_its_process() {
                return Poll::Ready(self.forked(why));
            }
            let exhausted = self.feed();
            if self.collect(Some(context.waker())) || self.early.contains_key(&self.given) {
                continue;
            }
            if exhausted && self.given == self.pulled {
                return Poll::Ready(None);
            }
            return Poll::Pending;
        }
    }

    /// The next report where there is no pool.
    fn forked(&mut self, why: Fault) -> Option<Report<R>> {
        if self.given == self.pulled {
            self.pull()?;
            self.pulled += 1;
        }
        let index = self.given as usize;
        self.given += 1;
        Some(Report { index, attempt: 0, outcome: Outcome::Err(why) })
    }

    #[inline]
    fn ready(&mut self) -> Option<Report<R>> {
        loop {
            if let Some(report) = self.current.as_mut().and_then(Unpacked::next) {
                self.given += 1;
                return Some(report);
            }
            self.current = Some(Unpacked::new(self.early.remove(&self.given)?));
        }
    }

    /// Takes what has arrived; whether there was anything.
    fn collect(&mut self, waker: Option<&Waker>) -> bool {
        let deliveries = self.group.take(waker);
        !deliveries.is_empty() && {
            self.sort(deliveries);
            true
        }
    }

    fn sort(&mut self, deliveries: VecDeque<Delivery>) {
        self.early.extend(deliveries.into_iter().map(|delivery| (delivery.index, delivery)));
    }

    /// Pulls the source as far as allowed; whether it is exhausted.
    fn feed(&mut self) -> bool {
        while let Some(&(index, _, len, bytes)) = self.sent.front() {
            if index + u64::from(len) > self.given {
                break;
            }
            self.under_way -= bytes;
            self.sent.pop_front();
        }
        while self.under_way < UNDER_WAY {
            let full = self.fill();
            self.close();
            match full {
                Filled::Parcel => {}
                Filled::Window => return false,
                Filled::Exhausted => return true,
            }
        }
        false
    }

    /// Fills a parcel. Encoding runs code of others: where that panics, it is
    /// the item's outcome. A source that panics is the caller's affair.
    fn fill(&mut self) -> Filled {
        let mut encoding = false;
        match guard::caught(|| self.fill_on(&mut encoding)) {
            Ok(filled) => filled,
            Err(payload) if encoding => {
                let index = self.pulled - 1;
                self.close_before(index);
                self.settle(index, Outcome::Panicked(told(payload)));
                Filled::Parcel
            }
            Err(payload) => payload.resume(),
        }
    }

    fn fill_on(&mut self, encoding: &mut bool) -> Filled {
        let worthwhile = self.shared.worthwhile.load(std::sync::atomic::Ordering::Relaxed);
        let began = Instant::now();
        loop {
            if self.pulled - self.given >= self.window {
                return Filled::Window;
            }
            let Some(item) = self.pull() else { return Filled::Exhausted };
            self.pulled += 1;
            *encoding = true;
            let alone = !self.add(item);
            *encoding = false;
            if alone {
                return Filled::Parcel;
            }
            let filled = self.filling.count();
            let hungry = || self.shared.hungry.load(std::sync::atomic::Ordering::Relaxed);
            if filled >= PARCEL_ITEMS
                || self.filling.len() >= PARCEL_BYTES
                || (u64::from(filled) >= worthwhile && hungry())
                || (filled.is_power_of_two() && began.elapsed() >= PATIENCE)
            {
                return Filled::Parcel;
            }
        }
    }

    #[inline]
    fn pull(&mut self) -> Option<I::Item> {
        if self.dry {
            return None;
        }
        let item = self.source.next();
        self.dry = item.is_none();
        item
    }

    /// Adds an item to the parcel that is being filled. `false`: it went by
    /// itself. One whose destructor panics does not go at all.
    #[inline]
    fn add(&mut self, item: I::Item) -> bool {
        let item = Surfacing::new(item);
        let before = self.filling.mark();
        let index = self.pulled - 1;
        match self.filling.add(&*item) {
            Ok(()) => match item.end() {
                Ok(()) => true,
                Err(payload) => {
                    self.filling.back_to(before);
                    self.close_before(index);
                    self.settle(index, Outcome::Panicked(told(payload)));
                    false
                }
            },
            Err(error) => {
                self.close_before(index);
                let load = by_itself(&self.shared.stock, &*item, error);
                match (load, item.end()) {
                    (Ok(load), Ok(())) => {
                        let bytes = load.bytes();
                        self.send(index, 1, load, bytes);
                    }
                    (Ok(_), Err(payload)) => {
                        self.settle(index, Outcome::Panicked(told(payload)));
                    }
                    (Err(fault), _) => self.settle(index, Outcome::Err(fault)),
                }
                false
            }
        }
    }

    /// Ends an item that never reached a worker.
    fn settle(&mut self, index: u64, outcome: Outcome<Infallible, Fault>) {
        let ended = Ended::Lost(outcome);
        self.early.insert(index, Delivery { index, count: 1, attempt: 0, ended });
        self.sent.push_back((index, None, 1, SETTLED));
        self.under_way += SETTLED;
    }

    /// Sends the parcel that is being filled.
    fn close(&mut self) {
        self.close_before(self.pulled);
    }

    fn close_before(&mut self, end: u64) {
        let (len, bytes) = (self.filling.count(), self.filling.len());
        if len > 0 {
            let records = std::mem::replace(&mut self.filling, Records::with_room(bytes));
            self.send(end - u64::from(len), len, Load::Records(records.into_bytes()), bytes);
        }
    }

    fn send(&mut self, index: u64, len: u32, load: Load, bytes: usize) {
        let group = Arc::clone(&self.group);
        let entry = self.job.entry;
        let parcel = Parcel { index, len, entry, load, group, place: None };
        let first = self.shared.submit(parcel);
        self.sent.push_back((index, Some(first), len, bytes));
        self.under_way += bytes;
    }
}

enum Filled {
    Parcel,
    Window,
    Exhausted,
}

/// An argument that does not fit among others.
pub(super) fn by_itself<A: Portable>(
    stock: &Arc<Stock>,
    item: &A,
    error: Unencoded,
) -> Result<Load, Fault> {
    let fault = |error: Unencoded| Fault::Encode(format!("the item: {}", error.into_text()).into());
    match error {
        Unencoded::NoRoom => stock.encode(item).map(Load::Large).map_err(fault),
        refused => Err(fault(refused)),
    }
}

impl<I: Iterator, R> Drop for Ordered<I, R> {
    /// Gives up what has not started.
    fn drop(&mut self) {
        if self.shared.in_its_process().is_ok() {
            self.group.leave();
        }
        for &(index, first, len, _) in &self.sent {
            if let Some(first) = first
                && index + u64::from(len) > self.given
            {
                self.shared.cancel(first, len, false);
            }
        }
    }
}
