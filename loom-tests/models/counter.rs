//! The counters: exact totals, one order for all, nothing lost to overflow, to
//! a take or to the end of a thread.

use super::kit::History;
use super::kit::Model;
use selvedge::counter::{Overflow, SafeCounter, StripedCounter};
use selvedge::swap::Arc;
use selvedge::swap::atomic::{AtomicU64, Ordering};
use selvedge::swap::thread::{self, JoinHandle};

/// Where an open `SafeCounter` closes.
const SOFT: u64 = 1 << 62;

fn actor<C, R>(counter: &Arc<C>, act: impl FnOnce(&C) -> R + Send + 'static) -> JoinHandle<R>
where
    C: Send + Sync + 'static,
    R: Send + 'static,
{
    let counter = Arc::clone(counter);
    thread::spawn(move || act(&counter))
}

// ---- SafeCounter ----

/// Two increments return 1 and 2, in either order.
///
/// Does not cover: more than two threads.
#[test]
fn increments_are_all_counted() {
    Model::new("counter::increments_are_all_counted").reaches([(1, 2), (2, 1)], || {
        let counter = Arc::new(SafeCounter::new());
        let [a, b] = [0, 1].map(|_| actor(&counter, |c| c.inc().unwrap()));
        let seen = (a.join().unwrap(), b.join().unwrap());
        assert_eq!(counter.value(), 2);
        seen
    });
}

/// A reader sees the total before, between or after two increments.
///
/// Does not cover: reads that are ordered after an increment (see
/// `reads_are_never_stale`).
#[test]
fn read_sees_a_total_that_was() {
    Model::new("counter::read_sees_a_total_that_was").reaches([0, 1, 2], || {
        let counter = Arc::new(SafeCounter::new());
        let adders = [0, 1].map(|_| actor(&counter, |c| c.inc().unwrap()));
        let reader = actor(&counter, SafeCounter::value);
        for adder in adders {
            adder.join().unwrap();
        }
        reader.join().unwrap()
    });
}

/// At `u64::MAX - 1` exactly one of two increments succeeds, and the other's
/// error names the value and the increment.
///
/// Does not cover: the way from open to closed (see
/// `crossing_into_the_closed_state_is_linearizable`).
#[test]
fn exactly_one_increment_fits_at_the_edge() {
    let fits = Ok(u64::MAX);
    let over = Err(Overflow { value: u64::MAX, increment: 1 });
    let model = Model::new("counter::exactly_one_increment_fits_at_the_edge");
    model.reaches([(fits, over), (over, fits)], || {
        let counter = Arc::new(SafeCounter::with_value(u64::MAX - 1));
        let [a, b] = [0, 1].map(|_| actor(&counter, SafeCounter::inc));
        let seen = (a.join().unwrap(), b.join().unwrap());
        assert_eq!(counter.value(), u64::MAX);
        seen
    });
}

/// An increment that overflows takes nothing with it: a smaller one beside it
/// that fits is counted, and no reader sees the value beyond the edge.
///
/// Does not cover: more than one overflow at a time.
#[test]
fn overflow_leaves_the_value_untouched() {
    const START: u64 = u64::MAX - 2;
    let model = Model::new("counter::overflow_leaves_the_value_untouched");
    let over = |value| Err(Overflow { value, increment: 9 });
    let outcomes = [
        (over(START), START),
        (over(START), START + 1),
        (over(START + 1), START),
        (over(START + 1), START + 1),
    ];
    model.reaches(outcomes, || {
        let counter = Arc::new(SafeCounter::with_value(START));
        let big = actor(&counter, |c| c.inc_by(9));
        let small = actor(&counter, SafeCounter::inc);
        let reader = actor(&counter, SafeCounter::value);
        assert_eq!(small.join().unwrap(), Ok(START + 1));
        let seen = (big.join().unwrap(), reader.join().unwrap());
        assert_eq!(counter.value(), START + 1);
        seen
    });
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    Add(u64),
    Value,
    Take,
}

type Ret = Result<u64, Overflow>;

fn apply(counter: &SafeCounter, op: Op) -> Ret {
    match op {
        Op::Add(n) => counter.inc_by(n),
        Op::Value => Ok(counter.value()),
        Op::Take => Ok(counter.take()),
    }
}

fn specified(value: &mut u64, op: &Op) -> Ret {
    match *op {
        Op::Add(n) => {
            *value = value.checked_add(n).ok_or(Overflow { value: *value, increment: n })?;
            Ok(*value)
        }
        Op::Value => Ok(*value),
        Op::Take => Ok(std::mem::take(value)),
    }
}

/// Runs each plan in a thread of its own; the history and a last read are
/// linearizable.
fn linearizable<const N: usize>(name: &'static str, start: u64, plans: [&'static [Op]; N]) {
    linearizable_in(Model::new(name), start, plans);
}

