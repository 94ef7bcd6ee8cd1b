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
    /// 0: the other side is gone, or has sent nothing.
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
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8], wait: bool) -> io::Result<Packet> {
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
