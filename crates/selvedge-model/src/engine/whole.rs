//! Operations of blocks that are trusted: one step each.

use super::exec::{try_with, with};
use super::{Place, Wait};

/// The calling task is in an operation that is one step, until this is dropped.
#[derive(Debug)]
pub struct Whole(());

/// An operation of `block` begins. If the model trusts the block, nobody else
/// has a step before it is over or waits, and again from when it goes on.
pub(crate) fn whole(block: &'static str, at: Place) -> Option<Whole> {
    let trusted = super::inside()
        && with(|e| {
            let trusted = e.settings.trusted.contains(&block) && !e.over;
            if trusted && !e.marks.contains(&block) {
                e.marks.push(block);
            }
            trusted
        });
    if !trusted {
        return None;
    }
    if with(|e| e.tasks[e.current].whole == 0) {
        super::step(block, None, Wait::Ready, None, at);
    }
    with(|e| {
        let me = e.current;
        e.tasks[me].whole += 1;
    });
    Some(Whole(()))
}

impl Drop for Whole {
    fn drop(&mut self) {
        let _ = try_with(|e| {
            let me = e.current;
            e.tasks[me].whole = e.tasks[me].whole.saturating_sub(1);
        });
    }
}