fn linearizable_in<const N: usize>(model: Model, start: u64, plans: [&'static [Op]; N]) {
    model.holds(move || {
        let counter = Arc::new(SafeCounter::with_value(start));
        let history = History::new();
        let actors = plans.map(|plan| {
            let history = history.clone();
            actor(&counter, move |c| {
                for op in plan {
                    let _ = history.record(*op, || apply(c, *op));
                }
            })
        });
        for actor in actors {
            actor.join().unwrap();
        }
        let _ = history.record(Op::Value, || apply(&counter, Op::Value));
        assert!(history.is_linearizable(start, specified), "not linearizable: {history:?}");
    });
}

/// A read never returns a value that a finished increment had replaced, though
/// nothing but the counter orders the two. The reader is a thread of its own:
/// loom switches threads at accesses, so two operations of one thread leave it
/// no room for a third that lies wholly between them.
///
/// Does not cover: the closed state.
#[test]
fn reads_are_never_stale() {
    linearizable(
        "counter::reads_are_never_stale",
        0,
        [&[Op::Add(1), Op::Add(2)], &[Op::Value, Op::Value]],
    );
}

/// The same for takes: what was taken is gone for every later read.
///
/// Does not cover: the closed state.
#[test]
fn finished_takes_are_seen() {
    linearizable("counter::finished_takes_are_seen", 3, [&[Op::Take], &[Op::Value, Op::Value]]);
}

/// The same for adds that close the counter and open it again.
///
/// Does not cover: a small add beside them (see
/// `large_add_is_linearizable_beside_small_ones`).
#[test]
fn finished_large_adds_are_seen() {
    linearizable(
        "counter::finished_large_adds_are_seen",
        3,
        [&[Op::Add(1 << 40)], &[Op::Value, Op::Value]],
    );
}

/// A reader that finds zero where a take has opened the counter sees what the
/// taker did before.
///
/// Does not cover: adds (see `increment_shows_what_came_before_it`).
#[test]
fn take_that_opens_shows_what_came_before_it() {
    let model = Model::new("counter::take_that_opens_shows_what_came_before_it");
    model.reaches([(0, 1), (SOFT, 0), (SOFT, 1)], || {
        let counter = Arc::new(SafeCounter::with_value(SOFT));
        let note = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&note);
        let taker = actor(&counter, move |c| {
            written.store(1, Ordering::Relaxed);
            c.take()
        });
        let reader = actor(&counter, move |c| (c.value(), note.load(Ordering::Relaxed)));
        assert_eq!(taker.join().unwrap(), SOFT);
        reader.join().unwrap()
    });
}

/// A reader that finds the counter closed, and then open with an increment in
/// it, sees what came before that increment.
///
/// Does not cover: a reader that finds it open at first, which loads with a
/// stronger ordering.
#[test]
fn increment_shows_what_came_before_it() {
    let model = Model::new("counter::increment_shows_what_came_before_it").preemptions(2);
    let outcomes = [(0, 0), (0, 1), (1, 1), (SOFT, 0), (SOFT, 1), (SOFT + 1, 1)];
    model.reaches(outcomes, || {
        let counter = Arc::new(SafeCounter::with_value(SOFT));
        let note = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&note);
        let taker = actor(&counter, SafeCounter::take);
        let adder = actor(&counter, move |c| {
            written.store(1, Ordering::Relaxed);
            c.inc().unwrap();
        });
        let reader = actor(&counter, move |c| (c.value(), note.load(Ordering::Relaxed)));
        let taken = taker.join().unwrap();
        adder.join().unwrap();
        let seen = reader.join().unwrap();
        assert_eq!(taken + counter.value(), SOFT + 1);
        seen
    });
}

