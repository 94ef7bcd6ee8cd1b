//! Tasks: tokio's outside of a model, the model's inside.

use super::handle::{Control, JoinError, JoinHandle, Shared, Which};
use crate::engine::{self, Access, Key, Kind, Place, Wait};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes a task of a model, from wherever.
struct Wakes(Arc<AtomicBool>, usize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        engine::touched(Key::Wake(self.1), Access::Call);
        // ORDERING: Release, with the Acquire of the model's choice: what led
        // to the wake-up comes before the poll.
        self.0.store(true, Ordering::Release);
    }
}

/// How often a task may yield and yet go on before others. A runtime of several
/// threads polls it again before others have had their turn; where a task yields
/// until something happens, fairness is what brings that about.
const YIELDS: u32 = 4;

/// Polls until it is ready; `None` if it is to be dropped before.
fn run<F: Future>(
    future: F,
    control: &Control,
    ends_with_body: bool,
    at: Place,
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let me = engine::me();
    let waker = Waker::from(Arc::new(Wakes(Arc::clone(&control.woken), me)));
    let mut context = Context::from_waker(&waker);
    let mut yields = 0;
    loop {
        // ORDERING: on the model's one thread, but for the wakers above.
        engine::touched(Key::Wake(me), Access::Write);
        let aborted = control.aborted.load(Ordering::SeqCst);
        if aborted || (ends_with_body && engine::returned()) {
            return None;
        }
        control.woken.store(false, Ordering::SeqCst);
        engine::awaits_nothing();
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let (op, place) = engine::awaited().unwrap_or(("await", at));
        let wait = match op {
            "yield" if yields < YIELDS => {
                yields += 1;
                Wait::Ready
            }
            "yield" => Wait::Yield,
            _ => Wait::Woken(Arc::clone(&control.woken)),
        };
        engine::step(op, None, wait, None, place);
    }
}

/// The body of an async model.
#[track_caller]
pub(crate) fn block_on_modelled<F: Future>(future: F) -> F::Output {
    let at = Location::caller();
    run(future, &Control::default(), false, at).expect("nothing aborts the body")
}

/// As [`tokio::task::spawn`]. A model's task ends with the body of the model,
/// as tokio's does with its runtime.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if !engine::inside() {
        return JoinHandle(Which::Real(match PERTURBED.with_borrow_mut(|seed| seed.split()) {
            Some(seed) => tokio::spawn(Perturbed { future: Box::pin(future), seed, put_off: 0 }),
            None => tokio::spawn(future),
        }));
    }
    let at = Location::caller();
    let control = Arc::new(Control::default());
    let shared = Shared::new(Arc::clone(&control));
    let (into, starts) = (Arc::clone(&shared), Arc::clone(&control));
    let task = start(Kind::Task, at, move || {
        let result = catch_unwind(AssertUnwindSafe(|| run(future, &control, true, at)));
        finish(&into, result);
    });
    starts.task.store(task, Ordering::SeqCst);
    JoinHandle(Which::Task(shared, at))
}

/// As [`tokio::task::spawn_blocking`]: a thread of the model.
#[track_caller]
pub fn spawn_blocking<F, R>(f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    if !engine::inside() {
        return JoinHandle(Which::Real(tokio::task::spawn_blocking(f)));
    }
    let at = Location::caller();
    let starts = Arc::<Control>::default();
    let shared = Shared::new(Arc::clone(&starts));
    let into = Arc::clone(&shared);
    let task = start(Kind::Thread, at, move || {
        let result = catch_unwind(AssertUnwindSafe(f)).map(Some);
        finish(&into, result);
    });
    starts.task.store(task, Ordering::SeqCst);
    JoinHandle(Which::Task(shared, at))
}

fn start(kind: Kind, at: Place, body: impl FnOnce() + Send + 'static) -> usize {
    engine::step("spawn", None, Wait::Ready, None, at);
    let task = engine::spawn(kind, None, at, Box::new(body));
    engine::done(at, None, || format!("spawn {}", engine::lane(task)));
    task
}

fn finish<T>(into: &Shared<T>, result: std::thread::Result<Option<T>>) {
    match result {
        Ok(Some(value)) => into.finish(Ok(value)),
        Ok(None) => into.finish(Err(JoinError::cancelled())),
        Err(payload) if engine::panics_are_values() => {
            into.finish(Err(JoinError::panicked(payload)));
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// As [`tokio::task::yield_now`].
#[track_caller]
pub fn yield_now() -> impl Future<Output = ()> {
    let at = Location::caller();
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        if engine::inside() {
            engine::awaits("yield", at);
        }
        Poll::Pending
    })
}

/// The seed that polls are put off by, on this thread.
struct Seed(Option<u64>);

impl Seed {
    /// Another, for another future.
    fn split(&mut self) -> Option<u64> {
        let seed = self.0.as_mut()?;
        Some(engine::Random::step(seed))
    }
}

thread_local! {
    static PERTURBED: RefCell<Seed> = const { RefCell::new(Seed(None)) };
}

/// Runs `f` so that what it polls and spawns on this thread is put off now and
/// then, as the seed says.
pub(crate) fn perturbed<F: Future>(
    seed: u64,
    run: impl FnOnce(Perturbed<F>) -> F::Output,
    future: F,
) -> F::Output {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            PERTURBED.with_borrow_mut(|seed| seed.0 = None);
        }
    }
    PERTURBED.with_borrow_mut(|own| own.0 = Some(seed));
    let _reset = Reset;
    run(Perturbed { future: Box::pin(future), seed, put_off: 0 })
}

/// A future whose polls are put behind those of others now and then.
pub(crate) struct Perturbed<F> {
    future: Pin<Box<F>>,
    seed: u64,
    put_off: u32,
}

/// In a row: a poll that is always put off never happens.
const PUT_OFF: u32 = 3;

impl<F: Future> Future for Perturbed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if this.put_off < PUT_OFF && engine::Random::step(&mut this.seed) & 1 == 1 {
            this.put_off += 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.put_off = 0;
        this.future.as_mut().poll(context)
    }
}
