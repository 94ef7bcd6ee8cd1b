//! The schedule itself: integers, and an instant that is passed in.

use super::Rate;

/// The generic cell rate algorithm (ITU-T I.371) on integers: a bucket of
/// `burst` permits that fills at a [`Rate`], kept as one instant.
///
/// It has no clock: every operation is told the time, in nanoseconds since
/// whatever its owner counts from, and a test can tell it any. Its unit is the
/// *tick*, a nanosecond divided by the permits of the rate, so that a permit
/// is a whole number of ticks (the period) at any rate, and nothing is ever
/// rounded. `tat`, the *theoretical arrival time*, is when the bucket will be
/// full again; the distance from now to there is the debt.
///
/// Instants may go up to 2^63 ns (292 years).
///
/// ```
/// use selvedge::rate::{Gcra, Rate};
/// use selvedge::nz;
///
/// // Seven a second: a billion grants are a billion sevenths of a second.
/// let mut schedule = Gcra::new(Rate::per_second(nz!(7)), 1, 0);
/// let mut now = 0;
/// for k in 0..1_000_000_000_u64 / 100_000_000 {
///     while let Err(wait) = schedule.take(now, 1) {
///         now += wait;
///     }
///     assert_eq!(now, (k * 1_000_000_000).div_ceil(7));
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    // Two halves: a u128 would align, and so pad, the limiter to 16 bytes.
    tat: [u64; 2],
    period: u64,
    // 0 while paused.
    permits: u32,
    burst: u32,
}

impl Gcra {
    /// A full bucket at `now`.
    ///
    /// # Panics
    ///
    /// If `burst` is 0, or `now` is 2^63 or later.
    #[must_use]
    pub fn new(rate: Rate, burst: u32, now: u64) -> Self {
        assert!(burst > 0, "a bucket of no permits gives none");
        assert!(now < 1 << 63, "an instant that far ahead");
        let mut new = Self { tat: [0; 2], period: rate.period, permits: rate.permits, burst };
        new.set_tat(new.ticks(now));
        new
    }

    /// The most permits that the bucket holds.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The rate; `None` while paused.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        (self.permits > 0).then_some(Rate { period: self.period, permits: self.permits })
    }

    /// Takes `n` permits, if they are there at `now`.
    ///
    /// # Errors
    ///
    /// How many nanoseconds later they will be, if nobody takes any before;
    /// `u64::MAX` if that is not known: while paused, or for more than the
    /// burst.
    #[inline]
    pub fn take(&mut self, now: u64, n: u32) -> Result<(), u64> {
        if n > self.burst {
            return Err(u64::MAX);
        }
        match self.wait(now, u64::from(n)) {
            0 => {
                self.spend(now, n);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long after `now` so many permits will be there, or will have been
    /// taken one request after the other; `u64::MAX` while paused.
    #[inline]
    pub(super) fn wait(&self, now: u64, total: u64) -> u64 {
        if self.permits == 0 {
            return u64::MAX;
        }
        let cost = u128::from(total).saturating_mul(u128::from(self.period));
        let full = self.tat().saturating_add(cost);
        let short = full.saturating_sub(self.ticks(now) + self.ticks_of(self.burst));
        if short == 0 {
            return 0;
        }
        let wait = match u64::try_from(short) {
            Ok(short) => short.div_ceil(u64::from(self.permits)),
            Err(_) => u64::try_from(short.div_ceil(u128::from(self.permits))).unwrap_or(u64::MAX),
        };
        wait.min(u64::MAX - 1)
    }

    /// Takes `n` permits as at `floor`, which is now, or earlier for somebody
    /// who is served late. The caller has looked at [`wait`](Self::wait).
    #[inline]
    pub(super) fn spend(&mut self, floor: u64, n: u32) {
        self.set_tat(self.tat().max(self.start(floor)) + self.ticks_of(n));
    }

    /// What a grant finds missing to a full bucket, in ticks.
    #[inline]
    pub(super) fn debt_at(&self, floor: u64) -> u128 {
        self.tat().saturating_sub(self.start(floor))
    }

    /// What is missing to a full bucket, in ticks.
    #[inline]
    fn debt(&self, now: u64) -> u128 {
        self.tat().saturating_sub(self.ticks(now))
    }

    /// Whether the bucket has been full since before `now`.
    #[inline]
    pub(super) fn is_behind(&self, now: u64) -> bool {
        self.tat() < self.start(now)
    }

    /// Gives ticks back.
    pub(super) fn give_back(&mut self, ticks: u128) {
        // While paused the debt may be less: time had paid for a part.
        self.set_tat(self.tat().saturating_sub(ticks));
    }

    /// Starts a bucket that is missing `n` permits.
    pub(super) fn empty_by(&mut self, n: u32) {
        self.set_tat(self.tat() + self.ticks_of(n));
    }

    /// From `now` on the bucket fills at `rate`. What is in it stays in it.
    pub fn set_rate(&mut self, rate: Rate, now: u64) {
        let debt = rescaled(self.debt(now), self.period, rate.period, true);
        (self.period, self.permits) = (rate.period, rate.permits);
        self.set_tat(self.ticks(now) + debt);
    }

    /// From `now` on the bucket neither fills nor gives, until
    /// [`set_rate`](Self::set_rate).
    pub fn pause(&mut self, now: u64) {
        let debt = self.debt(now);
        self.permits = 0;
        self.set_tat(debt);
    }

    /// Ticks of a permit.
    pub(super) fn period(&self) -> u64 {
        self.period
    }

    #[inline]
    pub(super) fn ticks_of(&self, n: u32) -> u128 {
        u128::from(n) * u128::from(self.period)
    }

    /// The first tick after the nanosecond before: who is told to come at 0.14
    /// comes at 1 and is in time, or a part of a nanosecond would be lost with
    /// every grant.
    #[inline]
    fn start(&self, at: u64) -> u128 {
        self.ticks(at).saturating_sub(u128::from(self.permits.saturating_sub(1)))
    }

    #[inline]
    fn ticks(&self, at: u64) -> u128 {
        u128::from(at) * u128::from(self.permits)
    }

    #[inline]
    fn tat(&self) -> u128 {
        u128::from(self.tat[1]) << 64 | u128::from(self.tat[0])
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a u128")]
    fn set_tat(&mut self, tat: u128) {
        self.tat = [tat as u64, (tat >> 64) as u64];
    }
}

/// Ticks at one period, in ticks at another: the same part of a permit, to the
/// tick above or below.
pub(super) fn rescaled(ticks: u128, from: u64, to: u64, up: bool) -> u128 {
    let (from, to) = (u128::from(from), u128::from(to));
    let part = (ticks % from) * to;
    (ticks / from) * to + if up { part.div_ceil(from) } else { part / from }
}
