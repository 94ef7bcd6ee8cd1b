//! A limiter waits in a forked child as it does in its parent, whose timer
//! thread the child has not.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "it forks")]

use selvedge::nz;
use selvedge::rate::Limiter;
use std::time::{Duration, Instant};

/// Three permits at a hundred a second, with a runtime of its own.
fn waits(limiter: &Limiter) -> bool {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let granted = runtime.block_on(async {
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_secs(10), limiter.acquire(1)).await.ok()?.ok()?;
        }
        Some(())
    });
    // A timeout polls what is inside once more when it passes, which would hide
    // that nothing else did: far less time must have gone by than one takes.
    let took = start.elapsed();
    granted.is_some() && took >= Duration::from_millis(10) && took < Duration::from_secs(5)
}

#[test]
fn a_limiter_waits_in_a_forked_child() {
    let limiter = Limiter::per_second(nz!(100));
    assert!(waits(&limiter), "in the parent");
    // SAFETY: the child touches nothing that another thread of this process may
    // have locked but the allocator, which glibc makes usable in the child.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        let waited = std::panic::catch_unwind(|| waits(&limiter)).unwrap_or(false);
        // SAFETY: it ends the child, with nothing of the parent's run.
        unsafe { libc::_exit(i32::from(!waited)) }
    }
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "in the child: {status:#x}");
    assert!(waits(&limiter), "in the parent again");
}