/// Takes, adds and reads have one order.
///
/// Does not cover: the closed state.
#[test]
fn takes_are_linearizable() {
    linearizable(
        "counter::takes_are_linearizable",
        0,
        [&[Op::Add(1), Op::Take], &[Op::Add(2), Op::Value]],
    );
}

/// The add that reaches `SOFT` counts, and so do those that follow it into the
/// closed state.
///
/// Does not cover: three threads that cross at once.
#[test]
fn crossing_into_the_closed_state_is_linearizable() {
    linearizable(
        "counter::crossing_into_the_closed_state_is_linearizable",
        SOFT - 1,
        [&[Op::Add(1), Op::Add(1)], &[Op::Add(2), Op::Value]],
    );
}

/// A take in the closed state opens the counter, and an add that was pending
/// meanwhile is counted once.
///
/// Does not cover: more than one pending add at a take (see
/// `pending_adds_keep_the_counter_closed`).
#[test]
fn take_reopens_without_losing_a_pending_add() {
    linearizable(
        "counter::take_reopens_without_losing_a_pending_add",
        SOFT + 5,
        [&[Op::Take], &[Op::Add(1), Op::Add(1)]],
    );
}

/// Two adds pending while a take brings the value below `SOFT`.
///
/// Does not cover: a reader beside them.
#[test]
fn pending_adds_keep_the_counter_closed() {
    linearizable_in(
        Model::new("counter::pending_adds_keep_the_counter_closed"),
        SOFT + 5,
        [&[Op::Take], &[Op::Add(1)], &[Op::Add(2)]],
    );
}

/// A large add closes an open counter and opens it again under the feet of a
/// small add and a read.
///
/// Does not cover: two large adds.
#[test]
fn large_add_is_linearizable_beside_small_ones() {
    linearizable(
        "counter::large_add_is_linearizable_beside_small_ones",
        3,
        [&[Op::Add(1 << 40)], &[Op::Add(1), Op::Value]],
    );
}

/// Linearizable objects compose: who increments one counter and reads the
/// other cannot both have missed the other's increment.
///
/// Does not cover: the closed state.
#[test]
fn two_counters_agree_on_one_order() {
    let model = Model::new("counter::two_counters_agree_on_one_order");
    model.reaches([(0, 1), (1, 0), (1, 1)], || {
        let counters = Arc::new([SafeCounter::new(), SafeCounter::new()]);
        let [a, b] = [0, 1].map(|mine| {
            actor(&counters, move |c| {
                c[mine].inc().unwrap();
                c[1 - mine].value()
            })
        });
        (a.join().unwrap(), b.join().unwrap())
    });
}

// ---- StripedCounter ----

/// A reader beside two adders sees each add or not, and the total in the end
/// is exact.
///
/// Does not cover: an add after the stripe changed hands (see
/// `ended_thread_hands_its_stripe_on`).
#[test]
fn striped_read_lies_between_start_and_end() {
    let model = Model::new("counter::striped_read_lies_between_start_and_end").preemptions(2);
    model.reaches([0, 1, 2, 3], || {
        let counter = Arc::new(StripedCounter::new());
        let one = actor(&counter, StripedCounter::inc);
        let two = actor(&counter, |c| c.inc_by(2));
        let reader = actor(&counter, StripedCounter::value);
        one.join().unwrap();
        two.join().unwrap();
        let seen = reader.join().unwrap();
        assert_eq!(counter.value(), 3);
        seen
    });
}

/// A thread sees all of its own adds, and reads without a take between them
/// never go back.
///
/// Does not cover: takes.
#[test]
fn striped_reads_grow_and_see_their_own_adds() {
    let model = Model::new("counter::striped_reads_grow_and_see_their_own_adds");
    model.reaches([(1, 1), (1, 3), (3, 3)], || {
        let counter = Arc::new(StripedCounter::new());
        let other = actor(&counter, |c| c.inc_by(2));
        let reader = actor(&counter, |c| {
            c.inc();
            (c.value(), c.value())
        });
        other.join().unwrap();
        reader.join().unwrap()
    });
}

