//! The tables of bugs: `loom-tests/seeded/BLOCK/table.toml`, a patch a row.

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A bug, and the check that must find it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bug {
    /// The name of its patch, without `.patch`.
    pub(super) name: String,
    /// What the patch breaks, in a sentence.
    pub(super) breaks: String,
    /// Who must notice.
    pub(super) engine: Engine,
    /// The full name of the test that must fail.
    pub(super) test: String,
    /// For [`Engine::Std`] and [`Engine::Loom`]: the package of the test.
    pub(super) package: Option<String>,
    /// For the same: the arguments of cargo that select the test binary.
    pub(super) target: Option<String>,
    /// Whether the test is expected to hang, and running out of time to count
    /// as caught.
    #[serde(default)]
    pub(super) hangs: bool,
    /// Seconds that the test may take, where the usual limit is not right.
    pub(super) timeout: Option<u64>,
    /// The folder that its table is in.
    #[serde(skip)]
    pub(super) block: String,
    /// Where its patch is.
    #[serde(skip)]
    pub(super) patch: PathBuf,
}

/// What runs the test of a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// Real threads and tasks: a test binary named by the row.
    Std,
    /// The library's own tests.
    Shuttle,
    /// The models under `--cfg loom`.
    Loom,
}

/// A test binary. Bugs that share one are run one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suite {
    /// What runs it.
    pub(super) engine: Engine,
    /// The arguments of `cargo test` that select it.
    pub(super) select: Vec<String>,
}

impl Bug {
    /// `block/name`, which is what filters match.
    #[must_use]
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.block, self.name)
    }

    /// The test binary that must find it.
    #[must_use]
    pub(super) fn suite(&self) -> Suite {
        let select = match self.engine {
            Engine::Loom if self.target.is_none() => "-p loom-tests --test models".to_owned(),
            Engine::Shuttle => "-p selvedge --lib".to_owned(),
            Engine::Std | Engine::Loom => {
                let package = self.package.as_deref().unwrap_or("selvedge");
                format!("-p {package} {}", self.target.as_deref().unwrap_or_default())
            }
        };
        let select = select.split_whitespace().map(str::to_owned).collect();
        Suite { engine: self.engine, select }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    bug: Vec<Bug>,
}

/// Every bug below `folder`, in an order that rebuilds little: by suite.
///
/// # Errors
///
/// If a table cannot be read, or a row has no patch, or a patch no row.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for block in entries(folder)? {
        if block.is_dir() {
            bugs.extend(read_block(&block)?);
        }
    }
    bugs.sort_by_key(Bug::suite);
    Ok(bugs)
}

fn read_block(folder: &Path) -> Result<Vec<Bug>> {
    let path = folder.join("table.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    let mut bugs = parse(&text).with_context(|| path.display().to_string())?;
    let block = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut patches: BTreeSet<PathBuf> = entries(folder)?
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "patch"))
        .collect();
    for bug in &mut bugs {
        bug.block.clone_from(&block);
        bug.patch = folder.join(format!("{}.patch", bug.name));
        ensure!(patches.remove(&bug.patch), "{}: there is no {}", bug.id(), bug.patch.display());
    }
    if let Some(stray) = patches.first() {
        bail!("{} has no row in {}", stray.display(), path.display());
    }
    Ok(bugs)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths: Vec<PathBuf> = std::io::Result::Ok(())
        .and_then(|()| read())
        .with_context(|| folder.display().to_string())?;
    paths.sort();
    Ok(paths)
}

fn parse(text: &str) -> Result<Vec<Bug>> {
    let bugs = toml::from_str::<Table>(text)?.bug;
    let mut names = BTreeSet::new();
    for bug in &bugs {
        ensure!(names.insert(&bug.name), "two bugs are called {}", bug.name);
        let fits = match bug.engine {
            Engine::Std => bug.target.is_some(),
            Engine::Loom => bug.target.is_some() || bug.package.is_none(),
            Engine::Shuttle => bug.target.is_none() && bug.package.is_none(),
        };
        ensure!(
            fits,
            "{}: engine = \"std\" needs a `target`, \"loom\" may have one, \"shuttle\" has none; \
             `package` goes with it",
            bug.name
        );
    }
    Ok(bugs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "[[bug]]\nname = 'a'\nbreaks = 'b'\ntest = 't'\n";

    #[test]
    fn a_row_names_its_suite() {
        let suite = |more: &str| parse(&format!("{ROW}{more}")).unwrap()[0].suite();
        assert_eq!(suite("engine = 'loom'").select, ["-p", "loom-tests", "--test", "models"]);
        assert_eq!(suite("engine = 'shuttle'").select, ["-p", "selvedge", "--lib"]);
        let std = suite("engine = 'std'\ntarget = '--test queue'");
        assert_eq!(std.select, ["-p", "selvedge", "--test", "queue"]);
        let harness = suite("engine = 'loom'\npackage = 'p'\ntarget = '--test t'");
        assert_eq!(harness.select, ["-p", "p", "--test", "t"]);
        let examples = suite("engine = 'std'\npackage = 'p'\ntarget = '--bins'");
        assert_eq!(examples.select, ["-p", "p", "--bins"]);
    }

    #[test]
    fn a_row_that_says_too_little_or_too_much_is_refused() {
        for bad in [
            "",
            "engine = 'miri'",
            "engine = 'std'",
            "engine = 'shuttle'\ntarget = '--lib'",
            "engine = 'loom'\npackage = 'p'",
            "engine = 'loom'\ncolour = 'red'",
        ] {
            assert!(parse(&format!("{ROW}{bad}")).is_err(), "accepted: {bad}");
        }
        let row = format!("{ROW}engine = 'loom'\n");
        assert!(parse(&row.repeat(2)).is_err(), "accepted: two bugs of one name");
    }

    #[test]
    fn patches_and_rows_must_match() {
        let root = tempfile::tempdir().unwrap();
        let block = root.path().join("queue");
        fs::create_dir(&block).unwrap();
        let complaint = || format!("{:#}", read_all(root.path()).unwrap_err());
        assert!(complaint().contains("table.toml"));
        fs::write(block.join("table.toml"), format!("{ROW}engine = 'loom'\n")).unwrap();
        assert!(complaint().contains("queue/a: there is no"));
        fs::write(block.join("a.patch"), "").unwrap();
        assert_eq!(read_all(root.path()).unwrap()[0].id(), "queue/a");
        fs::write(block.join("b.patch"), "").unwrap();
        assert!(complaint().contains("has no row"));
    }

    #[test]
    fn bugs_come_grouped_by_suite() {
        let root = tempfile::tempdir().unwrap();
        for block in ["one", "two"] {
            let folder = root.path().join(block);
            fs::create_dir(&folder).unwrap();
            let row = |name: &str, engine: &str| {
                fs::write(folder.join(format!("{name}.patch")), "").unwrap();
                format!("[[bug]]\nname = '{name}'\nbreaks = 'b'\ntest = 't'\nengine = '{engine}'\n")
            };
            fs::write(folder.join("table.toml"), row("l", "loom") + &row("s", "shuttle")).unwrap();
        }
        let order: Vec<_> = read_all(root.path()).unwrap().iter().map(Bug::id).collect();
        assert_eq!(order, ["one/s", "two/s", "one/l", "two/l"]);
    }
}
