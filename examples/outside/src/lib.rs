//! Four small things that somebody might write, each with a bug that a test on
//! real threads meets once a week, and with the bug mended.

pub mod count;
pub mod lock;
pub mod pool;
pub mod queue;
