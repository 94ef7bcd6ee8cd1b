//! What a process pool drops in the parent: items that were encoded, values
//! that were decoded, and the source. (In a worker all of it is the task's.)

use super::{Bomb, ended};
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::process::{BuildError, Pool, Report};
use serde::{Deserialize, Serialize};

/// An item or a value that panics when it is dropped in the process that made
/// it by hand, or where it was decoded: as it is told.
#[derive(Debug, Serialize, Deserialize)]
struct Number {
    n: u32,
    /// In which process, by its number.
    panics_in: Option<u32>,
}

impl Drop for Number {
    fn drop(&mut self) {
        if self.panics_in == Some(std::process::id()) {
            std::panic::panic_any("a number's");
        }
    }
}

fn here(n: u32) -> Number {
    Number { n, panics_in: Some(std::process::id()) }
}

fn fine(n: u32) -> Number {
    Number { n, panics_in: None }
}

/// Forgets what panics; what it was.
fn quiet(report: Report<Number>) -> Option<u32> {
    match report.outcome {
        Outcome::Ok(number) => {
            let n = number.n;
            std::mem::forget(number);
            Some(n)
        }
        Outcome::Panicked(panic) => {
            assert_eq!(panic.message(), "a number's");
            None
        }
        other => panic!("{other:?}"),
    }
}

fn pool() -> Pool {
    Pool::builder().workers(nz!(2)).build().unwrap()
}

/// An item whose destructor panics when it has been encoded is not sent, and
/// that is its outcome. The others go on.
#[test]
fn of_an_item() {
    let pool = pool();
    let items = || (0..20).map(|n| if n % 7 == 3 { here(n) } else { fine(n) });
    let sent = |number: Number| fine(number.n * 10);
    let reports = ended(|| pool.map_outcomes(sent, items())).unwrap();
    let expected: Vec<_> = (0..20).map(|n| (n % 7 != 3).then_some(n * 10)).collect();
    assert_eq!(reports.into_iter().map(quiet).collect::<Vec<_>>(), expected);
    let task = ended(|| pool.submit(sent, here(1))).unwrap();
    assert_eq!((task.id(), quiet(task.wait())), (None, None));
    assert_eq!(quiet(pool.submit(sent, fine(2)).wait()), Some(20));
}

/// A source beside a bomb.
struct Source(std::ops::Range<u32>, #[expect(dead_code, reason = "held")] Bomb);

impl Iterator for Source {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        self.0.next()
    }
}

/// Values that were had before a failure are dropped one by one, and the
/// failure stays whatever they and the source do. Without one the source's
/// panic goes on.
#[test]
fn of_values_and_of_the_source() {
    let pool = pool();
    let parent = std::process::id();
    let value = |(n, parent): (u32, u32)| {
        assert!(n < 40, "forty");
        Number { n, panics_in: Some(parent) }
    };
    let fallible = |(n, parent): (u32, u32)| {
        if n < 40 { Ok(Number { n, panics_in: Some(parent) }) } else { Err(n) }
    };
    let source = |to, bomb| Source(0..to, bomb).map(move |n| (n, parent));
    for what in ["source", ""] {
        let failed = ended(|| pool.map(value, source(60, Bomb(what)))).unwrap().unwrap_err();
        assert_eq!(failed.index, 40);
        let failed = ended(|| pool.try_map(fallible, source(60, Bomb(what)))).unwrap();
        assert_eq!(failed.unwrap_err().index, 40);
        let failed = ended(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(pool.map_async(value, source(60, Bomb(what))))
        });
        assert_eq!(failed.unwrap().unwrap_err().index, 40);
        let all = ended(|| {
            pool.map(value, source(10, Bomb(what)))
                .map(|all| all.into_iter().map(std::mem::forget).count())
        });
        match all {
            Ok(all) => assert_eq!((what, all), ("", Ok(10))),
            Err(said) => assert_eq!(said, what),
        }
        let left = ended(|| {
            let mut stream = pool.stream(value, source(30, Bomb(what)), nz!(8));
            quiet(stream.next().unwrap())
        });
        assert_eq!(left, if what.is_empty() { Ok(Some(0)) } else { Err(what) });
    }
}

/// A context that cannot be encoded says so.
#[test]
fn of_a_context() {
    #[derive(Deserialize)]
    struct Context {
        #[serde(skip)]
        bomb: Bomb,
    }
    impl Serialize for Context {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom(format_args!("a {}", self.bomb.0)))
        }
    }
    let refused = ended(|| Pool::builder().context(Context { bomb: Bomb("context") }).build());
    let Err(BuildError::Context(why)) = refused.unwrap() else { panic!("it is refused") };
    assert!(why.contains("a context"), "{why}");
}

/// A handle that nobody waits at takes its value with it.
#[test]
fn of_a_handle() {
    let pool = pool();
    let parent = std::process::id();
    let value = |(n, parent): (u32, u32)| Number { n, panics_in: Some(parent) };
    drop(pool.submit(value, (1, parent)));
    assert_eq!(quiet(pool.submit(value, (2, parent)).wait()), Some(2));
}
