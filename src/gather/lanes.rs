//! The spawned form: lanes, each a task that runs one item after another.

use super::item::{ErrorOf, Item, OutcomeOf, ValueOf};
use super::kept::{Kept, Surplus};
use super::{Interrupted, Progress};
use crate::guard::{self, guarded};
use crate::outcome::{IntoOutcome, Outcome};
use crate::rt::{self, Abort, Handle};
use crate::scope::guests::{self, Guest, Guests, inside};
use crate::swap::{Arc, Mutex};
use crate::timeout::free;
use crate::wait::{Ticket, WaitList, Waiter};
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(super) type Hook = Arc<dyn Fn(Progress) + Send + Sync>;

/// What lanes and consumer share.
pub(super) struct Shared<S: Stream<Item: Future<Output: IntoOutcome>>> {
    state: Mutex<State<S>>,
    limit: usize,
    window: usize,
    each: Option<Duration>,
    hook: Option<Hook>,
    runtime: Handle,
    /// Of the scope that it was begun in.
    outer: Option<Arc<Guests>>,
}

struct State<S: Stream<Item: Future<Output: IntoOutcome>>> {
    /// `None` once it has ended, or will not be asked any more.
    source: Option<Pin<Box<S>>>,
    /// The source is to be dropped.
    spent: bool,
    /// A lane waits for the source; the others stand behind it.
    pulling: bool,
    idle: WaitList,
    /// Items pulled, finished, failed, and taken by the consumer.
    pulled: usize,
    done: usize,
    failed: usize,
    taken: usize,
    kept: KeptOf<S>,
    lanes: usize,
    aborts: Vec<Abort>,
    stopped: Option<Stop>,
    consumer: Option<Waker>,
    /// The scope waits for the lanes of a gather that was dropped.
    guest: Option<Guest>,
}

/// Why no more items are started.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// An item did. Its outcome is kept.
    Failed,
    Interrupted(Interrupted),
}

pub(super) type KeptOf<S> = Kept<ValueOf<<S as Stream>::Item>, ErrorOf<<S as Stream>::Item>>;

pub(super) struct Settings {
    pub(super) limit: usize,
    pub(super) window: usize,
    pub(super) each: Option<Duration>,
    pub(super) hook: Option<Hook>,
}

/// What the consumer finds.
pub(super) enum Found<T> {
    /// An outcome; and whether the gather was stopped.
    Item(T, bool),
    /// All lanes have ended; what is left is kept.
    Ended(Option<Stop>),
    /// Stopped, and lanes are still running.
    Stopping,
    Nothing,
}

impl<S> Shared<S>
where
    S: Stream<Item: Future<Output: IntoOutcome> + Send + 'static> + Send + 'static,
    ValueOf<S::Item>: Send + 'static,
    ErrorOf<S::Item>: Send + 'static,
{
    /// Starts the first lane; each lane that finds an item starts the next.
    pub(super) fn start(source: S, kept: KeptOf<S>, settings: Settings) -> Arc<Self> {
        let Settings { limit, window, each, hook } = settings;
        let state = State {
            source: Some(Box::pin(source)),
            spent: false,
            pulling: false,
            idle: WaitList::new(),
            pulled: 0,
            done: 0,
            failed: 0,
            taken: 0,
            kept,
            lanes: 1,
            aborts: Vec::new(),
            stopped: None,
            consumer: None,
            guest: None,
        };
        let shared = Arc::new(Self {
            state: Mutex::new(state),
            limit,
            window,
            each,
            hook,
            runtime: Handle::current(),
            outer: guests::current(),
        });
        shared.spawn_lane();
        shared
    }

    /// Spawns a lane that was counted already. Not under the lock: a runtime
    /// that shuts down drops it on the spot.
    fn spawn_lane(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let lane = Lane { shared, ticket: None, pulls: false, spawned: false };
        let lane = inside(self.outer.clone(), lane.run());
        let task = self.runtime.spawn(free(lane));
        let abort = task.abort_handle();
        drop(task);
        let mut state = self.state.lock();
        // Whoever stopped the lanes did not know of this one.
        let late = state.stopped.is_some();
        state.aborts.push(abort.clone());
        drop(state);
        if late {
            abort.abort();
        }
    }
}

/// Items after which a lane lets others run: a source may be endless and its
/// futures ready.
const TURNS: u32 = 128;

/// One lane's place. Its end, by whatever way, is accounted for.
struct Lane<S: Stream<Item: Future<Output: IntoOutcome>>> {
    shared: Arc<Shared<S>>,
    ticket: Option<Ticket>,
    /// It is the one that waits for the source.
    pulls: bool,
    /// It has just started the next lane.
    spawned: bool,
}

