//! The reduced search with a bound on preemptions, against the plain one.

use super::Every;
use super::tests::{Op, cases, programs, search};
use crate::engine::Dfs;
use proptest::prelude::prop_assert_eq;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

const BOUNDS: u32 = 4;

/// Whether both say the same of the program, for each bound that the plain
/// search comes to an end of; how many times fewer executions there were.
fn compare(ordered: bool, program: &[Vec<Op>]) -> Result<Vec<f64>, String> {
    let mut ratios = Vec::new();
    for bound in 0..BOUNDS {
        let Some(all) = search(Box::new(Dfs::new(bound)), ordered, 3_000, program) else { break };
        let most = 3 * all.executions + 10;
        let some = search(Box::new(Every::bounded(ordered, bound)), ordered, most, program)
            .ok_or_else(|| format!("{bound} preemptions: more than {most} executions"))?;
        if some.fails != all.fails {
            return Err(format!("{bound} preemptions: {some:?} and {all:?}"));
        }
        // A failure ends a search: the outcomes seen by then say nothing.
        if all.fails {
            break;
        }
        if some.outcomes != all.outcomes {
            return Err(format!("{bound} preemptions: {some:?} and {all:?}"));
        }
        ratios.push(all.executions as f64 / some.executions as f64);
    }
    Ok(ratios)
}

fn agree(ordered: bool) {
    let mut runner = TestRunner::new(Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    });
    let ratios = RefCell::new(vec![Vec::new(); BOUNDS as usize]);
    runner
        .run(&programs(), |program| {
            let found = compare(ordered, &program);
            prop_assert_eq!(found.as_ref().err(), None);
            for (of, ratio) in ratios.borrow_mut().iter_mut().zip(found.unwrap_or_default()) {
                of.push(ratio);
            }
            Ok(())
        })
        .unwrap();
    for (bound, mut ratios) in ratios.into_inner().into_iter().enumerate() {
        ratios.sort_by(f64::total_cmp);
        if let (Some(least), Some(most)) = (ratios.first(), ratios.last()) {
            println!(
                "at most {bound} preemptions: {} programs the same; plain / reduced: {least:.1} at \
                 least, {:.1} in the median, {most:.0} at most",
                ratios.len(),
                ratios[ratios.len() / 2]
            );
        }
    }
}

#[test]
fn the_same_outcomes_with_each_bound_on_preemptions() {
    agree(true);
}

#[test]
fn the_same_outcomes_with_each_bound_and_deadlines_at_any_step() {
    agree(false);
}

/// A program whose outcome with one preemption is had only from where a thread
/// came in, and one whose sleepers would hide it.
#[test]
fn each_rule_of_bounds_has_a_program() {
    use Op::{Add, Load, Lock, Look, Store};
    let programs: &[&[&[Op]]] = &[
        &[&[Load(0), Store(0)], &[Load(0), Store(0)]],
        &[&[Store(0), Load(1)], &[Store(1), Load(0)]],
        &[&[Load(1), Store(0), Store(1)], &[Load(0), Load(1), Store(0)]],
        &[&[Store(0), Store(1), Load(0)], &[Store(0), Load(1), Add(0)]],
        &[&[Add(0), Add(1), Add(0)], &[Add(1), Add(0), Add(1)]],
        &[&[Add(0), Add(1)], &[Add(1), Add(0)], &[Load(0), Load(1)]],
        &[&[Lock(0, Some(0)), Look(1)], &[Lock(1, Some(0)), Look(0)]],
    ];
    for program in programs {
        let program: Vec<Vec<Op>> = program.iter().map(|ops| ops.to_vec()).collect();
        compare(true, &program).unwrap_or_else(|error| panic!("{program:?}: {error}"));
    }
}
