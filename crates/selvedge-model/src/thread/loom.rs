//! loom's threads, under std's names.

use crate::loom_engine::{Id, Op, call, quiet, root, starts};
use crate::sync::arc::Token;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

mod scope;

pub use ::loom::thread::ThreadId;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use std::thread::{Result, panicking};

::loom::thread_local! {
    static TOKEN: RefCell<Option<Arc<Token>>> = RefCell::new(None);
}

/// The token of the calling thread.
fn token() -> Arc<Token> {
    TOKEN.with(|token| Arc::clone(token.borrow_mut().get_or_insert_default()))
}

/// As [`std::thread::Thread`].
#[derive(Clone)]
pub struct Thread {
    token: Arc<Token>,
    own: ::loom::thread::Thread,
}

impl Thread {
    /// As in std.
    #[track_caller]
    pub fn unpark(&self) {
        self.token.give();
    }

    /// As in std.
    #[must_use]
    pub fn id(&self) -> ThreadId {
        self.own.id()
    }

    /// As in std.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.own.name()
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

/// As [`std::thread::current`].
#[must_use]
pub fn current() -> Thread {
    call(|| Thread { token: token(), own: ::loom::thread::current() })
}

/// As [`std::thread::park`]: it may wake for no reason.
#[track_caller]
pub fn park() {
    current().token.take();
}

/// Parks: loom's time stands still, and the time is never up.
#[track_caller]
pub fn park_timeout(_: Duration) {
    park();
}

/// As [`std::thread::yield_now`].
#[track_caller]
pub fn yield_now() {
    quiet(Op::new("yield_now", Id::NONE, Location::caller()), ::loom::thread::yield_now);
}

/// Lets others run: loom's time stands still.
#[track_caller]
pub fn sleep(_: Duration) {
    yield_now();
}

/// As [`std::thread::Builder`].
#[derive(Debug, Default)]
pub struct Builder {
    name: Option<String>,
}

impl Builder {
    /// As in std.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As in std.
    #[must_use]
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Loom's stacks are as large as they are.
    #[must_use]
    pub fn stack_size(self, _: usize) -> Self {
        self
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// Never.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let name = self.name.clone();
        let mut builder = ::loom::thread::Builder::new();
        if let Some(name) = self.name {
            builder = builder.name(name);
        }
        let what = Op::new("spawn", Id::NONE, Location::caller());
        let token = Arc::new(Token::default());
        let own = Arc::clone(&token);
        let body = move || {
            starts(name);
            TOKEN.with(|token| *token.borrow_mut() = Some(own));
            root(f)
        };
        let handle = quiet(what, || builder.spawn(body))?;
        let thread = Thread { token, own: handle.thread().clone() };
        Ok(JoinHandle { handle, thread })
    }
}

/// As [`std::thread::spawn`].
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).expect("loom starts threads")
}

/// As [`std::thread::JoinHandle`].
pub struct JoinHandle<T> {
    handle: ::loom::thread::JoinHandle<T>,
    thread: Thread,
}

impl<T> JoinHandle<T> {
    /// As in std; a thread that panics ends the model.
    ///
    /// # Errors
    ///
    /// Never.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        quiet(Op::new("join", Id::NONE, Location::caller()), || self.handle.join())
    }

    /// As in std.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinHandle { .. }")
    }
}
