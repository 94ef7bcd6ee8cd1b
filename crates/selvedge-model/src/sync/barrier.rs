//! The barrier.

use crate::engine::object::Data;
use crate::engine::{self, Id, Wait};
use std::fmt;
use std::panic::Location;

/// As [`std::sync::Barrier`].
pub struct Barrier {
    id: Id,
    real: std::sync::Barrier,
    size: usize,
}

/// As [`std::sync::BarrierWaitResult`].
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// As in std.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// As in std.
    #[track_caller]
    pub const fn new(n: usize) -> Self {
        Self { id: Id::new(), real: std::sync::Barrier::new(n), size: n }
    }

    /// As in std.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        if !engine::inside() {
            return BarrierWaitResult(self.real.wait().is_leader());
        }
        let at = Location::caller();
        let barrier = self.id.index("Barrier", || Data::Barrier { arrived: 0, generation: 0 });
        engine::touch("wait", barrier, at);
        let (leads, before) = engine::object(barrier, |data| match data {
            Data::Barrier { arrived, generation } => {
                let before = *generation;
                *arrived += 1;
                let opens = *arrived >= self.size;
                if opens {
                    *arrived = 0;
                    *generation += 1;
                }
                (opens, before)
            }
            _ => unreachable!("a barrier keeps its kind"),
        });
        engine::done(at, Some(barrier), || {
            (if leads { "wait(): opens" } else { "wait(): arrives" }).to_owned()
        });
        if !leads {
            let wait = Wait::Opened { barrier, generation: before };
            engine::step("wait", Some(barrier), wait, None, at);
        }
        BarrierWaitResult(leads)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}