/// What two takes took and what is left is what was added.
///
/// Does not cover: a settlement meanwhile (see
/// `settlement_loses_nothing_beside_a_take`).
#[test]
fn striped_takes_and_rest_are_what_was_added() {
    let model = Model::new("counter::striped_takes_and_rest_are_what_was_added").preemptions(2);
    let outcomes = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (2, 0), (2, 1), (3, 0)];
    model.reaches(outcomes, || {
        let counter = Arc::new(StripedCounter::new());
        let adders = [1, 2].map(|n| actor(&counter, move |c| c.inc_by(n)));
        let taker = actor(&counter, |c| (c.take(), c.take()));
        for adder in adders {
            adder.join().unwrap();
        }
        let taken = taker.join().unwrap();
        assert_eq!(taken.0 + taken.1 + counter.take(), 3);
        assert_eq!(counter.value(), 0);
        taken
    });
}

/// Two takers share out what an adder adds; neither sees it twice, and a read
/// beside them is never negative.
///
/// Does not cover: two adders.
#[test]
fn striped_takers_share_out_what_was_added() {
    let model = Model::new("counter::striped_takers_share_out_what_was_added").preemptions(2);
    let outcomes = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)];
    model.reaches(outcomes, || {
        let counter = Arc::new(StripedCounter::new());
        let adder = actor(&counter, |c| {
            c.inc();
            c.inc();
            assert!(c.value() <= 2);
        });
        let [a, b] = [0, 1].map(|_| actor(&counter, StripedCounter::take));
        adder.join().unwrap();
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        assert_eq!(a + b + counter.value(), 2);
        (a, b)
    });
}

/// Two threads add twice each and end, while a third one takes. Where the one
/// starts after the other has ended it counts on in the same stripe.
///
/// Does not cover: a thread's end before its join returns, in loom, which ends
/// a thread's locals afterwards.
#[test]
fn ended_thread_hands_its_stripe_on() {
    let model = Model::new("counter::ended_thread_hands_its_stripe_on");
    model.preemptions(2).reaches([0, 1, 2, 4, 5, 6, 8, 9, 10], || {
        let counter = Arc::new(StripedCounter::new());
        let adders = [1, 4].map(|n| {
            actor(&counter, move |c| {
                c.inc_by(n);
                c.inc_by(n);
            })
        });
        let taker = actor(&counter, StripedCounter::take);
        for adder in adders {
            adder.join().unwrap();
        }
        let taken = taker.join().unwrap();
        assert_eq!(taken + counter.take(), 10);
        taken
    });
}

