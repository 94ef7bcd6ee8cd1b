//! Channels: one queue, whose waiting is the model's inside of one.

use crate::engine::object::Data;
use crate::engine::{self, EXPIRED, Id, Place, Wait};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

struct Channel<T> {
    id: Id,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    bound: Option<usize>,
    senders: usize,
    receiver: bool,
    sent: u64,
    taken: u64,
    receiving: bool,
}

impl<T> State<T> {
    fn has_room(&self) -> bool {
        !self.receiver || self.bound.is_none_or(|bound| self.queue.len() < bound.max(1))
    }
}

impl<T> Channel<T> {
    #[track_caller]
    fn open(bound: Option<usize>) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            bound,
            senders: 1,
            receiver: true,
            sent: 0,
            taken: 0,
            receiving: false,
        };
        Arc::new(Self { id: Id::new(), state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn shadow(&self) -> usize {
        self.id.index("channel", || {
            let state = self.lock();
            Data::Queue {
                length: state.queue.len(),
                room: state.bound.map(|bound| bound.max(1)),
                senders: state.senders,
                receiver: state.receiver,
                taken: state.taken,
            }
        })
    }

    /// Changes the queue, and tells whoever waits: in either world.
    fn change<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        let shadow = engine::inside().then(|| self.shadow());
        let mut state = self.lock();
        let result = f(&mut state);
        if let Some(index) = shadow {
            engine::object(index, |data| {
                if let Data::Queue { length, senders, receiver, taken, .. } = data {
                    *length = state.queue.len();
                    *senders = state.senders;
                    *receiver = state.receiver;
                    *taken = state.taken;
                }
            });
        }
        drop(state);
        self.changed.notify_all();
        result
    }

    fn send(&self, value: T, at: Place) -> Result<(), SendError<T>> {
        let inside = engine::inside();
        if inside {
            let queue = self.shadow();
            engine::step("send", Some(queue), Wait::Room(queue), None, at);
        } else {
            let mut state = self.lock();
            while !state.has_room() {
                state = self.wait(state);
            }
        }
        let mut value = Some(value);
        let put = self.change(|state| {
            // Outside, another sender may have come first: it waits its turn
            // below with the others, one over the bound for a moment.
            if !state.receiver {
                return None;
            }
            state.queue.extend(value.take());
            state.sent += 1;
            Some((state.sent, state.bound == Some(0)))
        });
        let Some((ticket, hand_over)) = put else {
            let gone = value.expect("it was not put");
            self.tell(at, "send(): no receiver");
            return Err(SendError(gone));
        };
        self.tell(at, "send()");
        if !hand_over {
            return Ok(());
        }
        if inside {
            let queue = self.shadow();
            let wait = Wait::Taken { queue, count: ticket };
            engine::step("send", Some(queue), wait, None, at);
        } else {
            let mut state = self.lock();
            while state.receiver && state.taken < ticket {
                state = self.wait(state);
            }
        }
        let back = self.change(|state| {
            (state.taken < ticket).then(|| {
                state.sent -= 1;
                state.queue.pop_back()
            })
        });
        back.flatten().map_or(Ok(()), |value| Err(SendError(value)))
    }

    fn try_send(&self, value: T, at: Place) -> Result<(), TrySendError<T>> {
        let mut waits = false;
        if engine::inside() {
            let queue = self.shadow();
            engine::touch("try_send", queue, at);
            // What others wait for is looked at only where it matters.
            waits = self.lock().bound == Some(0) && engine::receives(queue);
        }
        let result = self.change(|state| {
            if !state.receiver {
                return Err(TrySendError::Disconnected(value));
            }
            let room = match state.bound {
                Some(0) => (waits || state.receiving) && state.queue.is_empty(),
                _ => state.has_room(),
            };
            if !room {
                return Err(TrySendError::Full(value));
            }
            state.queue.push_back(value);
            state.sent += 1;
            Ok(())
        });
        self.tell(
            at,
            match &result {
                Ok(()) => "try_send() -> sent",
                Err(TrySendError::Full(_)) => "try_send() -> full",
                Err(TrySendError::Disconnected(_)) => "try_send() -> disconnected",
            },
        );
        result
    }

    /// What there is now.
    fn take(&self) -> Result<T, TryRecvError> {
        self.change(|state| match state.queue.pop_front() {
            Some(value) => {
                state.taken += 1;
                Ok(value)
            }
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        })
    }

    fn recv(
        &self,
        op: &'static str,
        lasts: Option<Duration>,
        at: Place,
    ) -> Result<T, RecvTimeoutError> {
        if engine::inside() {
            let queue = self.shadow();
            let deadline = lasts.and_then(engine::ends);
            if engine::step(op, Some(queue), Wait::Item(queue), deadline, at) == EXPIRED {
                self.tell(at, "recv_timeout() -> timed out");
                return Err(RecvTimeoutError::Timeout);
            }
        } else {
            let until = lasts.and_then(|lasts| Instant::now().checked_add(lasts));
            let mut state = self.lock();
            state.receiving = true;
            while state.queue.is_empty() && state.senders > 0 {
                let Some(until) = until else {
                    self.changed.notify_all();
                    state = self.wait(state);
                    continue;
                };
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    state.receiving = false;
                    return Err(RecvTimeoutError::Timeout);
                }
                engine::clocked();
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.receiving = false;
        }
        let result = self.take().map_err(|_| RecvTimeoutError::Disconnected);
        self.tell(at, if result.is_ok() { "recv()" } else { "recv() -> disconnected" });
        result
    }

    fn tell(&self, at: Place, text: &'static str) {
        if engine::inside() {
            engine::done(at, self.id.known(), || text.to_owned());
        }
    }

    /// An end comes or goes.
    fn end(&self, at: Place, op: &'static str, f: impl FnOnce(&mut State<T>)) {
        if engine::inside() {
            let queue = self.shadow();
            if !op.is_empty() {
                engine::touch(op, queue, at);
                self.tell(at, op);
            }
        }
        self.change(f);
    }
}

