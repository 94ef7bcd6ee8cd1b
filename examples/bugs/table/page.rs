//! The table.
pub(crate) fn make(_: &[String]) {}
