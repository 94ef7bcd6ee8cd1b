//! What the lock guards: the schedule, the line, and the account.

use super::core::Gcra;
use super::held::Held;
use super::{Rate, TooMany, TryAcquireError};
use crate::rt::{self, Instant};
use crate::wait::{Ticket, WaitList, Waiter};
use std::sync::OnceLock;
use std::task::Waker;
use std::time::Duration;

pub(super) struct State {
    pub(super) gcra: Gcra,
    granted: u64,
    pub(super) refused: u64,
    /// There once somebody has waited or reserved, or has asked for more than
    /// the defaults.
    line: Option<Box<Line>>,
}

/// What only some limiters need.
pub(super) struct Line {
    pub(super) waiting: WaitList<Want>,
    /// The permits that those in line want.
    pub(super) wanted: u64,
    pub(super) held: Held,
    next_id: u64,
    /// When somebody was last served late, and the schedule not made up.
    behind: Option<u64>,
    /// Nanoseconds.
    pub(super) catch_up: u64,
    /// While paused: the rate to go on with.
    paused: Option<Rate>,
    waited: u64,
}

/// What a waiter stands in line for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    pub(super) permits: u32,
    pub(super) id: u64,
    /// For when its timer is set, at the latest.
    pub(super) due: u64,
}

/// What a limiter has done: [`Limiter::stats`](super::Limiter::stats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Permits that were granted, and did not come back.
    pub granted: u64,
    /// Grants that had to be waited for.
    pub waited: u64,
    /// Calls that got no permits: too early, too many, too late for their
    /// deadline, or paused.
    pub refused: u64,
    /// How many stand in line now.
    pub waiting: usize,
}

/// What somebody in line finds.
pub(super) enum Turn {
    /// It has been granted by another.
    Granted,
    /// It was the head and is granted now; its waiter comes back.
    Mine(Option<Waiter>),
    /// It is the head, and its turn is then; `u64::MAX` while paused.
    At(u64),
    /// It is not the head.
    Behind,
}

/// As late as timers are: tokio's have a grain of 1 ms.
pub(super) const CATCH_UP: u64 = 1_000_000;

impl State {
    pub(super) fn new(gcra: Gcra) -> Self {
        Self { gcra, granted: 0, refused: 0, line: None }
    }

