//! One worker process, as its parent holds it.

use super::codec::Unencoded;
use super::death::{self, How};
use super::group::Ended;
use super::region::{AREA, Region, SLOTS};
use super::results::Results;
use super::settings::Settings;
use super::sheet::{Place, Reader, Sheet};
use super::shell::{Held, Load};
use super::supervisor::{Event, Run, TaskId, WorkerId};
use super::wire::{self, FromWorker, GROUP, Garbled, HEAD, INLINE, Kind, RESULT_HEAD, ToWorker};
use super::{hook, ship, socket};
use crate::outcome::Crash;
use rustix::process::{Pid, PidfdFlags};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why a large result was lost on its way, and what to do about it.
const NO_DESCRIPTOR: &str = "this process has no file descriptor left to receive it with; \
     raise its limit (`ulimit -n`) or open fewer files";

/// A batch that lies in a slot.
#[derive(Debug)]
struct Batch {
    seq: u64,
    slot: usize,
    results: Results,
    /// Done: its slot may be used once the results were taken.
    done: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Working,
}

/// A worker.
#[derive(Debug)]
pub(super) struct Proc {
    id: WorkerId,
    pid: Pid,
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) socket: Arc<OwnedFd>,
    region: Region,
    reader: Reader,
    phase: Phase,
    /// Oldest first.
    batches: Vec<Batch>,
    /// The socket is full.
    pub(super) blocked: bool,
    /// The socket's other end is closed.
    pub(super) closed: bool,
    garbled: Option<Garbled>,
    memory_limit: Option<u64>,
}

