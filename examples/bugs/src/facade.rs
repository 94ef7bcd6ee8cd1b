//! The bugs of threads over the facade.

use super::Bug;

mod prim {
    pub(super) use selvedge_model::{sync, thread};
}

#[path = "chapters/mod.rs"]
pub mod chapters;
