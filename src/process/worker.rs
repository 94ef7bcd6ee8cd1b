//! The worker process, from the hook to its end.
//!
//! A worker runs its tasks one after the other on its main thread, with the
//! program's standard output and error, an empty standard input, and no other
//! descriptor than its socket. It leads a process group of its own. It ends
//!
//! * when the parent says so, by itself;
//! * when the socket's other end is closed, however the parent died: a thread
//!   watches that even while a task runs, and kills the whole group;
//! * by the parent-death signal, whose handler kills the group too. The parent
//!   starts workers from one thread that outlives them all, since the signal
//!   comes when that *thread* ends. It is there for tasks that replace the
//!   process by another program, in which nobody watches the socket.

#![allow(unsafe_code, reason = "signal handlers, and the shared memory's hand-over")]

use super::lane::{Lane, Options};
use super::line::Line;
use super::outbox::Outbox;
use super::region::{Header, Region};
use super::sheet::{Place, Reader};
use super::wire::{self, FromWorker, ToWorker};
use super::{ship, socket, stack};
use rustix::process::{Resource, Rlimit, Signal};
use std::any::Any;
use std::cell::RefCell;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Instant;

/// The exit code of a worker whose parent broke the protocol, or that is none.
pub(super) const LOST: i32 = 112;

/// Where the socket is moved to, out of standard input's place.
const SOCKET: i32 = 3;

/// What the supervisor counts a failed start by.
type Start = Result<(), String>;

/// Everything a worker does. Returns its exit code.
pub(super) fn main() -> i32 {
    let Some(line) = settle().map(Line::new) else {
        eprintln!("{} is set, but standard input is no pool's socket", super::hook::VARIABLE);
        return LOST;
    };
    reset_signals();
    die_with_parent();
    let Some((region, options)) = start(&line) else {
        return LOST;
    };
    serve(&line, &region, options)
}

/// What the parent ignores and blocks is its own affair: SIGCHLD ignored would
/// hide how a task's children end, and SIGTERM blocked would not end them.
/// What has a handler by now was given it in this process.
fn reset_signals() {
    // SAFETY: the calls read and write nothing but what they are given here.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            let mut now: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0;
            if known && now.sa_sigaction == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        // SIGPIPE as in every Rust program. The group is in the background of
        // its terminal, if it has one: ignoring these two, it may write to it
        // where that is stopped (`stty tostop`), and reading is an error.
        for signal in [libc::SIGPIPE, libc::SIGTTOU, libc::SIGTTIN] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Takes the socket from standard input and closes everything else.
fn settle() -> Option<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    let kind = rustix::net::sockopt::socket_type(stdin).ok()?;
    if kind != rustix::net::SocketType::SEQPACKET {
        return None;
    }
    // SAFETY: whatever was inherited under this number is given up, as are all
    // numbers behind it.
    unsafe {
        if libc::dup3(0, SOCKET, libc::O_CLOEXEC) != SOCKET {
            return None;
        }
        libc::close_range(SOCKET as u32 + 1, u32::MAX, 0);
    }
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .ok()?;
    rustix::stdio::dup2_stdin(null).ok()?;
    // SAFETY: just made, and nobody else's.
    Some(unsafe { std::os::fd::FromRawFd::from_raw_fd(SOCKET) })
}

/// Kills this worker and what its tasks have started.
pub(super) extern "C" fn kill_group(_: libc::c_int) {
    // SAFETY: async-signal-safe. Group 0 is our own: the worker leads it.
    unsafe { libc::kill(0, libc::SIGKILL) };
}

fn die_with_parent() {
    let signal = libc::SIGRTMAX() - 1;
    // SAFETY: the handler is async-signal-safe; the signal's default action,
    // after an exec, is to end the process.
    unsafe {
        libc::signal(signal, kill_group as *const () as libc::sighandler_t);
        libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0);
    }
}

