//! The shadow of a primitive: what it is inside of a model.

use super::Place;
use super::exec::with;
use std::any::Any;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that no other object of the process has, given on first use. It
/// moves with the object, and an execution finds its state of the object by it.
#[derive(Debug)]
pub(crate) struct Id {
    number: AtomicU64,
    made: Place,
}

/// The state of an object inside of an execution.
pub(crate) enum Data {
    /// A lock: who writes, and who reads, since which line.
    Lock { writer: Option<(usize, Place)>, readers: Vec<(usize, Place)> },
    /// A condition variable: tickets, and whether each was called.
    Condvar { waiting: Vec<(usize, bool)>, next: usize },
    /// A barrier.
    Barrier { arrived: usize, generation: usize },
    /// A queue: what it holds, what it may hold, and who is at its ends.
    Queue { length: usize, room: Option<usize>, senders: usize, receiver: bool, taken: u64 },
    /// Something that is done once.
    Once { runs: Option<(usize, Place)>, done: bool, poisoned: bool, value: Option<Erased> },
    /// The threads of a scope that run.
    Scope { running: usize },
    /// Anything else.
    Value(Box<dyn Any>),
}

/// An owned value of any type.
#[derive(Debug)]
pub(crate) struct Erased {
    value: *mut (),
    end: unsafe fn(*mut ()),
}

#[allow(unsafe_code)]
impl Erased {
    pub(crate) fn new<T>(value: T) -> Self {
        /// Ends a value that `new` boxed.
        unsafe fn end<T>(value: *mut ()) {
            // SAFETY: the pointer is of the box that `new` took apart, with
            // the type that it had, and is given up here.
            drop(unsafe { Box::from_raw(value.cast::<T>()) });
        }
        Self { value: Box::into_raw(Box::new(value)).cast(), end: end::<T> }
    }

    /// The value, which the caller knows to be a `T`.
    pub(crate) fn pointer<T>(&self) -> *mut T {
        self.value.cast()
    }

    /// The value itself.
    ///
    /// # Safety
    ///
    /// It is a `T`.
    pub(crate) unsafe fn into_inner<T>(self) -> T {
        let value = self.pointer::<T>();
        std::mem::forget(self);
        // SAFETY: the caller says that it is one, and `self` is forgotten.
        *unsafe { Box::from_raw(value) }
    }
}

#[allow(unsafe_code)]
impl Drop for Erased {
    fn drop(&mut self) {
        // SAFETY: the value is ended once, here or in `into_inner`.
        unsafe { (self.end)(self.value) }
    }
}

/// An object of an execution.
pub(crate) struct Object {
    pub(crate) kind: &'static str,
    pub(crate) made: Place,
    /// Whether an earlier execution, or none, used it first.
    pub(crate) older: bool,
    pub(crate) data: Data,
}

/// The next number. Zero is that of an object that nothing has used.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// The numbers from here on belong to objects that no earlier execution used.
pub(crate) fn first_number() -> u64 {
    NUMBERS.load(Relaxed)
}

/// Numbers are as good as any hash of them.
#[derive(Debug, Default)]
pub(crate) struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// The numbers of an execution's objects, and where they are.
pub(crate) type Numbers = HashMap<u64, usize, BuildHasherDefault<Itself>>;

impl Id {
    /// Of an object that nothing has used.
    #[track_caller]
    pub(crate) const fn new() -> Self {
        Self { number: AtomicU64::new(0), made: Location::caller() }
    }

    /// Where the object was made.
    pub(crate) fn made(&self) -> Place {
        self.made
    }

    fn number(&self) -> u64 {
        // ORDERING: the number is all there is to see, so the atomic's own
        // order is enough, here and below.
        let number = self.number.load(Relaxed);
        if number != 0 {
            return number;
        }
        let new = NUMBERS.fetch_add(1, Relaxed);
        match self.number.compare_exchange(0, new, Relaxed, Relaxed) {
            Ok(_) => new,
            Err(other) => other,
        }
    }

    /// The object's place in this execution; `make` gives its first state.
    pub(crate) fn index(&self, kind: &'static str, make: impl FnOnce() -> Data) -> usize {
        let number = self.number();
        if let Some(index) = with(|e| e.numbers.get(&number).copied()) {
            return index;
        }
        let data = make();
        with(|e| {
            let index = e.objects.len();
            let older = number < e.first_number;
            e.objects.push(Object { kind, made: self.made, older, data });
            e.numbers.insert(number, index);
            index
        })
    }

    /// The object's place, if this execution has used it.
    pub(crate) fn known(&self) -> Option<usize> {
        let number = self.number.load(Relaxed);
        super::try_with(|e| e.numbers.get(&number).copied())?
    }

    /// Lets the next use begin with a new state.
    pub(crate) fn forget(&self) {
        self.number.store(0, Relaxed);
    }
}

impl Default for Id {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}
