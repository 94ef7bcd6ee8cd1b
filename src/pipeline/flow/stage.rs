//! The two kinds of stages.

use super::super::Reason;
use super::super::meter::Gauge;
use super::super::work::excerpt;
use super::Bound;
use super::running::{Early, Fault, Held, Origin, Panics, Parcel, Running};
use crate::cancel::Token;
use crate::guard::{self, Guarded, guarded};
use crate::outcome::Panic;
use crate::queue::{self, Receiver, SendError, Sender};
use crate::rt::{self, Working};
use crate::scope::Scope;
use crate::swap::{Arc, thread};
use crate::threads::{Pool, Threads};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc as Shared;

/// Lines after which a lane whose queues are always ready lets others run.
const TURNS: u64 = 128;

/// What the lanes of a stage of tasks share.
struct Row<T, U, F> {
    from: Receiver<Parcel<T>>,
    to: Sender<Parcel<U>>,
    work: Held<F>,
    gauge: Shared<Gauge>,
    lanes: usize,
    scope: Scope<Early>,
}

pub(super) fn tasks<T, U, F, W>(
    running: &Running,
    gauge: Shared<Gauge>,
    bound: Bound,
    from: Receiver<Parcel<T>>,
    work: F,
) -> Receiver<Parcel<U>>
where
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(T) -> W + Send + Sync + 'static,
    W: Future<Output = Result<U, Reason>> + Send + 'static,
{
    let (to, next) = queue::bounded(bound.waiting);
    let (scope, work) = (running.scope.clone(), running.hold(work));
    let lanes = bound.at_once.get();
    Row::open_lane(&Arc::new(Row { from, to, work, gauge, lanes, scope }), 1);
    next
}

impl<T, U, F, W> Row<T, U, F>
where
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(T) -> W + Send + Sync + 'static,
    W: Future<Output = Result<U, Reason>> + Send + 'static,
{
    /// Opens the lane with this number, the first being 1.
    fn open_lane(this: &Arc<Self>, number: usize) {
        let lane: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(Self::lane(Arc::clone(this), number));
        this.scope.spawn(lane);
    }

    async fn lane(self: Arc<Self>, number: usize) -> Result<(), Early> {
        let mut turns = 0;
        while let Ok(parcel) = self.from.recv_async().await {
            if turns == 0 && number < self.lanes {
                // A lane that finds a line opens the next one.
                Self::open_lane(&self, number + 1);
                // tokio keeps a task that was spawned last for the thread that
                // spawned it, and nobody can steal it: were this line to block
                // its thread, the next lane would never run.
                rt::yield_now().await;
            }
            let parcel = self.pass(parcel).await;
            if self.to.send_async(parcel).await.is_err() {
                break;
            }
            turns += 1;
            if turns % TURNS == 0 {
                rt::yield_now().await;
            }
        }
        Ok(())
    }

    async fn pass(&self, Parcel { origin, body }: Parcel<T>) -> Parcel<U> {
        let value = match body {
            Ok(value) => value,
            Err(fault) => return passed_by(&self.gauge, origin, fault),
        };
        let busy = self.gauge.begin();
        let ended = run(|| (self.work)(value), self.work.panics()).await;
        busy.done();
        finished(&self.gauge, origin, ended)
    }
}

/// A future in a lane. If it is dropped there it has no line to say so for.
struct Work<'l, W> {
    future: Pin<&'l mut Guarded<W>>,
    panics: &'l Panics,
}

impl<W> Drop for Work<'_, W> {
    fn drop(&mut self) {
        self.panics.tell(self.future.as_mut().clear());
    }
}

/// Makes a future, polls it to its end and drops it. A panic anywhere in that
/// is a value.
async fn run<W: Future>(make: impl FnOnce() -> W, panics: &Panics) -> Result<W::Output, Panic> {
    let future = pin!(Guarded::new(guarded(make)?));
    let mut work = Work { future, panics };
    let polled = poll_fn(|context| work.future.as_mut().poll(context)).await;
    let dropped = work.future.as_mut().clear();
    // A panic in the poll came first.
    let value = polled?;
    if let Err(panic) = dropped {
        // One fault is enough.
        let _ = guard::dropped(value);
        return Err(panic);
    }
    Ok(value)
}

