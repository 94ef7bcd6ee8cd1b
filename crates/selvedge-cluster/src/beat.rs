//! What callers and workers say of themselves, every few moments: a line of
//! text, for builds that differ must read each other's.

use std::fmt;

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) id: u64,
    pub(crate) identity: u64,
    pub(crate) pid: u32,
    pub(crate) host: String,
    /// It says goodbye.
    pub(crate) left: bool,
    /// Of a caller: workers are to answer now.
    pub(crate) asks: bool,
    /// Of a worker: processes in its pool, messages in hand, tasks executed.
    pub(crate) slots: u32,
    pub(crate) busy: u32,
    pub(crate) executed: u64,
}

impl Beat {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            identity: selvedge::process::portable::identity(),
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().replace(' ', "_"),
            left: false,
            asks: false,
            slots: 0,
            busy: 0,
            executed: 0,
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() < 512)?;
        let mut beat = Self {
            id: 0,
            identity: 0,
            pid: 0,
            host: String::new(),
            left: false,
            asks: false,
            slots: 0,
            busy: 0,
            executed: 0,
        };
        let mut words = text.split(' ');
        words.next().filter(|word| *word == "selvedge-1")?;
        for word in words {
            let (name, value) = word.split_once('=')?;
            let hex = || u64::from_str_radix(value, 16).ok();
            match name {
                "id" => beat.id = hex()?,
                "build" => beat.identity = hex()?,
                "pid" => beat.pid = value.parse().ok()?,
                "host" => value.clone_into(&mut beat.host),
                "left" => beat.left = value == "1",
                "asks" => beat.asks = value == "1",
                "slots" => beat.slots = value.parse().ok()?,
                "busy" => beat.busy = value.parse().ok()?,
                "executed" => beat.executed = value.parse().ok()?,
                // Of a later version.
                _ => {}
            }
        }
        Some(beat)
    }
}

impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, identity, pid, host, slots, busy, executed, .. } = self;
        let (left, asks) = (u8::from(self.left), u8::from(self.asks));
        write!(
            f,
            "selvedge-1 id={id:016x} build={identity:016x} pid={pid} host={host} left={left} \
             asks={asks} slots={slots} busy={busy} executed={executed}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_read_as_it_was_written() {
        let mut beat = Beat::new(u64::MAX);
        (beat.left, beat.slots, beat.busy, beat.executed) = (true, 7, 2, 12_345_678_901);
        assert_eq!(Beat::parse(beat.to_string().as_bytes()), Some(beat));
        for bad in ["", "selvedge-2 id=1", "selvedge-1 id=x", "selvedge-1 id", "\u{ff}"] {
            assert_eq!(Beat::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
