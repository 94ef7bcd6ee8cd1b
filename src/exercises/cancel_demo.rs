//! Exercise 6: cancellation and cleanup.

use crate::cancel::Token;
use crate::outcome::Outcome;
use crate::rt;
use crate::scope::{Exit, scope};
use std::convert::Infallible;
use std::time::Duration;

/// Sleeps for a second in a scope under `token`, with a cleanup that runs when
/// it ends, in whatever way.
///
/// # Panics
///
/// Outside of a runtime.
pub async fn sleepy(token: Token) -> Exit<&'static str, Infallible> {
    let body = |_| async {
        rt::sleep(Duration::from_secs(1)).await;
        Ok("done")
    };
    scope().token(&token).on_exit("clean up", async { Ok(()) }).run(body).await
}

/// Starts [`sleepy`], cancels it after 50 ms, and says how that ended.
///
/// # Panics
///
/// Outside of a runtime, or if that is shut down.
pub async fn cancel_demo() -> &'static str {
    let token = Token::new();
    let task = rt::spawn(sleepy(token.clone()));
    rt::sleep(Duration::from_millis(50)).await;
    token.cancel();
    let exit = task.await.expect("the runtime is there, since this runs on it");
    match exit.outcome {
        Outcome::Cancelled(_) if exit.cleanup.iter().all(|one| one.outcome.is_ok()) => "cancelled",
        Outcome::Ok(done) => done,
        _ => "not cleaned up",
    }
}
