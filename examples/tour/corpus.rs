//! The input: files of this machine.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files that were read.
#[derive(Debug, Clone)]
pub(crate) struct Corpus {
    from: String,
    pub(crate) files: Vec<File>,
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

/// Larger files are left out.
const LARGEST: u64 = 256 << 10;
/// Folders within folders are followed so far.
const DEEPEST: usize = 12;

impl Corpus {
    /// The first `most` files of these folders that can be read, in order of
    /// their names; made up if there are none.
    pub(crate) fn load(folders: &[PathBuf], most: usize) -> Self {
        let mut files = Vec::new();
        for folder in folders {
            walk(folder, most, DEEPEST, &mut files);
        }
        if files.is_empty() {
            return Self {
                from: "made up".to_owned(),
                files: (0..most.max(1)).map(made_up).collect(),
            };
        }
        let folders: Vec<_> = folders.iter().map(|it| it.display().to_string()).collect();
        Self { from: folders.join(", "), files }
    }

    /// Puts another file in front.
    pub(crate) fn spoil(&mut self) {
        let file = File { path: "/spoilt.by7".to_owned(), bytes: b"a\nb\nc\nd".to_vec() };
        self.files.insert(0, file);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.bytes.len()).sum()
    }
}

impl File {
    pub(crate) fn size(&self) -> i64 {
        i64::try_from(self.bytes.len()).expect("no larger than LARGEST")
    }

    /// FNV-1a.
    pub(crate) fn hash(&self) -> u64 {
        self.bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

impl fmt::Display for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = self.bytes() >> 10;
        write!(f, "{} files, {kib} KiB ({})", self.files.len(), self.from)
    }
}

fn walk(folder: &Path, most: usize, deeper: usize, files: &mut Vec<File>) {
    // What may not be looked at is not there.
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    for path in paths {
        if files.len() >= most {
            return;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() && deeper > 0 {
            walk(&path, most, deeper - 1, files);
        } else if metadata.is_file()
            && metadata.len() <= LARGEST
            && let Ok(Some(bytes)) = read(&path)
        {
            files.push(File { path: path.display().to_string(), bytes });
        }
    }
}

fn made_up(number: usize) -> File {
    let path = format!("/made/up/{number}.{}", ["txt", "rs", "md"][number % 3]);
    let bytes = format!("line of file {number}\n").repeat(number % 50).into_bytes();
    File { path, bytes }
}

/// All of the file, unless it is larger than it says, as those of `/proc` are:
/// some have no end.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok((read as u64 <= LARGEST).then_some(bytes))
}
