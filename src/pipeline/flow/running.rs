//! What travels through a flow, and what its parts share while it runs.

use super::super::Reason;
use super::super::report::Location;
use crate::cancel::Token;
use crate::guard::guarded;
use crate::outcome::Panic;
use crate::queue::Closed;
use crate::rt::Working;
use crate::scope::Scope;
use crate::semaphore::Semaphore;
use crate::swap::Arc;
use crate::swap::unmodelled::Mutex;
use crate::timeout::Elapsed;
use std::ops::{Deref, DerefMut};
use std::sync::Arc as Shared;

/// Why the fold did not come to the end of the source.
pub(super) enum Early {
    /// It failed, or what it takes from is gone.
    Unfinished,
    Elapsed(Elapsed),
}

/// What a stage needs in order to start. It lives as long as the fold does;
/// then threads that wait somewhere are told that it is over.
pub(super) struct Running {
    pub(super) scope: Scope<Early>,
    pub(super) window: Arc<Semaphore>,
    /// An input that cannot be read does not end the run.
    pub(super) keep_going: bool,
    on_end: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    threads: Threads,
    pub(super) panics: Panics,
}

/// What was told by the destructors of what the stages were given.
#[derive(Clone, Default)]
pub(super) struct Panics(Shared<Mutex<Option<Panic>>>);

impl Panics {
    pub(super) fn tell(&self, dropped: Result<(), Panic>) {
        if let Err(panic) = dropped {
            unpoisoned(&self.0).get_or_insert(panic);
        }
    }

    pub(super) fn first(self) -> Option<Panic> {
        unpoisoned(&self.0).take()
    }
}

/// What a stage was given. It may be dropped in a task or a thread of which
/// nobody hears any more, so a panic of its destructor is told elsewhere.
pub(super) struct Held<V> {
    /// There until it is dropped.
    value: Option<V>,
    panics: Panics,
}

impl<V> Held<V> {
    pub(super) fn panics(&self) -> &Panics {
        &self.panics
    }
}

impl<V> Deref for Held<V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value.as_ref().expect("not dropped")
    }
}

impl<V> DerefMut for Held<V> {
    fn deref_mut(&mut self) -> &mut V {
        self.value.as_mut().expect("not dropped")
    }
}

impl<V> Drop for Held<V> {
    fn drop(&mut self) {
        self.panics.tell(guarded(|| self.value = None));
    }
}

/// Who is waited for after the fold.
#[derive(Clone, Default)]
pub(super) struct Threads(Shared<Mutex<Vec<Token>>>);

impl Threads {
    /// Waits until each of them has ended.
    pub(super) async fn join(self) {
        let threads = std::mem::take(&mut *unpoisoned(&self.0));
        for ended in threads {
            ended.cancelled().await;
        }
    }
}

impl Running {
    pub(super) fn new(
        scope: Scope<Early>,
        window: usize,
        keep_going: bool,
        threads: Threads,
        panics: Panics,
    ) -> Self {
        let window = Arc::new(Semaphore::new(window));
        Self { scope, window, keep_going, on_end: Mutex::default(), threads, panics }
    }

    pub(super) fn hold<V>(&self, value: V) -> Held<V> {
        Held { value: Some(value), panics: self.panics.clone() }
    }

    /// Calls `call` when the fold is over.
    pub(super) fn on_end(&self, call: impl FnOnce() + Send + 'static) {
        unpoisoned(&self.on_end).push(Box::new(call));
    }

    /// For a thread of the run: it holds the clock while it works, and no longer
    /// than there is a fold.
    pub(super) fn working(&self) -> Working {
        let working = Working::begin();
        self.on_end(working.over());
        working
    }

    /// The run does not return before `ended` is cancelled.
    pub(super) fn wait_for(&self, ended: Token) {
        unpoisoned(&self.threads.0).push(ended);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.window.close();
        let calls = std::mem::take(&mut *unpoisoned(&self.on_end));
        for call in calls {
            call();
        }
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A line on its way.
pub(super) struct Parcel<T> {
    pub(super) origin: Origin,
    pub(super) body: Result<T, Fault>,
}

/// Where a line comes from.
pub(super) struct Origin {
    pub(super) number: u64,
    pub(super) at: Location,
    /// How many bytes of the input it stands for.
    pub(super) size: u64,
    /// The line itself, to be quoted.
    pub(super) line: Shared<str>,
}

/// What travels in place of a line.
pub(super) enum Fault {
    Rejected {
        reason: Reason,
        excerpt: String,
    },
    Panicked {
        stage: &'static str,
        panic: Panic,
    },
    /// The input cannot be read any further.
    Input(std::io::Error),
    /// The queue that the lines come from did not end well.
    Source(Closed),
    End,
}