impl Proc {
    /// Starts this executable again.
    pub(super) fn start(id: WorkerId, settings: &Settings) -> io::Result<Self> {
        let (region, memory) = Region::create()?;
        let (ours, theirs) = socket::pair()?;
        settings.welcome(&ours, &memory)?;
        let mut command = Command::new("/proc/self/exe");
        for (name, value) in &settings.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // Standard input carries the socket into the new program; the worker
        // moves it away. Its own process group: Ctrl-C is for the parent, and
        // what the tasks start can be killed with the worker.
        let mut child = command
            .arg0("selvedge-worker")
            .env(hook::VARIABLE, "1")
            .stdin(Stdio::from(theirs))
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            // Just started, and alive: its number is its own.
            let _ = child.kill();
            let _ = child.wait();
        })?;
        Ok(Self {
            id,
            pid,
            pidfd: Arc::new(pidfd),
            socket: Arc::new(ours),
            region,
            reader: Reader::default(),
            phase: Phase::Starting,
            batches: Vec::new(),
            blocked: false,
            closed: false,
            garbled: None,
            memory_limit: settings.memory,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn is_starting(&self) -> bool {
        self.phase != Phase::Working
    }

    /// The next message, if there is one.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        settings: &Settings,
    ) -> Result<Option<FromWorker>, Garbled> {
        if self.closed || self.garbled.is_some() {
            return Ok(None);
        }
        let message = self.receive_one(buffer, settings);
        if let Err(garbled) = &message {
            self.garbled = Some(garbled.clone());
        }
        message
    }

    fn receive_one(
        &mut self,
        buffer: &mut [u8],
        settings: &Settings,
    ) -> Result<Option<FromWorker>, Garbled> {
        let packet = match socket::receive(&self.socket, buffer, false) {
            Ok(packet) => packet,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Err(Garbled("a packet that cannot be received")),
        };
        if packet.len == 0 {
            self.closed = true;
            return Ok(None);
        }
        let (message, tail) = wire::unpack::<FromWorker>(&buffer[..packet.len])?;
        match (&self.phase, &message) {
            (Phase::Starting, FromWorker::Ready { version, identity }) => {
                if (*version, *identity) != (wire::VERSION, ship::identity()) {
                    return Err(Garbled("the worker is another executable than this program"));
                }
                self.phase = Phase::Working;
            }
            (Phase::Starting, FromWorker::StartFailed { .. }) => {}
            (Phase::Working, FromWorker::Done { seq, .. }) => {
                let region = &self.region;
                // Batches are run in order: news of another one is no news.
                let batch = self.batches.iter_mut().find(|batch| !batch.done);
                let batch = batch.filter(|batch| batch.seq == *seq);
                let batch = batch.ok_or(Garbled("news of a batch that it does not run"))?;
                if !region.header(batch.slot).word.read().is_over() {
                    return Err(Garbled("a batch that is called done and is not"));
                }
                batch.done = true;
            }
            (Phase::Working, FromWorker::Elsewhere { seq, index, kind, len, sheet }) => {
                let kind = Kind::from_u8(*kind).ok_or(Garbled("a result of no kind"))?;
                // What is no value is a text, cut to what fits a packet.
                if *len > settings.largest.max(INLINE as u64) {
                    return Err(Garbled("a result that is larger than the pool allows"));
                }
                let place = Place { len: *len, serial: sheet.map(|(_, serial)| serial) };
                let result = match packet.files.first() {
                    None if *len > INLINE as u64 && packet.files_lost => Err(NO_DESCRIPTOR.into()),
                    None if tail.len() as u64 == *len => Ok(tail.to_vec()),
                    None => return Err(Garbled("a result of another length")),
                    Some(file) => match self.reader.copy(file, place) {
                        Ok(bytes) => Ok(bytes),
                        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                            return Err(Garbled("a result that cannot be read"));
                        }
                        // No memory, no address space: nothing that the worker did.
                        Err(error) => Err(format!("{len} bytes could not be read: {error}").into()),
                    },
                };
                if let Some((bit, _)) = *sheet {
                    self.region.header(0).lent.give_back(bit);
                }
                let batch = self.batches.iter_mut().find(|batch| batch.seq == *seq);
                let batch = batch.ok_or(Garbled("a result of a batch that it does not have"))?;
                batch.results.came_apart(*index, result.map(|bytes| (kind, bytes)));
            }
            _ => return Err(Garbled("a message out of turn")),
        }
        Ok(Some(message))
    }

    /// Puts tasks in a slot and tells the worker. Returns how many, and
    /// whether the socket is full.
    pub(super) fn send(
        &mut self,
        seq: u64,
        runs: &[Run],
        parcels: &mut BTreeMap<TaskId, Held>,
    ) -> (u32, bool) {
        self.batches.retain(|batch| !batch.done);
        let used = |slot: &usize| self.batches.iter().any(|batch| batch.slot == *slot);
        let Some(slot) = (0..SLOTS).find(|slot| !used(slot)) else {
            debug_assert!(false, "a batch more than there are slots");
            self.blocked = true;
            return (0, true);
        };
        let (tasks, file) = self.pack(slot, runs, parcels);
        self.region.header(slot).word.arm(tasks);
        let message = wire::packet(&ToWorker::Run { seq, slot: slot as u8 });
        let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        match socket::send(&self.socket, &message, &[], &files, false) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                (0, true)
            }
            // Other errors: it has died, its pidfd tells, and the word says
            // that none of these tasks started.
            _ => {
                self.batches.push(Batch { seq, slot, results: Results::default(), done: false });
                (tasks, false)
            }
        }
    }

    /// Writes as many arguments as there is room for.
    fn pack<'p>(
        &mut self,
        slot: usize,
        runs: &[Run],
        parcels: &'p mut BTreeMap<TaskId, Held>,
    ) -> (u32, Option<BorrowedFd<'p>>) {
        // Half of the room for results is for their heads, at most.
        let most = (AREA / RESULT_HEAD / 2) as u32;
        let mut tasks = 0;
        let mut at = 0;
        let mut alone = None;
        for run in runs {
            let Some((first, held)) = parcels.range_mut(..=run.first).next_back() else { break };
            let offset = (run.first - first) as u32;
            let entry = held.parcel.entry;
            if let Load::Large(lent) = &held.parcel.load {
                if tasks > 0 {
                    break;
                }
                let place = wire::place(lent.place());
                self.region.write_arguments(slot, 0, &wire::group(entry, 1));
                self.region.write_arguments(slot, GROUP, &wire::head(Kind::Elsewhere, place.len()));
                self.region.write_arguments(slot, GROUP + HEAD, &place);
                tasks = 1;
                alone = Some(*first);
                break;
            }
            let start = held.seek(offset);
            let Load::Records(bytes) = &held.parcel.load else { break };
            let room = AREA.saturating_sub(at + GROUP);
            let (mut count, mut end) = (0, start);
            let whole = offset + run.len == held.parcel.len && bytes.len() - start <= room;
            if whole && run.len <= most - tasks {
                (count, end) = (run.len, bytes.len());
            }
            while count < run.len && tasks + count < most {
                match wire::record(bytes, end) {
                    Ok((_, _, next)) if next - start <= room => (count, end) = (count + 1, next),
                    _ => break,
                }
            }
            if count == 0 {
                break;
            }
            held.cursor = (offset + count, end);
            self.region.write_arguments(slot, at, &wire::group(entry, count));
            self.region.write_arguments(slot, at + GROUP, &bytes[start..end]);
            at += GROUP + end - start;
            tasks += count;
            if count < run.len {
                break;
            }
        }
        let file = alone.and_then(|first| match &parcels.get(&first)?.parcel.load {
            Load::Large(lent) => lent.sheet().map(Sheet::file),
            Load::Records(_) => None,
        });
        (tasks, file)
    }

    /// What ends the next tasks of a batch: at most `most` of them.
    pub(super) fn take_results(&mut self, seq: u64, most: u32) -> Result<(u32, Ended), Garbled> {
        let batch = self.batches.iter_mut().find(|batch| batch.seq == seq);
        let batch = batch.ok_or(Garbled("results of a batch that is gone"))?;
        let (region, slot) = (&self.region, batch.slot);
        let taken = batch.results.take(most, || region.copy_results(slot));
        if let Some(garbled) = batch.results.spoilt() {
            self.garbled.get_or_insert(garbled);
            self.kill();
        }
        Ok(taken)
    }

    /// What runs in the oldest batch, and since when.
    pub(super) fn look(&self) -> Option<Event> {
        let batch = self.batches.iter().find(|batch| !batch.done)?;
        let header = self.region.header(batch.slot);
        let started = header.word.read().started;
        let since = header.since.load(Ordering::Relaxed);
        Some(Event::Seen { worker: self.id, seq: batch.seq, started, since })
    }

    pub(super) fn revoke(&self) -> Vec<(u64, u32)> {
        let open = self.batches.iter().filter(|batch| !batch.done);
        open.map(|batch| (batch.seq, self.region.header(batch.slot).word.revoke().started))
            .collect()
    }

    pub(super) fn condemn(&self, seq: u64, index: u32) -> bool {
        let batch = self.batches.iter().find(|batch| batch.seq == seq);
        batch.is_some_and(|batch| self.region.header(batch.slot).word.condemn(index))
    }

    /// How many tasks of each batch have started.
    pub(super) fn progress(&self) -> Vec<(u64, u32)> {
        let open = self.batches.iter().filter(|batch| !batch.done);
        open.map(|batch| (batch.seq, self.region.header(batch.slot).word.read().started)).collect()
    }

    /// Kills the worker and whatever its tasks have started, as far as that
    /// stayed in its process group.
    pub(super) fn kill(&mut self) {
        death::kill_group(&self.pidfd, self.pid);
    }

    /// Asks it to end. Whether it could be asked.
    pub(super) fn retire(&self) -> bool {
        socket::send(&self.socket, &wire::packet(&ToWorker::Bye), &[], &[], false).is_ok()
    }

    /// The worker is dead: kills what it left behind and learns how it died.
    pub(super) fn reap(&mut self) -> Crash {
        death::kill_group(&self.pidfd, self.pid);
        let how = death::reap(&self.pidfd);
        if let Some(garbled) = &self.garbled {
            return Crash::Garbled(garbled.0.into());
        }
        // ORDERING: Relaxed: a flag that publishes nothing, of a process that
        // is dead: what it stored last is there.
        let noted = self.region.header(0).out_of_memory.load(Ordering::Relaxed) != 0;
        match (how, self.memory_limit) {
            (How::Signal(_) | How::Unseen, Some(limit)) if noted => Crash::OutOfMemory(limit),
            (How::Signal(signal), _) => Crash::Signal(signal),
            (How::Exit(code), _) => Crash::Exit(code),
            (How::Unseen, _) => Crash::Unseen,
        }
    }
}

impl Unencoded {
    pub(super) fn into_text(self) -> Arc<str> {
        match self {
            Self::NoRoom => "too large".into(),
            Self::Refused(why) => why.into(),
        }
    }
}
