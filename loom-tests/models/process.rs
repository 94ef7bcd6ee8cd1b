//! The progress word: what a parent and its worker each believe of a task.

use super::kit::Model;
use selvedge::process::progress::{Loans, Next, Word};
use selvedge::swap::atomic::{AtomicBool, Ordering};
use selvedge::swap::cell::UnsafeCell;
use selvedge::swap::{Arc, thread};

/// A worker that runs what it may: how many tasks it started, and whether the
/// last one was condemned.
fn work(word: &Word) -> (u32, bool) {
    let mut last = word.read();
    let mut started = 0;
    loop {
        match word.advance(&mut last) {
            Next::Run(index) => {
                assert_eq!(index, started);
                started += 1;
            }
            Next::Over => return (started, false),
            Next::Condemned => return (started, true),
        }
    }
}

fn armed(limit: u32) -> Arc<Word> {
    let word = Word::new();
    word.arm(limit);
    Arc::new(word)
}

/// A task that is condemned while it runs ends so for both sides; one that was
/// not running any more, or not yet, ends as usual for both.
///
/// Does not cover: a condemned process that is slow to die.
#[test]
fn condemned_by_both_or_by_none() {
    Model::new("process::condemned_by_both_or_by_none").reaches(
        [(true, 1, true), (false, 1, false)],
        || {
            let word = armed(1);
            let worker = thread::spawn({
                let word = Arc::clone(&word);
                move || work(&word)
            });
            let parent = thread::spawn(move || word.condemn(0));
            let hit = parent.join().unwrap();
            let (started, condemned) = worker.join().unwrap();
            (hit, started, condemned)
        },
    );
}

/// What is revoked never starts, and what started stays: the parent's answer
/// is what the worker did (3 of 2: both were finished already).
///
/// Does not cover: batches of more than two.
#[test]
fn revoked_tasks_never_start() {
    Model::new("process::revoked_tasks_never_start").reaches(
        [(0, 0), (1, 1), (2, 2), (3, 2)],
        || {
            let word = armed(2);
            let worker = thread::spawn({
                let word = Arc::clone(&word);
                move || work(&word).0
            });
            let parent = thread::spawn(move || word.revoke().started);
            (parent.join().unwrap(), worker.join().unwrap())
        },
    );
}

/// Revoked and condemned at once, as a cancel does: one task runs at most, and
/// both sides agree on how it ended.
///
/// Does not cover: two parents (there is one, under a lock).
#[test]
fn revoked_and_condemned_agree() {
    Model::new("process::revoked_and_condemned_agree").holds(|| {
        let word = armed(2);
        let worker = thread::spawn({
            let word = Arc::clone(&word);
            move || work(&word)
        });
        let parent = thread::spawn(move || {
            let progress = word.revoke();
            (progress.started, progress.running().is_some_and(|index| word.condemn(index)))
        });
        let (seen, hit) = parent.join().unwrap();
        let (started, condemned) = worker.join().unwrap();
        assert_eq!(seen.min(2), started);
        assert_eq!(hit, condemned);
    });
}

struct Shared(Arc<Word>, UnsafeCell<u32>);

// SAFETY: the cell is accessed as the word allows, which is the claim.
#[allow(unsafe_code, reason = "accesses that loom must see")]
unsafe impl Sync for Shared {}

/// Whoever sees a task as finished sees its result.
///
/// Does not cover: memory that is shared between processes and not threads,
/// where the same instructions run.
#[test]
#[allow(unsafe_code, reason = "accesses that loom must see")]
fn a_finished_task_shows_its_result() {
    Model::new("process::a_finished_task_shows_its_result").reaches([None, Some(7)], || {
        let shared = Arc::new(Shared(armed(1), UnsafeCell::new(0)));
        let worker = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut last = shared.0.read();
                assert_eq!(shared.0.advance(&mut last), Next::Run(0));
                // SAFETY: nobody reads it before it is finished.
                shared.1.with_mut(|cell| unsafe { *cell = 7 });
                assert_eq!(shared.0.advance(&mut last), Next::Over);
            }
        });
        let parent = thread::spawn(move || {
            // SAFETY: finished, and written no more.
            (shared.0.read().finished() == 1).then(|| shared.1.with(|cell| unsafe { *cell }))
        });
        worker.join().unwrap();
        parent.join().unwrap()
    });
}

/// The same for a parent that revokes the rest of the batch: of the task that
/// it calls finished it sees the result, whether its change came through or
/// the worker's did.
///
/// Does not cover: batches of more than two.
#[test]
#[allow(unsafe_code, reason = "accesses that loom must see")]
fn a_revoked_batch_shows_the_results_before_it() {
    let model = Model::new("process::a_revoked_batch_shows_the_results_before_it");
    model.reaches([None, Some(7)], || {
        let shared = Arc::new(Shared(armed(2), UnsafeCell::new(0)));
        let worker = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut last = shared.0.read();
                if shared.0.advance(&mut last) == Next::Run(0) {
                    // SAFETY: nobody reads it before it is finished.
                    shared.1.with_mut(|cell| unsafe { *cell = 7 });
                    let _ = shared.0.advance(&mut last);
                }
            }
        });
        let parent = thread::spawn(move || {
            // SAFETY: finished, and written no more.
            let result = || shared.1.with(|cell| unsafe { *cell });
            (shared.0.revoke().finished() > 0).then(result)
        });
        worker.join().unwrap();
        parent.join().unwrap()
    });
}

struct Sheet {
    loans: Loans,
    sent: AtomicBool,
    bytes: UnsafeCell<u32>,
}

// SAFETY: the cell is accessed as the loans allow, which is the claim.
#[allow(unsafe_code, reason = "accesses that loom must see")]
unsafe impl Sync for Sheet {}

/// A worker writes to a sheet again only when the parent has read it: what
/// the worker found (may it write?), and what the parent did (read it?).
///
/// Does not cover: several sheets, whose bits are independent.
#[test]
#[allow(unsafe_code, reason = "accesses that loom must see")]
fn lent_sheet_is_not_written_before_it_was_read() {
    let model = Model::new("process::lent_sheet_is_not_written_before_it_was_read");
    model.reaches([(false, None), (false, Some(1)), (true, Some(1))], || {
        let sheet = Arc::new(Sheet {
            loans: Loans::new(),
            sent: AtomicBool::new(false),
            bytes: UnsafeCell::new(0),
        });
        let worker = thread::spawn({
            let sheet = Arc::clone(&sheet);
            move || {
                // SAFETY: not lent yet.
                sheet.bytes.with_mut(|bytes| unsafe { *bytes = 1 });
                sheet.loans.lend(3);
                sheet.sent.store(true, Ordering::Release);
                let free = sheet.loans.held() == 0;
                if free {
                    // SAFETY: the parent gave it back.
                    sheet.bytes.with_mut(|bytes| unsafe { *bytes = 2 });
                }
                free
            }
        });
        let parent = thread::spawn(move || {
            let sent = sheet.sent.load(Ordering::Acquire);
            sent.then(|| {
                // SAFETY: lent to us.
                let read = sheet.bytes.with(|bytes| unsafe { *bytes });
                sheet.loans.give_back(3);
                read
            })
        });
        (worker.join().unwrap(), parent.join().unwrap())
    });
}
