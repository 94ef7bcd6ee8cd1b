//! The bugs of threads over the primitives of std's.

use selvedge_bugs::Bug;

mod prim {
    pub(super) use std::{sync, thread};
}

#[path = "../src/chapters/mod.rs"]
pub(crate) mod chapters;