    /// Whether anybody stands in line.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.wanted > 0)
    }

    /// What only some limiters need, now needed.
    pub(super) fn line_mut(&mut self) -> &mut Line {
        self.line.get_or_insert_with(|| {
            Box::new(Line {
                waiting: WaitList::new(),
                wanted: 0,
                held: Held::new(),
                next_id: 0,
                behind: None,
                catch_up: CATCH_UP,
                paused: None,
                waited: 0,
            })
        })
    }

    /// Nanoseconds.
    pub(super) fn catch_up(&self) -> u64 {
        self.line.as_ref().map_or(CATCH_UP, |line| line.catch_up)
    }

    /// As many permits as may be asked for at once.
    #[inline]
    pub(super) fn permits(&mut self, n: usize) -> Result<u32, TooMany> {
        match u32::try_from(n) {
            Ok(permits) if permits <= self.gcra.burst() => Ok(permits),
            _ => {
                self.refused += 1;
                Err(TooMany { asked: n, burst: self.gcra.burst() as usize })
            }
        }
    }

    /// Takes permits now, unless others wait for them (invariant 2).
    ///
    /// # Errors
    ///
    /// How long they would take, behind the others; `u64::MAX` while paused.
    #[inline]
    pub(super) fn take(&mut self, now: u64, permits: u32) -> Result<(), u64> {
        if permits == 0 {
            return Ok(());
        }
        let (ahead, floor) = match &self.line {
            None => (0, now),
            Some(line) => (line.wanted, line.floor(now)),
        };
        match self.gcra.wait(now, ahead.saturating_add(u64::from(permits))) {
            0 if ahead == 0 => {
                self.grant(now, floor, permits);
                Ok(())
            }
            wait => Err(wait.max(1)),
        }
    }

    /// Takes permits at the time that it is now, under the lock: who was held
    /// up on the way to it is not refused on account of that.
    #[cold]
    pub(super) fn take_or_refuse(&mut self, permits: u32) -> Result<(), TryAcquireError> {
        self.take(nanos(rt::now()), permits).map_err(|wait| {
            self.refused += 1;
            match wait {
                u64::MAX => TryAcquireError::Paused,
                wait => TryAcquireError::NotYet(Duration::from_nanos(wait)),
            }
        })
    }

    /// Advances the schedule, as at `floor`.
    #[inline]
    fn grant(&mut self, now: u64, floor: u64, permits: u32) {
        if let Some(line) = &mut self.line {
            line.held.note(self.gcra.debt_at(floor));
        }
        self.gcra.spend(floor, permits);
        self.granted += u64::from(permits);
        if let Some(line) = &mut self.line {
            line.behind = (floor < now && self.gcra.is_behind(now)).then_some(now);
        }
    }

    /// Puts a waiter at the end of the line.
    pub(super) fn join(&mut self, waiter: Waiter, permits: u32, due: u64) -> (Ticket, u64) {
        let id = self.new_id();
        let line = self.line_mut();
        line.wanted += u64::from(permits);
        (line.waiting.push_wanting(waiter, Want { permits, id, due }), id)
    }

    /// Takes it out again; `None` if it has been granted.
    pub(super) fn leave(&mut self, ticket: Ticket, permits: u32) -> Option<Waiter> {
        let line = self.line_mut();
        let waiter = line.waiting.take(ticket)?;
        line.wanted -= u64::from(permits);
        Some(waiter)
    }

    /// How things stand for somebody in line, who is served if it is the head
    /// and its turn has come.
    pub(super) fn look(&mut self, now: u64, ticket: Ticket, id: u64, permits: u32) -> Turn {
        let line = self.line_mut();
        if !line.waiting.holds(ticket) {
            return Turn::Granted;
        }
        if line.waiting.first() != Some(ticket) {
            return Turn::Behind;
        }
        match self.gcra.wait(now, u64::from(permits)) {
            0 => Turn::Mine(self.grant_in_line(now, ticket, id, permits)),
            wait => Turn::At(now.saturating_add(wait)),
        }
    }

    /// Grants the head, whose turn has come: as if in time, up to the limit of
    /// what is caught up with.
    fn grant_in_line(&mut self, now: u64, ticket: Ticket, id: u64, permits: u32) -> Option<Waiter> {
        let waiter = self.leave(ticket, permits);
        self.grant(now, now.saturating_sub(self.catch_up()), permits);
        let line = self.line_mut();
        line.waited += 1;
        line.held.hold(id, permits);
        waiter
    }

    /// It stays in line, with its timer set for `due`. The old waiter comes
    /// back.
    pub(super) fn stay(&mut self, ticket: Ticket, due: u64, waiter: Waiter) -> Option<Waiter> {
        let line = self.line_mut();
        line.waiting.wants_mut(ticket)?.due = due;
        line.waiting.replace(ticket, waiter).ok()
    }

    /// When all that are in line now can have been served.
    pub(super) fn due_of_all(&mut self, now: u64) -> u64 {
        let wanted = self.line_mut().wanted;
        now.saturating_add(self.gcra.wait(now, wanted))
    }

    /// Grants the head if its turn has come, or has it set its timer if that
    /// is too late. Call it again, having woken the one that it returns, until
    /// it returns none.
    pub(super) fn next_to_wake(&mut self, now: u64) -> Option<Waiter> {
        let line = self.line.as_mut()?;
        let ticket = line.waiting.first()?;
        let head = line.waiting.wants_mut(ticket)?;
        let (permits, id) = (head.permits, head.id);
        match self.gcra.wait(now, u64::from(permits)) {
            0 => {
                // Woken to pick its permits up.
                self.grant_in_line(now, ticket, id, permits)
            }
            wait => {
                let due = now.saturating_add(wait);
                if head.due <= due {
                    return None;
                }
                head.due = due;
                // It keeps its place, and brings a waker when it comes.
                line.waiting.replace(ticket, Waiter::task(Waker::noop())).ok()
            }
        }
    }

    /// Keeps account of a grant that was just made to somebody who did not
    /// wait, and may come back.
    pub(super) fn hold(&mut self, permits: u32) -> u64 {
        let id = self.new_id();
        self.line_mut().held.hold(id, permits);
        id
    }

    /// A grant that might have come back will not.
    pub(super) fn settle(&mut self, id: u64) {
        self.line_mut().held.commit(id);
    }

    /// An id for a grant that may come back, higher than all before.
    fn new_id(&mut self) -> u64 {
        let line = self.line_mut();
        line.next_id += 1;
        line.next_id
    }

    /// Takes back permits that were granted under `id`.
    pub(super) fn refund(&mut self, id: u64) {
        let period = self.gcra.period();
        let (permits, ticks) = self.line_mut().held.refund(id, period);
        self.gcra.give_back(ticks);
        self.granted -= u64::from(permits);
    }

    pub(super) fn set_rate(&mut self, rate: Rate, now: u64) {
        match &mut self.line {
            Some(line) if line.paused.is_some() => line.paused = Some(rate),
            _ => self.go_on(rate, now),
        }
    }

    pub(super) fn pause(&mut self, now: u64) {
        if let Some(rate) = self.gcra.rate() {
            self.line_mut().paused = Some(rate);
            self.gcra.pause(now);
        }
    }

    pub(super) fn resume(&mut self, now: u64) {
        if let Some(rate) = self.line.as_mut().and_then(|line| line.paused.take()) {
            self.go_on(rate, now);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let line = self.line.as_ref();
        Stats {
            granted: self.granted,
            refused: self.refused,
            waited: line.map_or(0, |line| line.waited),
            waiting: line.map_or(0, |line| line.waiting.len()),
        }
    }

    fn go_on(&mut self, rate: Rate, now: u64) {
        let from = self.gcra.period();
        self.gcra.set_rate(rate, now);
        if let Some(line) = &mut self.line {
            line.held.rescale(from, rate.period);
            line.behind = None;
        }
    }
}

