//! A moment.

use crate::engine;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// As [`tokio::time::Instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub(super) tokio::time::Instant);

/// When all executions of this process begin.
fn start() -> tokio::time::Instant {
    tokio::time::Instant::from_std(engine::began())
}

impl Instant {
    /// As in tokio. Inside of a model, the model's.
    pub fn now() -> Self {
        if engine::inside() {
            return Self(start() + engine::now());
        }
        Self(tokio::time::Instant::now())
    }

    /// On the model's clock.
    pub(super) fn modelled(self) -> Duration {
        self.0.saturating_duration_since(start())
    }

    /// As in tokio.
    pub fn from_std(std: std::time::Instant) -> Self {
        Self(tokio::time::Instant::from_std(std))
    }

    /// As in tokio.
    pub fn into_std(self) -> std::time::Instant {
        self.0.into_std()
    }

    /// As in tokio.
    pub fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    /// As in tokio.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0)
    }

    /// As in tokio.
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.0.checked_duration_since(earlier.0)
    }

    /// As in tokio.
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// As in tokio.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    /// As in tokio.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(duration).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        self.0 -= duration;
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}