/// A stripe has one writer at a time: of two writers that come and go, the
/// second counts on in the stripe of the first if that has gone, and in one of
/// its own otherwise. So does an add from a thread whose table is gone: it is
/// such a writer.
///
/// Does not cover: more than two writers.
#[test]
fn stripe_has_one_writer_at_a_time() {
    let model = Model::new("counter::stripe_has_one_writer_at_a_time");
    model.reaches([1, 2], || {
        let counter = Arc::new(StripedCounter::new());
        let writers = [0, 1].map(|_| {
            actor(&counter, |c| {
                let writer = c.writer();
                writer.inc();
                writer.inc();
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(counter.value(), 4);
        counter.stripes()
    });
}

const MAX: u128 = u64::MAX as u128;

/// A stripe that is full moves into the base: a reader beside it sees the
/// total before or after each add, and never the part that moves missing or
/// twice.
///
/// Does not cover: the stripe's next owner (see
/// `settled_stripe_reads_right_under_its_next_writer`).
#[test]
fn settlement_is_one_step_for_a_reader() {
    let model = Model::new("counter::settlement_is_one_step_for_a_reader");
    model.reaches([0, MAX, MAX + 5, MAX + 6], || {
        let counter = Arc::new(StripedCounter::new());
        let adder = actor(&counter, |c| {
            c.inc_by(u64::MAX);
            c.inc_by(5);
            c.inc();
        });
        let reader = actor(&counter, StripedCounter::value);
        adder.join().unwrap();
        let seen = reader.join().unwrap();
        assert_eq!(counter.value(), MAX + 6);
        seen
    });
}

/// Beside a settlement a second read is never below the first.
///
/// Does not cover: an add after the settlement.
#[test]
fn reads_beside_a_settlement_never_fall() {
    let model = Model::new("counter::reads_beside_a_settlement_never_fall");
    let totals = [0, MAX, MAX + 5];
    let rising = totals.into_iter().flat_map(|a| totals.map(|b| (a, b))).filter(|(a, b)| a <= b);
    model.reaches(rising, || {
        let counter = Arc::new(StripedCounter::new());
        let adder = actor(&counter, |c| {
            c.inc_by(u64::MAX);
            c.inc_by(5);
        });
        let reader = actor(&counter, |c| (c.value(), c.value()));
        adder.join().unwrap();
        reader.join().unwrap()
    });
}

/// A take beside a settlement: what was taken and the rest are what was added.
///
/// Does not cover: two settlements.
#[test]
fn settlement_loses_nothing_beside_a_take() {
    let model = Model::new("counter::settlement_loses_nothing_beside_a_take");
    model.reaches([0, MAX, MAX + 5], || {
        let counter = Arc::new(StripedCounter::new());
        let adder = actor(&counter, |c| {
            c.inc_by(u64::MAX);
            c.inc_by(5);
        });
        let taker = actor(&counter, StripedCounter::take);
        adder.join().unwrap();
        let taken = taker.join().unwrap();
        assert_eq!(taken + counter.value(), MAX + 5);
        taken
    });
}

/// A writer settles a stripe and leaves it; the next one counts on. A reader
/// who sees the second one's add sees the settlement too.
///
/// Does not cover: a take beside them.
#[test]
fn settled_stripe_reads_right_under_its_next_writer() {
    let model =
        Model::new("counter::settled_stripe_reads_right_under_its_next_writer").preemptions(2);
    model.reaches([0, 1, MAX, MAX + 1, MAX + 2, MAX + 3], || {
        let counter = Arc::new(StripedCounter::new());
        let settler = actor(&counter, |c| {
            let writer = c.writer();
            writer.inc_by(u64::MAX);
            writer.inc_by(2);
        });
        let next = actor(&counter, |c| c.writer().inc());
        let reader = actor(&counter, StripedCounter::value);
        settler.join().unwrap();
        next.join().unwrap();
        let seen = reader.join().unwrap();
        assert_eq!(counter.value(), MAX + 3);
        seen
    });
}

/// A reader beside a take sees the total before or after it, whole.
///
/// Does not cover: an add beside them.
#[test]
fn striped_take_is_one_step_for_a_reader() {
    let model = Model::new("counter::striped_take_is_one_step_for_a_reader");
    model.reaches([0, 3], || {
        let counter = Arc::new(StripedCounter::new());
        counter.inc_by(3);
        let taker = actor(&counter, |c| assert_eq!(c.take(), 3));
        let reader = actor(&counter, StripedCounter::value);
        taker.join().unwrap();
        reader.join().unwrap()
    });
}

/// What happened before an add is visible to whoever reads a total that
/// includes it, be it by the fast way or under the mutex.
///
/// Does not cover: `take`, which reads the same way.
#[test]
fn striped_read_shows_what_came_before_the_adds_in_it() {
    let model = Model::new("counter::striped_read_shows_what_came_before_the_adds_in_it");
    model.reaches([(0, 0), (0, 7), (1, 0), (1, 7), (2, 7)], || {
        let shared = Arc::new((StripedCounter::new(), AtomicU64::new(0)));
        let adder = actor(&shared, |(counter, data)| {
            let writer = counter.writer();
            writer.inc();
            data.store(7, Ordering::Relaxed);
            writer.inc();
        });
        let reader = actor(&shared, |(counter, data)| {
            let seen = counter.value();
            (seen, data.load(Ordering::Relaxed))
        });
        adder.join().unwrap();
        reader.join().unwrap()
    });
}

/// A counter may be dropped while a thread that added to it lives on, and
/// while another one is at its end: loom finds what is not freed, and what is
/// used afterwards.
///
/// Does not cover: that the stripes themselves are freed, which no checker
/// sees (`tests/counter_memory.rs` weighs them).
#[test]
fn counter_may_be_dropped_before_its_threads() {
    let model = Model::new("counter::counter_may_be_dropped_before_its_threads");
    model.reaches([1, 2], || {
        let counter = Arc::new(StripedCounter::new());
        let [one, two] = [0, 1].map(|_| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                counter.inc();
                let seen = counter.value();
                drop(counter);
                thread::yield_now();
                seen
            })
        });
        drop(counter);
        two.join().unwrap();
        one.join().unwrap()
    });
}
