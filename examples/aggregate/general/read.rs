//! What an input is read through: patience, decompression, its header.

use super::record::{Column, Cut};
use selvedge::pipeline::Input;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Columns that are named by the first line of an input.
#[derive(Debug)]
pub(crate) struct Header {
    cut: Cut,
    wanted: Vec<Column>,
    /// Where they are: known before the first line comes out of any input.
    found: OnceLock<Vec<Column>>,
}

/// A header that is longer is none.
const LONGEST: usize = 1 << 20;

impl Header {
    pub(crate) fn new(cut: Cut, wanted: Vec<Column>) -> Self {
        Self { cut, wanted, found: OnceLock::new() }
    }

    pub(crate) fn columns(&self) -> &[Column] {
        self.found.get().map_or(&[], Vec::as_slice)
    }

    fn read(&self, line: &[u8]) -> Result<(), String> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let names = self.cut.fields(line).map_err(|reason| format!("its header: {reason}"))?;
        let find = |column: &Column| match column {
            Column::At(_) => Ok(column.clone()),
            Column::Named(wanted) => {
                let at = names.iter().position(|name| name.trim_ascii() == wanted.as_bytes());
                at.map(Column::At).ok_or_else(|| format!("its header has no column {wanted:?}"))
            }
        };
        let columns = self.wanted.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        if *self.found.get_or_init(|| columns.clone()) == columns {
            Ok(())
        } else {
            Err("its columns are elsewhere than in the inputs before".to_owned())
        }
    }
}

/// A file, or standard input without a path.
pub(crate) fn input(path: Option<PathBuf>, header: Option<Arc<Header>>) -> Input {
    let name = path.as_ref().map(|path| path.display().to_string());
    let name = name.unwrap_or_else(|| "standard input".to_owned());
    Input::reader(&name, Through { at: At::Closed(path), header })
}

struct Through {
    at: At,
    header: Option<Arc<Header>>,
}

enum At {
    Closed(Option<PathBuf>),
    /// Its first bytes say whether it is compressed.
    First(Patient, Vec<u8>),
    /// Its first line is its header.
    Header(Box<dyn Read + Send>, Vec<u8>),
    Open(Box<dyn Read + Send>),
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// `None` if that takes more bytes.
fn decoder(head: &[u8], ended: bool) -> Option<&'static [u8]> {
    let magic =
        [GZIP, ZSTD].into_iter().find(|magic| magic.starts_with(head) || head.starts_with(magic));
    match magic {
        Some(magic) if head.starts_with(magic) => Some(magic),
        Some(_) if !ended => None,
        _ => Some(&[]),
    }
}

impl Through {
    fn open(&self, path: Option<&PathBuf>) -> io::Result<Patient> {
        match path {
            Some(path) => Ok(Patient(File::open(path)?)),
            None => Patient::stdin(),
        }
    }

    fn decode(&self, magic: &[u8], head: Vec<u8>, file: Patient) -> io::Result<At> {
        let whole = Cursor::new(head).chain(file);
        let reader: Box<dyn Read + Send> = match magic {
            GZIP => Box::new(flate2::read::MultiGzDecoder::new(whole)),
            ZSTD => Box::new(zstd::stream::read::Decoder::new(whole)?),
            _ => Box::new(whole),
        };
        Ok(if self.header.is_some() { At::Header(reader, Vec::new()) } else { At::Open(reader) })
    }
}

impl Read for Through {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.at = match &mut self.at {
                At::Open(reader) => return reader.read(bytes),
                At::Closed(path) => {
                    let path = path.take();
                    At::First(self.open(path.as_ref())?, Vec::new())
                }
                At::First(file, head) => {
                    let mut byte = [0];
                    let read = file.read(&mut byte)?;
                    head.extend_from_slice(&byte[..read]);
                    let Some(magic) = decoder(head, read == 0) else { continue };
                    let At::First(file, head) = std::mem::replace(&mut self.at, At::Closed(None))
                    else {
                        continue;
                    };
                    self.decode(magic, head, file)?
                }
                At::Header(reader, line) => {
                    let mut byte = [0];
                    let read = reader.read(&mut byte)?;
                    line.extend_from_slice(&byte[..read]);
                    if read > 0 && byte != *b"\n" && line.len() < LONGEST {
                        continue;
                    }
                    let At::Header(reader, line) =
                        std::mem::replace(&mut self.at, At::Closed(None))
                    else {
                        continue;
                    };
                    if let Some(header) = self.header.as_ref().filter(|_| !line.is_empty()) {
                        header.read(&line).map_err(io::Error::other)?;
                    }
                    At::Open(Box::new(Cursor::new(line).chain(reader)))
                }
            };
        }
    }
}

/// A file that hands the turn back while there is nothing to read, as
/// [`io::ErrorKind::Interrupted`]: the run looks whether to stop then.
struct Patient(File);

impl Patient {
    #[cfg(unix)]
    fn stdin() -> io::Result<Self> {
        use std::os::fd::AsFd;
        Ok(Self(File::from(io::stdin().as_fd().try_clone_to_owned()?)))
    }

    #[cfg(not(unix))]
    fn stdin() -> io::Result<Self> {
        Err(io::Error::other("give it as a file"))
    }
}

impl Read for Patient {
    #[cfg(target_os = "linux")]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const WHILE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&WHILE))? == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.0.read(bytes)
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}
