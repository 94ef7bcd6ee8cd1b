//! loom, made fit for a program of many tests: a model that fails ends its own
//! test and nothing else, and says what happened.
//!
//! loom tells of a failure by a panic inside of the operation that met it. If
//! that unwound the model's threads, their destructors would use loom once
//! more, which panics again, and the program would end. So nothing unwinds
//! through a broken execution:
//!
//! * a model is explored on an OS thread of its own ([`explore`]);
//! * each operation of the facade goes through [`call`], which catches the
//!   panics that are loom's own;
//! * a panic of the model's own unwinds to the root of its thread ([`root`]),
//!   while loom is whole, and goes no further;
//! * either way [`stop`] sends what is known to the test, and the OS thread
//!   stays there for ever, with the stacks that it has.
//!
//! What loom finds between the threads (the last one ends while others wait,
//! a leak) unwinds loom's own frames only: its stacks are left as they are
//! while a panic unwinds.

mod record;
mod report;

pub(crate) use record::{Id, Op, Shown, begins, made, note, op, quiet, released, starts, taken};
pub(crate) use report::Failed;

use record::Run;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Once, mpsc};

/// A line of the user's.
pub(crate) type Place = &'static Location<'static>;

thread_local! {
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// Runs `f` with what this OS thread explores, if it explores anything.
fn with<R>(f: impl FnOnce(&mut Run) -> R) -> Option<R> {
    RUN.with(|run| run.borrow_mut().as_mut().map(f))
}

/// What an exploration without a failure did.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) executions: u64,
    /// The lines that some execution reached.
    pub(crate) marks: BTreeSet<&'static str>,
}

/// A panic, as the hook saw it.
#[derive(Debug)]
struct Panic {
    lane: usize,
    text: String,
    at: String,
    /// Raised by loom.
    looms: bool,
}

/// Explores `body`, which says itself what is wrong with an execution.
///
/// # Errors
///
/// The failure.
pub(crate) fn explore(
    builder: ::loom::model::Builder,
    body: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<Explored, Box<Failed>> {
    install();
    let (to, from) = mpsc::channel();
    let answer = to.clone();
    let own = std::thread::current();
    let name = own.name().unwrap_or("a model").to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        RUN.set(Some(Run::new(to, loom_sources())));
        let all = AssertUnwindSafe(|| {
            builder.check(move || {
                with(Run::begin);
                if let Err(wrong) = root(&body) {
                    with(|run| run.wrong = Some(wrong));
                    stop();
                }
            });
        });
        let checked = catch_unwind(all);
        let run = RUN.take().expect("this thread explores");
        let end = match checked {
            Ok(()) => Ok(Explored { executions: run.execution, marks: run.marks }),
            Err(_) => Err(run.fail()),
        };
        let _ = answer.send(end);
    });
    thread.expect("a model needs a thread to be explored on");
    from.recv().expect("the thread sends before it ends")
}

/// Runs an operation of loom's. If loom panics, this never returns.
pub(crate) fn call<R>(operation: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|payload| {
        if with(|run| run.panics.last().is_some_and(|panic| panic.looms)) == Some(true) {
            stop();
        }
        resume_unwind(payload)
    })
}

/// The outermost frame of a thread of the model: no panic passes.
pub(crate) fn root<R>(body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        if with(|_| ()).is_some() {
            stop();
        }
        resume_unwind(payload)
    })
}

/// Tells the test that this execution failed, and stays here.
fn stop() -> ! {
    if let Some(run) = RUN.take() {
        let to = run.to.clone();
        let _ = to.send(Err(run.fail()));
    }
    loop {
        std::thread::park();
    }
}

/// The folder with loom's sources, as its panics name it.
fn loom_sources() -> PathBuf {
    let (to, _) = mpsc::channel();
    RUN.set(Some(Run::new(to, PathBuf::new())));
    // There is no execution to yield in, which loom tells by a panic.
    let _ = catch_unwind(::loom::thread::yield_now);
    let run = RUN.take();
    let at = run.and_then(|mut run| run.panics.pop()).map_or_else(String::new, |panic| panic.at);
    let root = Path::new(&at).ancestors().find(|folder| folder.ends_with("src"));
    root.map_or_else(|| PathBuf::from("loom"), Path::to_path_buf)
}

/// Puts the hook in place, once a process: it is silent where a model is
/// explored, and what it was before everywhere else.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !write_down(info) {
                before(info);
            }
        }));
    });
}

/// What the last panic of a program says when a destructor panics while a
/// panic unwinds: nothing can keep the program from ending.
const IN_CLEANUP: &str = "panic in a destructor during cleanup";

fn write_down(info: &PanicHookInfo<'_>) -> bool {
    let payload = info.payload();
    let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    let text = text
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic whose payload is no text".to_owned());
    let place = info.location();
    let at = place.map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
    RUN.with(|run| {
        let Ok(mut run) = run.try_borrow_mut() else {
            return false;
        };
        let Some(run) = run.as_mut() else {
            return false;
        };
        if text == IN_CLEANUP {
            run.last_words();
            return true;
        }
        let looms = place.is_some_and(|at| Path::new(at.file()).starts_with(&run.sources));
        run.panics.push(Panic { lane: run.last, text, at, looms });
        true
    })
}
