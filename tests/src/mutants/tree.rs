//! A copy of the working tree to change, and its builds of the simulator.
//!
//! Invariant: a file of the copy is written only when it differs, so that cargo builds again what changed and nothing else; the working
//! tree is never written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::draw::Mutant;
use super::patch;
use crate::cargo::cargo;

/// How the simulator is built: as `cargo sim` does.
const BUILD: [&str; 13] = [
    "build",
    "--release",
    "--package",
    "seedmq-sim",
    "--bin",
    "sim",
    "--config",
    "build.rustflags=['--cfg','madsim']",
    "--target-dir",
    "../target",
    "--quiet",
    "--message-format",
    "short",
];

/// What a change makes to be built anew. Optimised less it is built faster, and runs fewer seeds in the time that there is.
const OURS: [&str; 4] = ["seedmq-core", "seedmq", "seedmq-sim", "seedmq-reports"];

/// The copy, below the target directory.
#[derive(Debug)]
pub struct Tree {
    home: PathBuf,
    /// What the working tree holds.
    files: BTreeMap<String, Vec<u8>>,
    /// What tells this state of the sources from others.
    pub digest: String,
}

/// What cargo made of a tree.
#[derive(Debug, PartialEq, Eq)]
pub enum Built {
    /// A simulator.
    Program,
    /// Nothing: the errors of the compiler.
    Not(String),
}

fn told(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Writes a file if it is not so already.
fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let folder = path.parent().expect("a file of the copy lies in a folder");
    fs::create_dir_all(folder).and_then(|()| fs::write(path, bytes)).map_err(told(path))
}

/// Files that git knows or would add, from the root of the repository.
fn sources(repository: &Path) -> Result<Vec<String>, String> {
    let words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let out = Command::new("git").args(words).current_dir(repository).output();
    let out = out.map_err(|error| format!("git could not be started: {error}"))?;
    if !out.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&out.stderr).trim_end()));
    }
    let all = String::from_utf8_lossy(&out.stdout);
    Ok(all.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// Removes what is in a folder and in none of these files' places.
fn prune(folder: &Path, keep: &BTreeSet<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(told(folder))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            prune(&path, keep)?;
        } else if !keep.contains(&path) {
            fs::remove_file(&path).map_err(told(&path))?;
        }
    }
    Ok(())
}

impl Tree {
    /// Reads the working tree, for a copy in `home`.
    pub fn of(repository: &Path, home: &Path) -> Result<Tree, String> {
        let (mut digest, mut files) = (blake3::Hasher::new(), BTreeMap::new());
        for path in sources(repository)? {
            let from = repository.join(&path);
            let bytes = match fs::read(&from) {
                Ok(bytes) => bytes,
                // Deleted, and git was not told yet.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(told(&from)(error)),
            };
            // Words for people change nothing.
            for part in [path.as_bytes(), &bytes].into_iter().filter(|_| !path.ends_with(".md")) {
                digest.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            files.insert(path, bytes);
        }
        Ok(Tree { home: home.to_owned(), files, digest: digest.finalize().to_hex()[..16].to_owned() })
    }

    /// A file of the working tree.
    pub fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.files.get(path)?).ok()
    }

    /// Brings the copy to the state of the working tree but for these files, whatever an earlier use left there.
    pub fn put(&self, changed: &BTreeMap<String, String>) -> Result<(), String> {
        let root = self.root();
        fs::create_dir_all(&root).map_err(told(&root))?;
        for (path, bytes) in &self.files {
            put(&root.join(path), changed.get(path).map_or(bytes.as_slice(), String::as_bytes))?;
        }
        prune(&root, &self.files.keys().map(|path| root.join(path)).collect())
    }

    /// Its root.
    pub fn root(&self) -> PathBuf {
        self.home.join("tree")
    }

    /// Brings the copy to the working tree with one change.
    pub fn put_one(&self, mutant: &Mutant) -> Result<(), String> {
        let text = self.text(&mutant.file).ok_or_else(|| format!("{} is not there", mutant.file))?;
        let changed = patch::apply(text, &mutant.diff).map_err(|why| format!("{}: {why}", mutant.name))?;
        self.put(&BTreeMap::from([(mutant.file.clone(), changed)]))
    }

    /// Builds the simulator from it, and puts the program to `program`.
    pub fn build(&self, program: &Path) -> Result<Built, String> {
        let mut command = cargo();
        command.args(BUILD).args(
            OURS.iter().flat_map(|name| ["--config".to_owned(), format!("profile.release.package.{name}.opt-level=1")]),
        );
        command.args(["--config", "profile.release.debug=false"]);
        let out = command.current_dir(self.root()).stdin(Stdio::null()).output();
        let out = out.map_err(|error| format!("cargo could not be started: {error}"))?;
        if !out.status.success() {
            return Ok(Built::Not(String::from_utf8_lossy(&out.stderr).into_owned()));
        }
        let made = self.home.join("target/release/sim");
        fs::copy(&made, program).map_err(told(&made))?;
        Ok(Built::Program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path) {
        assert!(Command::new("git").args(["init", "-q"]).current_dir(folder).status().unwrap().success());
    }

    #[test]
    fn the_copy_follows_the_working_tree_and_a_change_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (repository, home) = (folder.path().join("repository"), folder.path().join("scratch"));
        fs::create_dir_all(repository.join("core")).unwrap();
        git(&repository);
        for (name, text) in [("core/a.rs", "one\ntwo\n"), ("core/b.rs", "b\n"), (".gitignore", "/out\n"), ("out", "")] {
            fs::write(repository.join(name), text).unwrap();
        }
        let unchanged = || {
            let tree = Tree::of(&repository, &home).unwrap();
            tree.put(&BTreeMap::new()).unwrap();
            tree
        };
        let tree = unchanged();
        let copied = |name: &str| fs::read_to_string(home.join("tree").join(name)).ok();
        assert_eq!((copied("core/b.rs").as_deref(), copied("out")), (Some("b\n"), None));

        let mutant = serde_json::json!([{
            "name": "core/a.rs:2:1: …", "file": "core/a.rs", "function": null, "genre": "FnValue", "replacement": "2",
            "span": {"start": {"line": 2, "column": 1}, "end": {"line": 2, "column": 4}},
            "diff": "--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n",
        }]);
        let mutants = crate::mutants::draw::parse(&mutant.to_string()).unwrap();
        tree.put_one(&mutants[0]).unwrap();
        assert_eq!(copied("core/a.rs").as_deref(), Some("one\n2\n"));

        fs::remove_file(repository.join("core/b.rs")).unwrap();
        let again = unchanged();
        assert_eq!((copied("core/a.rs").as_deref(), copied("core/b.rs")), (Some("one\ntwo\n"), None));
        assert_ne!(tree.digest, again.digest, "a file less is another state");
        let written = || fs::metadata(home.join("tree/core/a.rs")).unwrap().modified().unwrap();
        let before = written();
        unchanged();
        assert_eq!(written(), before, "what is as it should be is not written again");
    }
}
