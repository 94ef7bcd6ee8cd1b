//! The panic hook of the process: silent inside of a model, where a panic is
//! written down, and what it was before everywhere else.

use super::exec::try_with;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;

/// Puts the hook in place, once a process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        // shuttle sets a hook of its own on its first run, which speaks on
        // every later panic of the process. Let it, and take it away.
        shuttle::Runner::new(shuttle::scheduler::RoundRobinScheduler::new(1), quiet()).run(|| {});
        drop(take_hook());
        set_hook(Box::new(move |info| {
            if super::inside() {
                write_down(info);
            } else {
                before(info);
            }
        }));
    });
}

/// shuttle's settings, with everything that it prints or bounds switched off.
pub(super) fn quiet() -> shuttle::Config {
    let mut config = shuttle::Config::new();
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.max_steps = shuttle::MaxSteps::None;
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    config
}

fn write_down(info: &PanicHookInfo<'_>) {
    let text = info
        .payload()
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| info.payload().downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic whose payload is no text".to_owned());
    let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
    let _ = try_with(|e| e.panics.push((e.current, text, at)));
}