fn passed_by<U>(gauge: &Gauge, origin: Origin, fault: Fault) -> Parcel<U> {
    if matches!(fault, Fault::Rejected { .. } | Fault::Panicked { .. }) {
        gauge.pass();
    }
    Parcel { origin, body: Err(fault) }
}

fn finished<U>(
    gauge: &Gauge,
    origin: Origin,
    ended: Result<Result<U, Reason>, Panic>,
) -> Parcel<U> {
    let body = match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(reason)) => {
            Err(Fault::Rejected { reason, excerpt: excerpt(origin.line.as_bytes()) })
        }
        Err(panic) => Err(Fault::Panicked { stage: gauge.name(), panic }),
    };
    Parcel { origin, body }
}

pub(super) fn threads<T, U, F>(
    running: &Running,
    gauge: Shared<Gauge>,
    bound: Bound,
    from: Receiver<Parcel<T>>,
    work: F,
) -> Receiver<Parcel<U>>
where
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(T) -> Result<U, Reason> + Send + Sync + 'static,
{
    let (to, next) = queue::bounded(bound.waiting);
    let ended = Token::new();
    running.wait_for(ended.clone());
    running.on_end({
        let from = from.clone();
        let panics = running.panics.clone();
        // The stage before may be a thread that never closes it.
        move || panics.tell(guard::each(from.close_now()))
    });
    let stop = running.scope.token().clone();
    let working = running.working();
    let name = "selvedge-stage".to_owned();
    let guard = ended.drop_guard();
    let work = running.hold(work);
    // If there is no thread, its ends of the queues are gone: the run ends, and
    // no end was told.
    let _ = thread::Builder::new().name(name).spawn(move || {
        let _last = guard;
        // Dropped before: what they hold is gone when the end is told.
        let (gauge, from, to, work) = (gauge, from, to, work);
        let working = working;
        serve(&gauge, bound, &from, &to, &stop, &working, &*work);
    });
    next
}

/// Takes what is waiting, does it, passes it on. It holds back nothing that is
/// done, so nobody waits for a line that is behind another.
fn serve<T, U, F>(
    gauge: &Gauge,
    bound: Bound,
    from: &Receiver<Parcel<T>>,
    to: &Sender<Parcel<U>>,
    stop: &Token,
    working: &Working,
    work: &F,
) where
    T: Send,
    U: Send,
    F: Fn(T) -> Result<U, Reason> + Sync,
{
    let helpers = Pool::new(bound.at_once.get() - 1, None);
    let threads = Threads::new().max_workers(bound.at_once).on(&helpers);
    let mut batch = Vec::new();
    while working.wait(from.recv_many_async(&mut batch, bound.waiting)).is_ok() {
        let lines = guard::OneByOne::new(std::mem::take(&mut batch));
        let done = threads.try_map(lines, |Parcel { origin, body }| {
            let value = match body {
                Ok(value) => value,
                Err(fault) => return Ok(passed_by(gauge, origin, fault)),
            };
            if stop.is_cancelled() {
                return Err(());
            }
            let busy = gauge.begin();
            let ended = guarded(|| work(value));
            busy.done();
            Ok(finished(gauge, origin, ended))
        });
        let Ok(done) = done else { return };
        let mut done = VecDeque::from(done);
        if pass_on(working, to, &mut done).is_err() {
            let _ = guard::each(done);
            return;
        }
    }
}

/// Sends all of `done`. While there is no room, nothing is in work.
fn pass_on<U>(
    working: &Working,
    to: &Sender<Parcel<U>>,
    done: &mut VecDeque<Parcel<U>>,
) -> Result<(), ()> {
    loop {
        to.try_send_many(done).map_err(drop)?;
        let Some(next) = done.pop_front() else { return Ok(()) };
        if let Err(SendError(next)) = working.wait(to.send_async(next)) {
            done.push_front(next);
            return Err(());
        }
    }
}
