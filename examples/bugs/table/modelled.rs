//! The bugs of threads over the primitives of shuttle's.

use selvedge_bugs::Bug;

mod prim {
    pub(super) use shuttle::{sync, thread};
}

#[path = "../src/chapters/mod.rs"]
pub(crate) mod chapters;