impl Line {
    /// As when somebody is served who comes now. While the schedule is behind
    /// its waiters, who come back for more, they are served on its terms.
    #[inline]
    fn floor(&self, now: u64) -> u64 {
        match self.behind {
            Some(then) if now.saturating_sub(then) <= self.catch_up => {
                now.saturating_sub(self.catch_up)
            }
            _ => now,
        }
    }
}

/// Where the first instant that is looked at lies on the schedules' axis: a
/// clock that is paused may be behind it.
pub(super) const ORIGIN: u64 = 1 << 62;

/// An instant on the schedules' axis. 146 years on it stands still: what is due
/// lies beyond, and has room there.
#[inline]
pub(super) fn nanos(at: Instant) -> u64 {
    deadline_nanos(at).min(2 * ORIGIN - 1)
}

/// When a deadline passes on the schedules' axis, which goes on for as long as
/// what is due does; `u64::MAX` if it is later than that.
#[inline]
pub(super) fn deadline_nanos(at: Instant) -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(|| at);
    let after = at.saturating_duration_since(first);
    if after.is_zero() {
        let before = first.saturating_duration_since(at);
        return ORIGIN.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX));
    }
    let seconds = after.as_secs().saturating_mul(1_000_000_000);
    ORIGIN.saturating_add(seconds).saturating_add(u64::from(after.subsec_nanos()))
}