/// The handshake and all that comes before the first task. `None`: there is
/// nobody to work for.
fn start(line: &Line) -> Option<(Region, Options)> {
    let mut buffer = socket::buffer();
    let packet = line.receive(&mut buffer).filter(|packet| packet.len > 0)?;
    let (welcome, _) = wire::unpack::<ToWorker>(&buffer[..packet.len]).ok()?;
    let ToWorker::Welcome { version, identity, stamp, largest, memory, context, initializer } =
        welcome
    else {
        return None;
    };
    let mut files = packet.files.into_iter();
    let region = files.next().and_then(|file| Region::map(file.as_fd()).ok())?;
    if (version, identity) != (wire::VERSION, ship::identity()) {
        return None;
    }
    // Code of others may take its time; otherwise the parent need not wait for
    // the thread to be made.
    let first = context.is_some() || initializer.is_some();
    if first {
        line.watch().ok()?;
        line.settled();
    }
    note_panics();
    if let Some(bytes) = memory {
        limit_memory(bytes, region.header(0));
    }
    let options = Options {
        stamp,
        largest: largest.try_into().unwrap_or(usize::MAX),
        watch_memory: memory.is_some(),
    };
    let file = files.next();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let place = Place { len: context.map_or(0, |(len, _)| len), serial: None };
        let place = wire::place(place);
        let mut outbox = Outbox::new(line, region.header(0));
        let mut reader = Reader::default();
        let areas = (&place[..], &mut [][..]);
        let ends = (&mut outbox, &mut reader);
        let mut lane = Lane::new(region.header(0), ends, 0, areas, file, options);
        for entry in [context.map(|(_, entry)| entry), initializer].into_iter().flatten() {
            match ship::entry(entry) {
                Some(entry) => entry(&mut lane),
                None => return Err("a function that is not in this program".to_owned()),
            }
        }
        Ok(())
    }));
    let started: Start =
        ran.unwrap_or_else(|payload| Err(describe_panic(&*payload).replacen('\n', ": ", 1)));
    let message = match started {
        Ok(()) => FromWorker::Ready { version: wire::VERSION, identity: ship::identity() },
        Err(mut why) => {
            why.truncate(why.floor_char_boundary_at(4096));
            FromWorker::StartFailed { why }
        }
    };
    let failed = matches!(message, FromWorker::StartFailed { .. });
    line.send(&wire::packet(&message), &[]).ok()?;
    if !first {
        line.watch().ok()?;
    }
    (!failed).then_some((region, options))
}

/// `str::floor_char_boundary`, which is younger than our minimum compiler.
trait Floor {
    fn floor_char_boundary_at(&self, most: usize) -> usize;
}

impl Floor for str {
    fn floor_char_boundary_at(&self, most: usize) -> usize {
        (0..=most.min(self.len())).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// Runs batches until told to end.
fn serve(line: &Line, region: &Region, options: Options) -> i32 {
    let mut buffer = socket::buffer();
    let mut outbox = Outbox::new(line, region.header(0));
    let mut reader = Reader::default();
    loop {
        let Some(packet) = line.receive(&mut buffer) else { return LOST };
        if packet.len == 0 {
            let _ = std::io::stdout().flush();
            kill_group(0);
        }
        let (seq, slot) = match wire::unpack::<ToWorker>(&buffer[..packet.len]) {
            Ok((ToWorker::Run { seq, slot }, _)) => (seq, usize::from(slot)),
            Ok((ToWorker::Bye, _)) => return 0,
            Ok((ToWorker::Welcome { .. }, _)) | Err(_) => return LOST,
        };
        line.settled();
        let start = Instant::now();
        // SAFETY: the parent says that the slot holds a batch; the lane, which
        // has the only borrow, ends before `Done` is sent.
        let areas = unsafe { region.open(slot) };
        let file = packet.files.into_iter().next();
        Lane::new(region.header(slot), (&mut outbox, &mut reader), seq, areas, file, options).run();
        let elapsed = start.elapsed().as_nanos() as u64;
        let done = wire::packet(&FromWorker::Done { seq, elapsed });
        // What the batch came to is in the shared memory, or sent.
        if !line.is_ours() || line.send(&done, &[]).is_err() {
            return LOST;
        }
    }
}

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of tasks become values: their place is noted and nothing printed.
/// Panics of other threads that tasks start are printed as ever.
fn note_panics() {
    let tasks = std::thread::current().id();
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == tasks {
            PLACE.set(info.location().map(ToString::to_string));
        } else {
            others(info);
        }
    }));
}

