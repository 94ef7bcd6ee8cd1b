//! Cancellation: a token that asks work to stop, with a cause.
//!
//! A [`Token`] is cancelled once and stays so, with the cause that the first
//! request gave. Its children are cancelled with it, in one step: no observer sees
//! a token cancelled and one below it not.
//!
//! ```
//! use selvedge::cancel::Token;
//!
//! # #[tokio::main] async fn main() {
//! let server = Token::new();
//! let connection = server.child();
//! let serving = tokio::spawn({
//!     let connection = connection.clone();
//!     async move { connection.run_until_cancelled(std::future::pending::<()>()).await }
//! });
//! server.cancel_because("shutting down");
//! assert_eq!(serving.await.unwrap().unwrap_err().cause(), Some("shutting down"));
//! assert!(connection.is_cancelled());
//! # }
//! ```
//!
//! # Which form
//!
//! | the work is | it listens by |
//! |---|---|
//! | a future that may be dropped | [`Token::run_until_cancelled`] |
//! | a future that has something to finish | [`Token::cancelled`] in a `select!` |
//! | a loop, in a task or on a thread | [`Token::check`] and `?` |
//! | a thread that waits | [`Token::wait_blocking`] |
//!
//! [`Token::drop_guard`] cancels when a function returns or panics. A token asks
//! and waits for no one: to have tasks stopped and joined, give it to a
//! [scope](crate::scope).
//!
//! # Cost
//!
//! [`Token::is_cancelled`] is one atomic load on a live token, two on a cancelled
//! one. Everything else takes the lock of the tree: `cancel` for a time linear in
//! the live tokens below, dropping a token for a time linear in its children, the
//! rest for a constant time. Wakers run after the lock is released.
//!
//! # Cancel safety
//!
//! [`Token::cancelled`] may be dropped at any time; it consumes nothing.
//!
//! ---
//!
//! # Algorithm
//!
//! The tree lives under one mutex; each node also has a mark that is read
//! without it. Cancelling is an operation with a number: under the lock every
//! live node of the subtree is marked with the number, then the number is
//! *committed* by one store to an atomic shared by the whole tree. A node is
//! cancelled if its mark is set and committed. (The two phases are those of a
//! multi-word compare-and-swap, Harris, Fraser and Pratt 2002, with the lock
//! in place of helping.)
//!
//! # States of a node
//!
//! | mark | committed | it is |
//! |---|---|---|
//! | 0 | any | live |
//! | k | < k | live; operation k is in flight |
//! | k | >= k | cancelled for good |
//!
//! # Invariants
//!
//! 1. *Downwards*: whenever the lock is free, everything below a cancelled
//!    node is cancelled, with marks that are committed. A child made of a
//!    cancelled token is born with its mark.
//! 2. *In one step*: the marks of an operation are all set before it commits.
//! 3. *No waiter is left on a cancelled token*: waiters join under the lock if the
//!    node is live, and the operation that cancels it takes them all.
//! 4. *The first cause stays*: a marked node is not marked again.
//!
//! # Linearization points
//!
//! `cancel`: the store that commits. `is_cancelled`: the load of the mark if
//! it is 0, else the load of the committed number.
//!
//! # Progress
//!
//! `is_cancelled` is wait-free. Everything else blocks on the lock of the tree.
//!
//! # Model bounds
//!
//! Trees of up to three nodes and four threads; see
//! `loom-tests/models/cancel.rs` for what each model leaves out.

use crate::outcome::Cancelled;
use crate::rt::Turn;
use crate::swap::atomic::{AtomicU64, Ordering};
use crate::swap::thread;
use crate::swap::{Arc, Mutex, Parked};
use crate::wait::{Ticket, WaitList, Waiter};
use slab::Slab;
use std::borrow::Borrow;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

/// A request to stop that can be made, looked at and waited for. Clones are
/// the same token; [`child`](Self::child) makes one below it.
///
/// Dropping tokens cancels nothing (see [`drop_guard`](Self::drop_guard)).
/// The children of a token that is gone hang on its parent.
///
/// # Examples
///
/// ```
/// use selvedge::cancel::Token;
///
/// let parent = Token::new();
/// let child = parent.child();
/// assert!(!child.is_cancelled());
/// parent.cancel_because("shutting down");
/// assert_eq!(child.cause().unwrap().cause(), Some("shutting down"));
/// ```
#[derive(Clone)]
pub struct Token {
    node: Arc<Node>,
}

struct Node {
    tree: Arc<Tree>,
    key: usize,
    mark: Arc<AtomicU64>,
}

struct Tree {
    committed: AtomicU64,
    nodes: Mutex<Slab<Entry>>,
}

/// What the tree knows of a node. Children form a doubly linked list.
struct Entry {
    mark: Arc<AtomicU64>,
    cause: Option<Cancelled>,
    waiting: WaitList,
    parent: Option<usize>,
    first_child: Option<usize>,
    before: Option<usize>,
    after: Option<usize>,
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

impl Token {
    /// A token with nothing above it.
    #[must_use]
    pub fn new() -> Self {
        let tree = Arc::new(Tree { committed: AtomicU64::new(0), nodes: Mutex::new(Slab::new()) });
        let mut nodes = tree.nodes.lock();
        let (key, mark) = add(&mut nodes, None);
        drop(nodes);
        Self { node: Arc::new(Node { tree, key, mark }) }
    }

