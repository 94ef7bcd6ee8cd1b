//! Files as blocks of whole lines.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};

/// About how long a block is.
const BLOCK: usize = 512 << 10;

/// A block, and whose.
pub(crate) struct Block {
    /// The number of its input.
    pub(crate) input: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The blocks of files in turn. One that cannot be read ends there, and is
/// noted.
pub(crate) struct Blocks<'a> {
    files: &'a [OsString],
    /// The number of the input that is read, and its reader.
    now: Option<(usize, Box<dyn Read>)>,
    next: usize,
    /// What is behind the last whole line.
    rest: Vec<u8>,
    pub(crate) unreadable: &'a mut Vec<(usize, io::Error)>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(files: &'a [OsString], unreadable: &'a mut Vec<(usize, io::Error)>) -> Self {
        Self { files, now: None, next: 0, rest: Vec::new(), unreadable }
    }

    fn open(&mut self) -> Option<()> {
        while self.now.is_none() {
            let at = self.next;
            let file = self.files.get(at)?;
            self.next += 1;
            let opened: io::Result<Box<dyn Read>> = match file.to_str() {
                Some("-") => Ok(Box::new(io::stdin())),
                _ => File::open(file).map(|file| Box::new(file) as _),
            };
            match opened {
                Ok(reader) => self.now = Some((at, reader)),
                Err(error) => self.unreadable.push((at, error)),
            }
        }
        Some(())
    }
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        loop {
            self.open()?;
            let (input, reader) = self.now.as_mut()?;
            let input = *input;
            let mut bytes = std::mem::take(&mut self.rest);
            // A line may be longer than a block.
            let mut whole = None;
            let ended = loop {
                let from = bytes.len();
                match reader.take(BLOCK as u64).read_to_end(&mut bytes) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    // What was read of the last line is left out.
                    Err(error) => {
                        self.unreadable.push((input, error));
                        let lines = bytes.iter().rposition(|byte| *byte == b'\n');
                        bytes.truncate(lines.map_or(0, |at| at + 1));
                        break true;
                    }
                }
                let line = bytes[from..].iter().rposition(|byte| *byte == b'\n');
                if let Some(at) = line {
                    whole = Some(from + at + 1);
                    break false;
                }
            };
            if ended {
                self.now = None;
            } else if let Some(whole) = whole {
                self.rest = bytes.split_off(whole);
            }
            if !bytes.is_empty() {
                return Some(Block { input, bytes });
            }
        }
    }
}