impl<S> Lane<S>
where
    S: Stream<Item: Future<Output: IntoOutcome> + Send + 'static> + Send + 'static,
    ValueOf<S::Item>: Send + 'static,
    ErrorOf<S::Item>: Send + 'static,
{
    async fn run(mut self) {
        let mut finished = None;
        let mut item = pin!(Item::empty());
        let mut turns = 0_u32;
        while let Some((index, future)) = self.next(&mut finished).await {
            item.as_mut().put(future, self.shared.each);
            let mut flight = Flight { index, item: item.as_mut(), shared: &self.shared };
            if std::mem::take(&mut self.spawned) {
                // tokio keeps a task that was spawned last for the thread
                // that spawned it, and nobody can steal it: were this item to
                // block its thread, the next lane would never start.
                rt::yield_now().await;
            }
            let outcome = poll_fn(|context| flight.item.as_mut().poll(context)).await;
            drop(flight);
            finished = Some((index, outcome));
            turns += 1;
            if turns.is_multiple_of(TURNS) {
                rt::yield_now().await;
            }
        }
    }

    /// Hands in what is finished, and pulls the next item, in one step.
    async fn next(
        &mut self,
        finished: &mut Option<(usize, OutcomeOf<S::Item>)>,
    ) -> Option<(usize, S::Item)> {
        poll_fn(|context| self.poll_next(context, finished)).await
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        finished: &mut Option<(usize, OutcomeOf<S::Item>)>,
    ) -> Poll<Option<(usize, S::Item)>> {
        let Self { shared, ticket, pulls, spawned } = self;
        let mut state = shared.state.lock();
        let mut handed = Handed::default();
        let mut progress = None;
        if let Some(finished) = finished.take() {
            handed = state.hand_in(finished);
            progress = shared.hook.as_ref().map(|hook| (hook, state.progress()));
        }
        // A place in the line that was called is used up by looking again.
        if let Some(ticket) = ticket.take() {
            drop(state.idle.take(ticket));
        }
        let polled = pull(shared, &mut state, ticket, pulls, context);
        // Dropped unlocked.
        let spent = if state.spent { state.source.take() } else { None };
        let mut spawn = false;
        let mut called = None;
        if let Poll::Ready(next) = &polled {
            *pulls = false;
            if next.is_some() {
                spawn = state.lanes < shared.limit
                    && state.source.is_some()
                    && state.pulled - state.taken < shared.window;
                state.lanes += usize::from(spawn);
                called = if spawn { None } else { state.idle.pop() };
            } else {
                // Nothing to wait for any more.
                let line = state.idle.pop_all();
                drop(state);
                line.into_iter().for_each(Waiter::wake);
                handed.done();
                shared.drop_source(spent);
                shared.report(progress);
                return Poll::Ready(None);
            }
        }
        drop(state);
        called.into_iter().for_each(Waiter::wake);
        handed.done();
        if spawn {
            *spawned = true;
            shared.spawn_lane();
        }
        shared.report(progress);
        polled
    }
}

/// The permit is the lane itself: the source is asked only now.
fn pull<S: Stream<Item: Future<Output: IntoOutcome>>>(
    shared: &Shared<S>,
    state: &mut State<S>,
    ticket: &mut Option<Ticket>,
    pulls: &mut bool,
    context: &mut Context<'_>,
) -> Poll<Option<(usize, S::Item)>> {
    if state.stopped.is_some() {
        return Poll::Ready(None);
    }
    let Some(source) = &mut state.source else { return Poll::Ready(None) };
    let full = state.pulled - state.taken >= shared.window;
    if full || (state.pulling && !*pulls) {
        *ticket = Some(state.idle.push(Waiter::task(context.waker())));
        return Poll::Pending;
    }
    let polled = guarded(|| source.as_mut().poll_next(context));
    state.pulling = matches!(polled, Ok(Poll::Pending));
    *pulls = state.pulling;
    match polled {
        Ok(Poll::Pending) => return Poll::Pending,
        Ok(Poll::Ready(Some(future))) => {
            let index = state.pulled;
            state.pulled += 1;
            return Poll::Ready(Some((index, future)));
        }
        Ok(Poll::Ready(None)) => {}
        Err(panic) => state.stop(Stop::Interrupted(Interrupted::Panicked(panic))),
    }
    state.spent = true;
    Poll::Ready(None)
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Drop for Lane<S> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.lanes -= 1;
        let waiter = self.ticket.take().map(|ticket| state.idle.take(ticket));
        // It was the one that waits for the source, or had been called.
        let mut called = None;
        if self.pulls || matches!(waiter, Some(None)) {
            state.pulling &= !self.pulls;
            called = state.idle.pop();
        }
        let over = state.lanes == 0 || state.stopped.is_some();
        let consumer = if over { state.consumer.take() } else { None };
        drop(state);
        called.into_iter().for_each(Waiter::wake);
        consumer.into_iter().for_each(guard::wake);
        drop(waiter);
    }
}

/// An item in a lane. One that is dropped there has no outcome, unless its
/// destructor panics.
struct Flight<'l, S: Stream<Item: Future<Output: IntoOutcome>>> {
    index: usize,
    item: Pin<&'l mut Item<S::Item>>,
    shared: &'l Shared<S>,
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Drop for Flight<'_, S> {
    fn drop(&mut self) {
        if let Err(panic) = self.item.as_mut().clear() {
            let ended = (self.index, Outcome::Panicked(panic));
            let handed = self.shared.state.lock().hand_in(ended);
            handed.done();
        }
    }
}

