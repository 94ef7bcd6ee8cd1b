//! The bugs of threads over the primitives of loom's. It has no bounded channels: those are made of its locks.

use selvedge_bugs::Bug;

mod prim {
    pub(super) use loom::thread;
    pub(super) mod sync {
        pub(in super::super) use loom::sync::{Condvar, Mutex, RwLock, atomic};
        pub(in super::super) use selvedge_model::sync::mpsc;
    }
}

#[path = "../src/chapters/mod.rs"]
pub(crate) mod chapters;
