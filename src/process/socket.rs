//! The private socket between parent and worker: packets, and files that come
//! with them.

use super::wire::PACKET;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Most files with one packet.
const FILES: usize = 2;

/// Both ends, each closed when the process becomes another program.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends a packet. `wait`: until there is room; otherwise `WouldBlock`.
pub(super) fn send(
    socket: &OwnedFd,
    packet: &[u8],
    tail: &[u8],
    files: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many files for a packet"));
    }
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    loop {
        match sendmsg(socket, &[IoSlice::new(packet), IoSlice::new(tail)], &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            // Too many files under way: the same as no room.
            Err(Errno::TOOMANYREFS) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a packet brought. Its bytes are in the buffer.
#[derive(Debug)]
pub(super) struct Packet {
    /// 0: the other side is gone, and nothing of it is left.
    pub(super) len: usize,
    pub(super) files: Vec<OwnedFd>,
    /// Files came with it that this process had no descriptor for.
    pub(super) files_lost: bool,
}

/// A buffer that any packet fits in.
pub(super) fn buffer() -> Box<[u8]> {
    vec![0; PACKET + 1].into_boxed_slice()
}

/// Receives a packet. `wait`: until there is one; otherwise `WouldBlock`.
///
/// A packet of no bytes says nothing and is passed over: it looks like the end,
/// and anything that writes to the wrong descriptor can send it.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8], wait: bool) -> io::Result<Packet> {
    loop {
        let packet = receive_any(socket, buffer, wait)?;
        if packet.len > 0 || is_the_end(socket)? {
            return Ok(packet);
        }
    }
}

/// Whether nothing will come any more, after a receive that brought no bytes:
/// the other side is closed, and nothing but packets of no bytes is waiting.
fn is_the_end(socket: &OwnedFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut end = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    while let Err(error) = poll(&mut end, Some(&now)) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    let closed = end[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
    Ok(closed && rustix::io::ioctl_fionread(socket)? == 0)
}

fn receive_any(socket: &OwnedFd, buffer: &mut [u8], wait: bool) -> io::Result<Packet> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags =
        if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            // CONNRESET: the other side is gone and has left packets of ours
            // unread. Linux says so once, *before* the packets that it had
            // sent: they are still there, and then the end.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    let files = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .collect();
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet that is too long"));
    }
    let files_lost = received.flags.contains(ReturnFlags::CTRUNC);
    Ok(Packet { len: received.bytes, files, files_lost })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(socket: &OwnedFd, text: &[u8]) {
        send(socket, text, &[], &[], false).unwrap();
    }

    /// All that is received up to the end.
    fn heard(socket: &OwnedFd) -> Vec<Vec<u8>> {
        let mut buffer = buffer();
        let packets = std::iter::from_fn(|| {
            let packet = receive(socket, &mut buffer, false).unwrap();
            (packet.len > 0).then(|| buffer[..packet.len].to_vec())
        });
        packets.collect()
    }

    /// Linux says that the other side has left packets of ours unread before
    /// it hands over what that side had sent.
    #[test]
    fn what_was_sent_before_a_reset_is_received() {
        let (ours, theirs) = pair().unwrap();
        say(&ours, b"never read");
        say(&theirs, b"one");
        say(&theirs, b"two");
        drop(theirs);
        assert_eq!(heard(&ours), [b"one", b"two"]);
    }

    #[test]
    fn a_packet_of_no_bytes_is_not_the_end() {
        let (ours, theirs) = pair().unwrap();
        for text in [&b""[..], b"one", b"", b"", b"two", b""] {
            say(&theirs, text);
        }
        let mut buffer = buffer();
        for text in [b"one", b"two"] {
            let packet = receive(&ours, &mut buffer, false).unwrap();
            assert_eq!(&buffer[..packet.len], text);
        }
        let none = receive(&ours, &mut buffer, false).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        say(&theirs, b"");
        say(&theirs, b"three");
        say(&theirs, b"");
        drop(theirs);
        assert_eq!(heard(&ours), [b"three"]);
    }
}