    /// A token that is cancelled with this one, and can be cancelled without.
    /// A child of a cancelled token is cancelled from the start.
    #[must_use]
    pub fn child(&self) -> Self {
        let tree = Arc::clone(&self.node.tree);
        let (key, mark) = add(&mut tree.nodes.lock(), Some(self.node.key));
        Self { node: Arc::new(Node { tree, key, mark }) }
    }

    /// Asks this token and everything below it to stop. `false` if it had
    /// been cancelled before.
    pub fn cancel(&self) -> bool {
        self.cancel_with(&Cancelled::default())
    }

    /// [`cancel`](Self::cancel), with a cause that travels to whoever stops.
    /// The first one stays.
    pub fn cancel_because(&self, cause: &str) -> bool {
        self.cancel_with(&Cancelled::because(cause))
    }

    /// [`cancel`](Self::cancel), passing on a cancellation that came from
    /// elsewhere.
    pub fn cancel_with(&self, cause: &Cancelled) -> bool {
        let waiting = {
            let tree = &*self.node.tree;
            let mut nodes = tree.nodes.lock();
            if self.is_cancelled() {
                return false;
            }
            // Under the lock nobody else commits: this is the next number.
            let operation = tree.committed.load(Ordering::Relaxed) + 1;
            let mut waiting = Vec::new();
            let mut open = vec![self.node.key];
            while let Some(key) = open.pop() {
                let entry = &mut nodes[key];
                // What is below a cancelled node is cancelled (invariant 1).
                if entry.cause.is_none() {
                    entry.cause = Some(cause.clone());
                    entry.mark.store(operation, Ordering::Relaxed);
                    waiting.append(&mut entry.waiting.pop_all());
                    let first = entry.first_child;
                    open.extend(std::iter::successors(first, |child| nodes[*child].after));
                }
            }
            // ORDERING: Release, with the Acquire in `is_cancelled`: who sees
            // the number sees every mark above (invariant 2).
            tree.committed.store(operation, Ordering::Release);
            waiting
        };
        waiting.into_iter().for_each(Waiter::wake);
        true
    }

    /// Whether it was asked to stop. Takes no lock; whoever sees `true` sees
    /// as well what was written before the `cancel`.
    #[must_use]
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: the mark may be Relaxed: if it is read too early the
        // token was live then. That a token below one seen cancelled is seen
        // cancelled too is the Acquire's doing: it pairs with the Release in
        // `cancel_with`, before which the marks were set.
        let mark = self.node.mark.load(Ordering::Relaxed);
        mark != 0 && self.node.tree.committed.load(Ordering::Acquire) >= mark
    }

    /// The cause, once it is cancelled. Takes the tree's lock.
    #[must_use]
    pub fn cause(&self) -> Option<Cancelled> {
        self.node.tree.nodes.lock()[self.node.key].cause.clone()
    }

    /// `Err` once it is cancelled: `token.check()?` between two steps.
    ///
    /// # Errors
    ///
    /// The cancellation, with its cause.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(self.cause().unwrap_or_default()) } else { Ok(()) }
    }

    /// Waits until it is cancelled.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub fn cancelled(&self) -> Cancellation<&Self> {
        Cancellation { token: self, ticket: None, turn: Turn::new() }
    }

    /// [`cancelled`](Self::cancelled), to move into a task.
    pub fn cancelled_owned(self) -> Cancellation<Self> {
        Cancellation { token: self, ticket: None, turn: Turn::new() }
    }

    /// Blocks the calling thread until it is cancelled, or until `deadline`:
    /// a sleep that a cancel cuts short.
    #[must_use]
    pub fn wait_blocking(&self, deadline: Option<Instant>) -> Option<Cancelled> {
        let ticket = {
            let mut nodes = self.node.tree.nodes.lock();
            let entry = &mut nodes[self.node.key];
            if entry.cause.is_some() {
                return entry.cause.clone();
            }
            entry.waiting.push(Waiter::this_thread())
        };
        loop {
            let parked = thread::park_until(deadline);
            let mut nodes = self.node.tree.nodes.lock();
            let entry = &mut nodes[self.node.key];
            if entry.cause.is_some() {
                return entry.cause.clone();
            }
            if parked == Parked::TimedOut {
                let left = entry.waiting.remove(ticket);
                debug_assert!(left, "a live node keeps its waiters (invariant 3)");
                return None;
            }
        }
    }

    /// Runs `future` until it ends or this is cancelled, whichever is first;
    /// a future that is cancelled is dropped before this returns.
    ///
    /// The tie rule: the token is looked at *before* each poll, so a cancel
    /// that came before a poll wins over the value which that poll would have
    /// returned, and a future that is always ready is stopped too. A value
    /// returned by a poll that had begun wins over a cancel during that poll.
    /// A future that never returns from its poll cannot be stopped.
    ///
    /// # Errors
    ///
    /// The cancellation, with its cause.
    ///
    /// # Cancel safety
    ///
    /// That of `future`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let token = selvedge::cancel::Token::new();
    /// assert_eq!(token.run_until_cancelled(async { 1 }).await, Ok(1));
    /// token.cancel();
    /// assert!(token.run_until_cancelled(async { 1 }).await.is_err());
    /// # });
    /// ```
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Result<F::Output, Cancelled> {
        let mut future = pin!(future);
        let mut cancelled = self.cancelled();
        poll_fn(|context| {
            self.check()?;
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            cancelled.poll_now(context).map(Err)
        })
        .await
    }

    /// A guard that cancels the token when it is dropped, by return, error or
    /// panic.
    pub fn drop_guard(self) -> DropGuard {
        DropGuard { token: Some(self) }
    }
}