/// What handing in an outcome leaves to be done without the lock.
struct Handed<E> {
    consumer: Option<Waker>,
    surplus: Surplus<E>,
}

impl<E> Default for Handed<E> {
    fn default() -> Self {
        Self { consumer: None, surplus: None }
    }
}

impl<E> Handed<E> {
    fn done(self) {
        self.consumer.into_iter().for_each(guard::wake);
        let _ = guard::dropped(self.surplus);
    }
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> State<S> {
    fn progress(&self) -> Progress {
        Progress {
            started: self.pulled,
            done: self.done,
            failed: self.failed,
            source_ended: self.source.is_none(),
        }
    }

    /// The first reason stays.
    fn stop(&mut self, stop: Stop) {
        self.stopped.get_or_insert(stop);
    }

    /// Puts an outcome where the consumer finds it, who may have to be woken.
    fn hand_in(
        &mut self,
        (index, outcome): (usize, OutcomeOf<S::Item>),
    ) -> Handed<ErrorOf<S::Item>> {
        let failed = !outcome.is_ok();
        self.done += 1;
        self.failed += usize::from(failed);
        if failed && self.kept.ends_at_a_failure() {
            self.stop(Stop::Failed);
        }
        let (wanted, surplus) = self.kept.put(index, outcome);
        let wake = wanted || self.stopped.is_some();
        Handed { consumer: if wake { self.consumer.take() } else { None }, surplus }
    }
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Shared<S> {
    /// Tells the hook; a panic of its own stops the gather.
    fn report(&self, progress: Option<(&Hook, Progress)>) {
        let Some((hook, progress)) = progress else { return };
        if let Err(panic) = guarded(|| hook(progress)) {
            self.stop(Stop::Interrupted(Interrupted::Panicked(panic)));
        }
    }

    /// A panic in that is one of the source's.
    fn drop_source(&self, source: Option<Pin<Box<S>>>) {
        if let Err(panic) = guard::dropped(source) {
            self.stop(Stop::Interrupted(Interrupted::Panicked(panic)));
        }
    }

    /// Lets no lane pull any more. They go on with what they have.
    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.state.lock();
        state.stop(stop);
        let consumer = state.consumer.take();
        drop(state);
        consumer.into_iter().for_each(guard::wake);
    }

    /// Lets the scope that it was begun in wait for the lanes: nobody else
    /// does any more.
    pub(super) fn leave_to_the_scope(&self) {
        let guest = self.outer.as_ref().map(Guests::enter);
        // The last lane takes it along.
        self.state.lock().guest = guest;
    }

    /// Drops whatever the lanes run, at its next await.
    pub(super) fn abort(&self) {
        let aborts = std::mem::take(&mut self.state.lock().aborts);
        aborts.iter().for_each(Abort::abort);
    }

    /// The next outcome, if the consumer takes them one by one; else how far
    /// the lanes are.
    pub(super) fn poll(
        &self,
        context: &mut Context<'_>,
        streaming: bool,
    ) -> Found<(usize, OutcomeOf<S::Item>)> {
        // Cloned, and dropped, unlocked: that is foreign code.
        let waker = context.waker().clone();
        let mut state = self.state.lock();
        let stopping = state.stopped.is_some();
        let item = match (streaming, stopping && state.lanes == 0) {
            (false, _) => None,
            (true, false) => state.kept.next(),
            // Invariant 6.
            (true, true) => state.kept.next_left(),
        };
        if let Some(item) = item {
            state.taken += 1;
            let called = state.idle.pop();
            // Fewer lanes than the limit may have been started: there was no
            // room in the window for more.
            drop(state);
            called.into_iter().for_each(Waiter::wake);
            return Found::Item(item, stopping);
        }
        if state.lanes == 0 {
            // Lanes end when the source has, or when told to stop. Else the
            // runtime dropped them.
            if state.source.is_some() || state.done < state.pulled {
                state.stop(Stop::Interrupted(Interrupted::Shutdown));
            }
            return Found::Ended(state.stopped.clone());
        }
        let before = state.consumer.replace(waker);
        drop(state);
        let _ = guard::dropped(before);
        if stopping { Found::Stopping } else { Found::Nothing }
    }

    /// What is kept, once the lanes have ended.
    pub(super) fn take(&self) -> KeptOf<S> {
        let mut state = self.state.lock();
        // Dropped here, not in the lane that lets go last.
        let source = state.source.take();
        let kept = std::mem::replace(&mut state.kept, Kept::for_stream(false));
        drop(state);
        // Why it was not pulled to its end is known.
        let _ = guard::dropped(source);
        kept
    }
}

/// Whoever is last has something else to say.
impl<S: Stream<Item: Future<Output: IntoOutcome>>> Drop for Shared<S> {
    fn drop(&mut self) {
        let _ = guard::dropped(self.hook.take());
    }
}

/// What nobody asked for any more.
impl<S: Stream<Item: Future<Output: IntoOutcome>>> Drop for State<S> {
    fn drop(&mut self) {
        let _ = guard::dropped(self.source.take());
        self.kept.discard();
        if let Kept::Values(_, failed) = &mut self.kept {
            let _ = guard::dropped(failed.take());
        }
    }
}
