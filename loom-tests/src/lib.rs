//! Tools around the models; the models themselves are in `models/`.
//!
//! * [`seeded`] shows that the checks can fail: it puts known bugs into a copy
//!   of the source, one at a time, and asks the check named for each to find it;
//! * [`weakened`] makes each memory ordering weaker by a step, and asks the
//!   models of its room to find it;
//! * [`bounds`] writes down how far each model was explored;
//! * [`classes`] writes down what it saves to run one schedule of each class.
#![cfg(not(loom))]

pub mod bounds;
pub mod classes;
pub mod seeded;
pub mod weakened;

use std::path::PathBuf;
use std::process::ExitCode;

/// What a tool that found everything right, or not, ends with. An error is
/// told without a backtrace: it is about the source, not about the tool.
#[must_use]
pub fn exit(all_right: anyhow::Result<bool>) -> ExitCode {
    match all_right {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace that this was built from.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// Where cargo puts what it builds for the workspace at `root`.
#[must_use]
pub fn target_dir(root: &std::path::Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}
