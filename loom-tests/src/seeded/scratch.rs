//! A copy of the source to put bugs into.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The copy. It is outside the tree and goes away when this is dropped.
///
/// Its files are newer than anything built from an earlier copy, and a file
/// that is put back is newer than what was built from the bug: cargo goes by
/// that.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
}

/// The files that a patch changed, as they were; `None` where there was none.
#[derive(Debug)]
#[must_use = "a bug stays in the copy until it is reverted"]
pub(super) struct Applied(BTreeMap<PathBuf, Option<Vec<u8>>>);

/// Failures that proptest remembers: one bug must not be caught by a seed that
/// another left behind.
const SEEDS: &str = "proptest-regressions";

impl Scratch {
    /// Copies the source at `root`: what git tracks or would track, else
    /// everything but build output.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written.
    pub(super) fn copy_of(root: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("selvedge-seeded-").tempdir()?;
        for file in source_files(root)? {
            let (from, to) = (root.join(&file), folder.path().join(&file));
            // Tracked files may have been deleted; a link to a folder is not source.
            if from.is_file() {
                fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
                fs::copy(&from, &to).with_context(|| from.display().to_string())?;
            }
        }
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the patch still fits the source; else what git says.
    ///
    /// # Errors
    ///
    /// If git cannot be run, or the patch does not fit.
    pub(super) fn fits(&self, patch: &Path) -> Result<()> {
        self.git_apply(&["--check"], patch).map(|_| ())
    }

    /// Puts a bug in.
    ///
    /// # Errors
    ///
    /// If the patch does not apply.
    pub(super) fn apply(&self, patch: &Path) -> Result<Applied> {
        let numbers = self.git_apply(&["--numstat", "-z"], patch)?.stdout;
        let numbers = String::from_utf8(numbers).context("paths are UTF-8")?;
        let touched = numbers.split('\0').filter_map(|row| row.splitn(3, '\t').nth(2));
        let mut before = BTreeMap::new();
        for file in touched.map(PathBuf::from).chain(self.seeds()?) {
            let bytes = read_if_there(&self.path().join(&file))?;
            before.insert(file, bytes);
        }
        self.git_apply(&[], patch)?;
        Ok(Applied(before))
    }

    /// Takes the bug out again, and what its test left behind.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub(super) fn revert(&self, bug: Applied) -> Result<()> {
        for file in self.seeds()?.into_iter().filter(|file| !bug.0.contains_key(file)) {
            fs::remove_file(self.path().join(file))?;
        }
        for (file, bytes) in bug.0 {
            let path = self.path().join(&file);
            match bytes {
                Some(bytes) => fs::write(&path, bytes),
                None => fs::remove_file(&path),
            }
            .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn seeds(&self) -> Result<Vec<PathBuf>> {
        match fs::read_dir(self.path().join(SEEDS)) {
            Ok(entries) => {
                entries.map(|entry| Ok(Path::new(SEEDS).join(entry?.file_name()))).collect()
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn git_apply(&self, how: &[&str], patch: &Path) -> Result<Output> {
        let output = Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .args(how)
            .arg(patch)
            .current_dir(self.path())
            // Inside somebody's repository `git apply` would skip what that
            // repository does not hold, and say nothing.
            .env("GIT_CEILING_DIRECTORIES", self.path().parent().unwrap_or(Path::new("/")))
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .output()
            .context("git cannot be run")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", said.trim());
        Ok(output)
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn source_files(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    if let Ok(output) = listed
        && output.status.success()
    {
        let listed = String::from_utf8(output.stdout).context("paths are UTF-8")?;
        let files: Vec<_> = listed.split_terminator('\0').map(PathBuf::from).collect();
        // A repository further up may ignore this folder.
        if files.iter().any(|file| file == Path::new("Cargo.toml")) {
            return Ok(files);
        }
    }
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    Ok(files)
}

fn walk(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            files.push(path);
        } else if entry.file_name() != ".git" && !entry.path().join("CACHEDIR.TAG").exists() {
            walk(root, &path, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDIT: &str =
        "--- a/src/lib.rs\n+++ b/src/lib.rs\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
    const ADD: &str = "diff --git a/src/new.rs b/src/new.rs\nnew file mode 100644\n\
        --- /dev/null\n+++ b/src/new.rs\n@@ -0,0 +1 @@\n+new\n";

    fn write(root: &Path, path: &str, text: &str) -> PathBuf {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn tree() -> TempDir {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "Cargo.toml", "");
        write(root.path(), "src/lib.rs", "one\ntwo\nthree\n");
        write(root.path(), "proptest-regressions/wait.txt", "old\n");
        root
    }

    fn files(scratch: &Scratch) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        walk(scratch.path(), Path::new(""), &mut files).unwrap();
        files.sort();
        let read = |path: &PathBuf| fs::read_to_string(scratch.path().join(path)).unwrap();
        files.iter().map(|path| (path.clone(), read(path))).collect()
    }

    #[test]
    fn a_bug_goes_in_and_comes_out_with_all_it_left_behind() {
        let (root, patches) = (tree(), tempfile::tempdir().unwrap());
        let scratch = Scratch::copy_of(root.path()).unwrap();
        let before = files(&scratch);
        let patch = write(patches.path(), "a.patch", &format!("{EDIT}{ADD}"));
        scratch.fits(&patch).unwrap();
        assert_eq!(files(&scratch), before, "only looking changes nothing");

        let bug = scratch.apply(&patch).unwrap();
        assert_eq!(
            fs::read_to_string(scratch.path().join("src/lib.rs")).unwrap(),
            "one\n2\nthree\n"
        );
        assert!(scratch.path().join("src/new.rs").exists());
        write(scratch.path(), "proptest-regressions/wait.txt", "old\na seed of this bug\n");
        write(scratch.path(), "proptest-regressions/queue.txt", "another\n");
        scratch.revert(bug).unwrap();
        assert_eq!(files(&scratch), before);
    }

    #[test]
    fn a_patch_that_does_not_fit_changes_nothing() {
        let (root, patches) = (tree(), tempfile::tempdir().unwrap());
        let scratch = Scratch::copy_of(root.path()).unwrap();
        let before = files(&scratch);
        let stale = EDIT.replace("-two", "-zwei");
        let patch = write(patches.path(), "a.patch", &format!("{ADD}{stale}"));
        assert!(scratch.fits(&patch).is_err());
        assert!(scratch.apply(&patch).is_err());
        assert_eq!(files(&scratch), before);
    }

    #[test]
    fn build_output_and_history_stay_behind() {
        let root = tree();
        write(root.path(), "target/CACHEDIR.TAG", "");
        write(root.path(), "target/debug/big", "");
        write(root.path(), ".git/HEAD", "");
        let scratch = Scratch::copy_of(root.path()).unwrap();
        let names: Vec<_> = files(&scratch).into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            names,
            ["Cargo.toml", "proptest-regressions/wait.txt", "src/lib.rs"].map(PathBuf::from)
        );
    }

    #[test]
    fn in_a_repository_only_what_it_does_not_ignore_is_copied() {
        let root = tree();
        write(root.path(), ".gitignore", "/secret\n");
        write(root.path(), "secret", "");
        let git = Command::new("git").args(["init", "-q"]).current_dir(root.path()).status();
        assert!(git.unwrap().success());
        let scratch = Scratch::copy_of(root.path()).unwrap();
        assert!(scratch.path().join("src/lib.rs").exists());
        assert!(!scratch.path().join("secret").exists());
        assert!(!scratch.path().join(".git").exists());
    }
}
