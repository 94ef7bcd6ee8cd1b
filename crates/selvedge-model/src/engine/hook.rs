//! The panic hook of the process: silent inside of a model, where a panic is
//! written down, and what it was before everywhere else.

use super::exec::{Decision, try_with};
use super::shrink::Deviations;
use std::io::Write as _;
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
    if text == IN_CLEANUP {
        last_words();
        return;
    }
    let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
    let _ = try_with(|e| e.panics.push((e.current, text, at)));
}

/// What the last panic of a program says when a destructor panics while a
/// panic unwinds: nothing can keep the program from ending.
const IN_CLEANUP: &str = "panic in a destructor during cleanup";

/// Tells what is known before the program ends. Past libtest's capture, which
/// would be lost.
fn last_words() {
    let said = try_with(|e| {
        let panics: Vec<String> = e
            .panics
            .iter()
            .map(|(task, text, at)| {
                let lane = e.tasks.get(*task).map_or_else(String::new, |t| t.lane(*task));
                format!("   {lane} panicked at {}: {text}\n", at.as_deref().unwrap_or("?"))
            })
            .collect();
        let decisions: &[Decision] = &e.decisions;
        (panics.concat(), Deviations::of(decisions).to_string())
    });
    let Some((panics, schedule)) = said else {
        return;
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a model");
    let _ = write!(
        std::io::stderr(),
        "{test}: a destructor panicked while a panic unwound, which ends the program:\n{panics}   \
         schedule {schedule}: SELVEDGE_REPLAY='NAME:shuttle:{schedule}' with the model's name\n"
    );
}
