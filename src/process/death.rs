//! Killing a worker with what it started, and learning how it died.
//!
//! Both go by the worker's pidfd and not by its number: where SIGCHLD is
//! ignored (as after `trap '' CHLD`), or has `SA_NOCLDWAIT`, the kernel reaps
//! children by itself, and where another part of the program waits for any
//! child it takes ours too. The number may then be another process's already,
//! and the exit status is not to be had from `wait`.
//!
//! How such a worker died is still known since Linux 6.15, which keeps the
//! exit status for pidfds (`PIDFD_INFO_EXIT`). Before, it is
//! [`How::Unseen`]. That it died, and which task was running, does not depend
//! on any of this.

#![allow(unsafe_code, reason = "system calls that rustix does not have")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Signal(i32),
    Exit(i32),
    /// Somebody else was told.
    Unseen,
}

/// `PIDFD_SIGNAL_PROCESS_GROUP`, since Linux 6.9.
const PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Kills a worker that may be alive or dead, and its process group, which it
/// leads.
pub(super) fn kill_group(pidfd: &OwnedFd, pid: Pid) {
    // SAFETY: a system call on a descriptor, with no memory to read.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            PROCESS_GROUP,
        )
    };
    let too_old =
        sent == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
    if too_old && is_unreaped(pidfd) {
        // Not reaped, so the number is still its own: nobody but the caller
        // would reap it, but in a program that ignores SIGCHLD or waits for
        // children that are not its own, and between these two lines.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
}

fn is_unreaped(pidfd: &OwnedFd) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(pidfd.as_fd()), look).is_ok()
}

/// Reaps a worker that is dead or being killed.
pub(super) fn reap(pidfd: &OwnedFd) -> How {
    let status = loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            status => break status,
        }
    };
    match status.ok().flatten() {
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => How::Exit(code),
            (None, Some(signal)) => How::Signal(signal),
            (None, None) => How::Unseen,
        },
        None => kept_status(pidfd).map_or(How::Unseen, decode),
    }
}

/// As `wait` encodes it.
fn decode(status: i32) -> How {
    match status & 0x7f {
        0 => How::Exit(status >> 8 & 0xff),
        signal => How::Signal(signal),
    }
}

/// What `PIDFD_GET_INFO` tells, in its first version.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<Info>() == 64);

/// `PIDFD_INFO_EXIT`.
const EXIT: u64 = 1 << 3;

/// The status that the kernel keeps of a process that somebody else reaped.
fn kept_status(pidfd: &OwnedFd) -> Option<i32> {
    // As the kernel's `_IOWR(0xff, 11, struct pidfd_info)`.
    let get_info: u64 = 3 << 30 | (size_of::<Info>() as u64) << 16 | 0xff << 8 | 11;
    // The status is there once the process is reaped entirely, an instant
    // after it died.
    for _ in 0..100 {
        let mut info = Info { mask: EXIT, ..Info::default() };
        // SAFETY: `info` has the size that the number of the call says.
        let told = unsafe { libc::ioctl(pidfd.as_raw_fd(), get_info as _, &raw mut info) };
        let gone = std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
        if told == 0 && info.mask & EXIT != 0 {
            return Some(info.exit_code);
        }
        if told == -1 && !gone {
            return None;
        }
        let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let _ = poll(&mut [PollFd::new(pidfd, PollFlags::empty())], Some(&moment));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, pidfd_open};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    /// A shell that leads a group of its own, with a sleeper in it, whose
    /// number it says.
    fn group(then: &str) -> (std::process::Child, Pid, OwnedFd, i32) {
        use std::io::{BufRead, BufReader};
        let mut shell = Command::new("sh")
            .args(["-c", &format!("sleep 60 <&- >&- 2>&- & echo $!; {then}")])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_child(&shell);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        (shell, pid, pidfd, line.trim().parse().unwrap())
    }

    fn gone(pid: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    }

    #[test]
    fn a_group_dies_with_its_leader_or_after_it() {
        for then in ["wait", "exit 3"] {
            let (shell, pid, pidfd, sleeper) = group(then);
            assert!(!gone(sleeper));
            if then == "exit 3" {
                let leader = pid.as_raw_nonzero().get();
                while !gone(leader) {
                    std::thread::yield_now();
                }
            }
            kill_group(&pidfd, pid);
            let expected = if then == "wait" { How::Signal(9) } else { How::Exit(3) };
            assert_eq!(reap(&pidfd), expected);
            let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while !gone(sleeper) && std::time::Instant::now() < end {
                std::thread::yield_now();
            }
            assert!(gone(sleeper), "after {then}");
            drop(shell);
        }
    }

    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(decode(0), How::Exit(0));
        assert_eq!(decode(3 << 8), How::Exit(3));
        assert_eq!(decode(255 << 8), How::Exit(255));
        assert_eq!(decode(9), How::Signal(9));
        assert_eq!(decode(6 | 0x80), How::Signal(6), "with a core dumped");
    }
}