/// Adds a node below `parent`; cancelled if that is (invariant 1).
fn add(nodes: &mut Slab<Entry>, parent: Option<usize>) -> (usize, Arc<AtomicU64>) {
    let above = parent.map(|key| &nodes[key]);
    // Marks are written under the lock, which is held.
    let mark = above.map_or(0, |entry| entry.mark.load(Ordering::Relaxed));
    let mark = Arc::new(AtomicU64::new(mark));
    let entry = Entry {
        mark: Arc::clone(&mark),
        cause: above.and_then(|entry| entry.cause.clone()),
        waiting: WaitList::new(),
        parent: None,
        first_child: None,
        before: None,
        after: None,
    };
    let key = nodes.insert(entry);
    hang(nodes, key, parent);
    (key, mark)
}

/// Makes `key`, which hangs nowhere, the first child of `parent`.
fn hang(nodes: &mut Slab<Entry>, key: usize, parent: Option<usize>) {
    let after = parent.and_then(|parent| nodes[parent].first_child.replace(key));
    if let Some(after) = after {
        nodes[after].before = Some(key);
    }
    let entry = &mut nodes[key];
    (entry.parent, entry.before, entry.after) = (parent, None, after);
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut nodes = self.tree.nodes.lock();
        let entry = nodes.remove(self.key);
        match (entry.before, entry.parent) {
            (Some(before), _) => nodes[before].after = entry.after,
            (None, Some(parent)) => nodes[parent].first_child = entry.after,
            (None, None) => {}
        }
        if let Some(after) = entry.after {
            nodes[after].before = entry.before;
        }
        let mut child = entry.first_child;
        while let Some(key) = child {
            child = nodes[key].after;
            hang(&mut nodes, key, entry.parent);
        }
        drop(nodes);
        // Unlocked: a forgotten `Cancellation` may have left a waker in it.
        drop(entry);
    }
}

/// The future of [`Token::cancelled`]. It may be polled again after it was
/// ready: then it is ready again.
#[must_use = "futures do nothing unless polled"]
pub struct Cancellation<T: Borrow<Token>> {
    token: T,
    ticket: Option<Ticket>,
    turn: Turn,
}

// No reference into the future itself is ever made.
impl<T: Borrow<Token>> Unpin for Cancellation<T> {}

impl<T: Borrow<Token>> Future for Cancellation<T> {
    type Output = Cancelled;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Cancelled> {
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        polled
    }
}

impl<T: Borrow<Token>> Cancellation<T> {
    /// A poll that gives way to no one: whoever stops others because of the
    /// cancel must hear of it whatever they spend.
    pub(crate) fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Cancelled> {
        let this = self;
        let node = &this.token.borrow().node;
        // Wakers are cloned before the lock is taken and dropped after it is
        // released (the first declared is the last dropped).
        let waiter = Waiter::task(context.waker());
        let displaced;
        let mut nodes = node.tree.nodes.lock();
        let entry = &mut nodes[node.key];
        if let Some(cause) = &entry.cause {
            this.ticket = None;
            return Poll::Ready(cause.clone());
        }
        match this.ticket {
            Some(ticket) => {
                displaced = entry.waiting.replace(ticket, waiter);
                debug_assert!(displaced.is_ok(), "a live node keeps its waiters (invariant 3)");
            }
            None => {
                this.ticket = Some(entry.waiting.push(waiter));
            }
        }
        Poll::Pending
    }
}

impl<T: Borrow<Token>> Drop for Cancellation<T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let node = &self.token.borrow().node;
        let waiter = node.tree.nodes.lock()[node.key].waiting.take(ticket);
        // Unlocked: the last waker of a task drops the task.
        drop(waiter);
    }
}

/// Cancels its token when dropped: [`Token::drop_guard`].
#[derive(Debug)]
#[must_use = "dropping it cancels the token"]
pub struct DropGuard {
    token: Option<Token>,
}

impl DropGuard {
    /// The token again, and nothing is cancelled.
    #[must_use]
    pub fn disarm(mut self) -> Token {
        self.token.take().expect("only `disarm` takes it, and consumes the guard")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            token.cancel_because("its guard was dropped");
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl<T: Borrow<Token>> fmt::Debug for Cancellation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation").field("token", self.token.borrow()).finish_non_exhaustive()
    }
}
