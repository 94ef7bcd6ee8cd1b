//! std's channels over loom's lock and condition variable: loom has none that
//! are bounded, and its own does not end when all senders are gone.

use super::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

struct Channel<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    bound: Option<usize>,
    senders: usize,
    receiver: bool,
    /// The receiver waits.
    receiving: bool,
    sent: u64,
    taken: u64,
}

impl<T> State<T> {
    fn has_room(&self) -> bool {
        self.bound.is_none_or(|bound| self.queue.len() < bound.max(1))
    }
}

impl<T> Channel<T> {
    fn open(bound: Option<usize>) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            bound,
            senders: 1,
            receiver: true,
            receiving: false,
            sent: 0,
            taken: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("loom's locks are not poisoned")
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).expect("loom's locks are not poisoned")
    }

    fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.lock();
        while state.receiver && !state.has_room() {
            state = self.wait(state);
        }
        if !state.receiver {
            return Err(SendError(value));
        }
        state.queue.push_back(value);
        state.sent += 1;
        let ticket = state.sent;
        self.changed.notify_all();
        while state.bound == Some(0) && state.receiver && state.taken < ticket {
            state = self.wait(state);
        }
        if state.bound == Some(0) && state.taken < ticket {
            state.sent -= 1;
            if let Some(value) = state.queue.pop_back() {
                return Err(SendError(value));
            }
        }
        Ok(())
    }

    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.lock();
        if !state.receiver {
            return Err(TrySendError::Disconnected(value));
        }
        let taker = state.bound != Some(0) || (state.receiving && state.queue.is_empty());
        if !(taker && state.has_room()) {
            return Err(TrySendError::Full(value));
        }
        state.queue.push_back(value);
        state.sent += 1;
        self.changed.notify_all();
        Ok(())
    }

    fn take(&self, state: &mut State<T>) -> Result<T, TryRecvError> {
        match state.queue.pop_front() {
            Some(value) => {
                state.taken += 1;
                self.changed.notify_all();
                Ok(value)
            }
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.lock();
        loop {
            match self.take(&mut state) {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Err(TryRecvError::Empty) => {
                    state.receiving = true;
                    state = self.wait(state);
                    state.receiving = false;
                }
            }
        }
    }

    fn add_sender(&self) {
        self.lock().senders += 1;
    }

    fn drop_sender(&self) {
        self.lock().senders -= 1;
        self.changed.notify_all();
    }
}

/// As [`std::sync::mpsc::channel`].
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Channel::open(None);
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

/// As [`std::sync::mpsc::sync_channel`].
#[must_use]
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let channel = Channel::open(Some(bound));
    (SyncSender(Arc::clone(&channel)), Receiver(channel))
}

/// As [`std::sync::mpsc::Sender`].
pub struct Sender<T>(Arc<Channel<T>>);

/// As [`std::sync::mpsc::SyncSender`].
pub struct SyncSender<T>(Arc<Channel<T>>);

/// As [`std::sync::mpsc::Receiver`].
pub struct Receiver<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// The value, if there is no receiver.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value)
    }
}

impl<T> SyncSender<T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// The value, if there is no receiver.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value)
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// The value, if there is no receiver, or no room.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(value)
    }
}

impl<T> Receiver<T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// If there is nothing, and no sender.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If there is nothing.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.take(&mut self.0.lock())
    }

    /// Receives: loom's time stands still, and the time is never up.
    ///
    /// # Errors
    ///
    /// If there is nothing, and no sender.
    pub fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        self.recv().map_err(|RecvError| RecvTimeoutError::Disconnected)
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

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

macro_rules! senders {
    ($($sender:ident)*) => {$(
        impl<T> Clone for $sender<T> {
            fn clone(&self) -> Self {
                self.0.add_sender();
                Self(Arc::clone(&self.0))
            }
        }

        impl<T> Drop for $sender<T> {
            fn drop(&mut self) {
                // A failed model unwinds: loom's lock would panic once more.
                if !std::thread::panicking() {
                    self.0.drop_sender();
                }
            }
        }

        impl<T> fmt::Debug for $sender<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($sender)).finish_non_exhaustive()
            }
        }
    )*};
}

senders!(Sender SyncSender);

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut state = self.0.lock();
        state.receiver = false;
        // What is handed over stays: its sender takes it back.
        let stays = state.bound == Some(0);
        let left = if stays { VecDeque::new() } else { std::mem::take(&mut state.queue) };
        self.0.changed.notify_all();
        drop(state);
        drop(left);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