/// As [`std::sync::mpsc::channel`].
#[track_caller]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Channel::open(None);
    let made = Location::caller();
    (Sender(Arc::clone(&channel), made), Receiver(channel, made))
}

/// As [`std::sync::mpsc::sync_channel`].
#[track_caller]
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let channel = Channel::open(Some(bound));
    let made = Location::caller();
    (SyncSender(Arc::clone(&channel), made), Receiver(channel, made))
}

/// As [`std::sync::mpsc::Sender`].
pub struct Sender<T>(Arc<Channel<T>>, Place);

/// As [`std::sync::mpsc::SyncSender`].
pub struct SyncSender<T>(Arc<Channel<T>>, Place);

/// As [`std::sync::mpsc::Receiver`].
pub struct Receiver<T>(Arc<Channel<T>>, Place);

macro_rules! sender {
    ($name:ident) => {
        impl<T> $name<T> {
            /// As in std.
            ///
            /// # Errors
            ///
            /// The value, if there is no receiver.
            #[track_caller]
            pub fn send(&self, value: T) -> Result<(), SendError<T>> {
                self.0.send(value, Location::caller())
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                self.0.end(self.1, "", |state| state.senders += 1);
                Self(Arc::clone(&self.0), self.1)
            }
        }

        impl<T> Drop for $name<T> {
            fn drop(&mut self) {
                self.0.end(self.1, "drop of a sender", |state| state.senders -= 1);
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

sender!(Sender);
sender!(SyncSender);

impl<T> SyncSender<T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// The value, if there is no room or no receiver.
    #[track_caller]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(value, Location::caller())
    }
}

impl<T> Receiver<T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// If there is nothing, and no sender.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv("recv", None, Location::caller()).map_err(|_| RecvError)
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If there is nothing.
    #[track_caller]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let at = Location::caller();
        if engine::inside() {
            let queue = self.0.shadow();
            engine::touch("try_recv", queue, at);
        }
        let result = self.0.take();
        self.0.tell(at, if result.is_ok() { "try_recv() -> item" } else { "try_recv() -> none" });
        result
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If there is nothing when the time is up, or no sender.
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv("recv_timeout", Some(timeout), Location::caller())
    }

    /// As in std.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// As in std.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut left = VecDeque::new();
        self.0.end(self.1, "drop of the receiver", |state| {
            state.receiver = false;
            // What is handed over stays: its sender takes it back.
            if state.bound != Some(0) {
                left = std::mem::take(&mut state.queue);
            }
        });
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// As [`std::sync::mpsc::Iter`].
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

/// As [`std::sync::mpsc::TryIter`].
#[derive(Debug)]
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// As [`std::sync::mpsc::IntoIter`].
#[derive(Debug)]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
