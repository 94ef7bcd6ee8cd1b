//! An offload pool in a process that can start no thread says so, and nobody
//! waits for ever.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "stands in for a function of the C library")]

use selvedge::nz;
use selvedge::offload::{Job, Pool};
use selvedge::outcome::{Crash, Outcome};
use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

thread_local! {
    /// What happens while this thread is refused a thread; `None`: it gets one.
    static REFUSED: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

/// Stands before the C library's own in this program.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
    argument: *mut libc::c_void,
) -> libc::c_int {
    if let Some(meanwhile) = REFUSED.take() {
        meanwhile();
        return libc::EAGAIN;
    }
    // SAFETY: a valid name; the next definition is the C library's.
    let theirs = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
    assert!(!theirs.is_null(), "the C library starts threads");
    type Create = unsafe extern "C" fn(
        *mut libc::pthread_t,
        *const libc::pthread_attr_t,
        extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
        *mut libc::c_void,
    ) -> libc::c_int;
    // SAFETY: it has this type, and gets what the caller gave.
    unsafe {
        std::mem::transmute::<*mut libc::c_void, Create>(theirs)(
            thread, attributes, start, argument,
        )
    }
}

/// Submits a closure; the thread for it is refused, and until then `meanwhile`
/// goes on.
fn refused(pool: &Pool, meanwhile: impl FnOnce() + 'static) -> Job<u8> {
    REFUSED.set(Some(Box::new(meanwhile)));
    let job = pool.try_submit(|_| 1).unwrap();
    assert!(REFUSED.take().is_none(), "it asked for no thread");
    job
}

fn says_so(mut job: Job<u8>) {
    let polled = Pin::new(&mut job).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Outcome::Crashed(crash @ Crash::NoThread(_))) = polled else {
        panic!("{polled:?}")
    };
    assert!(crash.to_string().contains("os error"), "{crash}");
}

#[test]
fn no_thread_to_be_had_is_reported_as_that() {
    let pool = Pool::new(nz!(1), 4);
    says_so(refused(&pool, || ()));
    assert_eq!(pool.stats().queued, 0);
    // The next one may get a thread.
    let works = pool.try_submit(|_| 2).unwrap();
    assert_eq!(selvedge::swap::future::block_on(works), Outcome::Ok(2));
}

/// Two more are submitted while the pool asks for its only thread, and count on
/// it as well.
#[test]
fn whoever_counts_on_a_thread_that_is_refused_hears_of_it() {
    let pool = Arc::new(Pool::new(nz!(1), 4));
    let others = Arc::new(Mutex::new(Vec::new()));
    let first = refused(&pool, {
        let (pool, others) = (Arc::clone(&pool), Arc::clone(&others));
        move || others.lock().unwrap().extend([(); 2].map(|()| pool.try_submit(|_| 2).unwrap()))
    });
    let others = std::mem::take(&mut *others.lock().unwrap());
    assert_eq!(others.len(), 2);
    [first].into_iter().chain(others).for_each(says_so);
    assert_eq!(pool.stats().queued, 0);
}