/// The place, a line break, the message.
pub(super) fn describe_panic(payload: &(dyn Any + Send)) -> String {
    let place = PLACE.take().unwrap_or_default();
    let panic = crate::outcome::Panic::from_payload(payload);
    format!("{place}\n{}", panic.message())
}

/// Where to note that memory ran out.
static MEMORY_NOTE: AtomicPtr<Header> = AtomicPtr::new(std::ptr::null_mut());

/// Limits private writable memory, and has the abort that follows a failed
/// allocation tell the parent that it was one.
fn limit_memory(bytes: u64, header: &Header) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let _ = rustix::process::setrlimit(Resource::Data, limit);
    MEMORY_NOTE.store(std::ptr::from_ref(header).cast_mut(), Ordering::Relaxed);
    // SAFETY: the handler only touches atomics and errno.
    unsafe { libc::signal(Signal::ABORT.as_raw(), note_memory as *const () as libc::sighandler_t) };
}

/// `abort` raises the signal on the thread whose allocation failed, which
/// still has the error number, unless the backtrace that `RUST_BACKTRACE` asks
/// for has been printed since: then the stack tells. What follows (the default
/// action) is `abort`'s.
extern "C" fn note_memory(_: libc::c_int) {
    // SAFETY: this thread's errno.
    let errno = unsafe { *libc::__errno_location() };
    let header = MEMORY_NOTE.load(Ordering::Relaxed);
    if (errno == libc::ENOMEM || stack::an_allocation_failed()) && !header.is_null() {
        // SAFETY: set once, to a header in a mapping that is never unmapped in
        // a worker: `main` owns it until the process ends.
        let header = unsafe { &*header };
        // ORDERING: Relaxed: it is read when the process has ended.
        header.out_of_memory.store(1, Ordering::Relaxed);
    }
}

/// So that an earlier failure is not taken for this task's.
#[inline]
pub(super) fn forget_errno() {
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = 0 };
}

/// The task was condemned: SIGKILL is on its way.
pub(super) fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

/// The parent broke the protocol: there is nothing sensible to do.
pub(super) fn give_up(what: &str) -> ! {
    eprintln!("selvedge worker: the pool sent {what}");
    std::process::exit(LOST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::hook;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    /// How a worker ends that is greeted so, and whether it said anything.
    fn greeted(packet: &[u8]) -> (Option<i32>, bool) {
        hook::keep();
        let (_region, memory) = Region::create().unwrap();
        let (ours, theirs) = socket::pair().unwrap();
        socket::send(&ours, packet, &[], &[memory.as_fd()], false).unwrap();
        let mut worker = Command::new("/proc/self/exe")
            .env(hook::VARIABLE, "1")
            .stdin(Stdio::from(theirs))
            .process_group(0)
            .spawn()
            .unwrap();
        let said = socket::receive(&ours, &mut socket::buffer(), true).unwrap().len > 0;
        // One that is served ends with its parent.
        drop(ours);
        (worker.wait().unwrap().code(), said)
    }

    /// A worker does nothing for a parent that is another program, or none.
    #[test]
    fn only_the_same_executable_is_served() {
        let greeting = |version, identity| {
            wire::packet(&ToWorker::Welcome {
                version,
                identity,
                stamp: false,
                largest: 0,
                memory: None,
                context: None,
                initializer: None,
            })
        };
        assert_eq!(greeted(&greeting(wire::VERSION, !ship::identity())), (Some(LOST), false));
        assert_eq!(greeted(&greeting(wire::VERSION + 1, ship::identity())), (Some(LOST), false));
        assert_eq!(greeted(&wire::packet(&ToWorker::Bye)), (Some(LOST), false));
        assert_eq!(greeted(b"good day"), (Some(LOST), false));
    }
}
