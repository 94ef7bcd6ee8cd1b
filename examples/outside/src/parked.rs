//! Workers of a scope that take jobs from a queue, so many at a time. The bug:
//! a permit is forgotten, and all wait: in the queue, the semaphore, the scope.

use middle::Tally;
use selvedge::queue::{self, Receiver};
use selvedge::thread;
use selvedge::{nz, semaphore::Semaphore};

fn drain(jobs: &Receiver<u32>, permits: &Semaphore, done: &Tally) {
    while jobs.recv().is_ok() {
        let Ok(permit) = permits.acquire_blocking(1) else { return };
        done.hit();
        if cfg!(feature = "bugs") {
            permit.forget();
        }
    }
}

/// How many of `jobs` were done.
pub fn run(jobs: u32) -> u32 {
    let (sender, receiver) = queue::bounded(nz!(1));
    let (permits, done) = (Semaphore::new(1), Tally::default());
    thread::scope(|scope| {
        scope.spawn(|| drain(&receiver, &permits, &done));
        for job in 0..jobs {
            sender.send(job).unwrap();
        }
        drop(sender);
    });
    done.hits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge::model;

    /// With the bug, the body waits in the queue, and its worker in the semaphore.
    #[model(outcomes = [4], engines(shuttle, loom), preemptions = 1)]
    fn four_jobs_are_done() -> u32 {
        run(4)
    }

    /// With the bug, the body waits in the scope.
    #[model(outcomes = [2], engines(shuttle, loom), preemptions = 2)]
    fn two_jobs_are_done() -> u32 {
        run(2)
    }

    #[cfg(feature = "bugs")]
    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_test_that_should_panic_does() {
        let _ = selvedge::harness::Model::new("two").holds(|| run(2));
    }
}
