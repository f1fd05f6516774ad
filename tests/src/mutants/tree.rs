//! A copy of the working tree to change, and its builds of the simulator.
//!
//! Invariant: a file of the copy is written only when it differs, so that cargo builds again what changed and nothing else; the working
//! tree is never written to.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::draw::Mutant;
use super::patch;

/// How the simulator is built: as `cargo sim` does.
const BUILD: [&str; 11] = [
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
];

/// What a change makes to be built anew. Optimised less it is built faster, and runs fewer seeds in the time that there is.
const OURS: [&str; 4] = ["seedmq-core", "seedmq", "seedmq-sim", "seedmq-reports"];

/// The copy, below the target directory.
#[derive(Debug)]
pub struct Tree {
    home: PathBuf,
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
    /// Brings the copy in `home` to the state of the working tree, whatever an earlier use left there.
    pub fn of(repository: &Path, home: &Path) -> Result<Tree, String> {
        let tree = home.join("tree");
        fs::create_dir_all(&tree).map_err(told(&tree))?;
        let (mut digest, mut kept) = (blake3::Hasher::new(), BTreeSet::new());
        for path in sources(repository)? {
            let from = repository.join(&path);
            let bytes = match fs::read(&from) {
                Ok(bytes) => bytes,
                // Deleted, and git was not told yet.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(told(&from)(error)),
            };
            for part in [path.as_bytes(), &bytes] {
                digest.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            put(&tree.join(&path), &bytes)?;
            kept.insert(tree.join(&path));
        }
        prune(&tree, &kept)?;
        Ok(Tree { home: home.to_owned(), digest: digest.finalize().to_hex()[..16].to_owned() })
    }

    /// Its root.
    pub fn root(&self) -> PathBuf {
        self.home.join("tree")
    }

    /// Changes one place for as long as the returned value lives.
    pub fn change(&self, mutant: &Mutant) -> Result<Changed, String> {
        let path = self.root().join(&mutant.file);
        let text = fs::read_to_string(&path).map_err(told(&path))?;
        let changed = patch::apply(&text, &mutant.diff).map_err(|why| format!("{}: {why}", mutant.name))?;
        put(&path, changed.as_bytes())?;
        Ok(Changed { path, text })
    }

    /// Builds the simulator from it, and puts the program to `program`.
    pub fn build(&self, program: &Path) -> Result<Built, String> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Flags of the caller would be those of another build.
        command.args(BUILD).args(
            OURS.iter().flat_map(|name| ["--config".to_owned(), format!("profile.release.package.{name}.opt-level=1")]),
        );
        command
            .args(["--config", "profile.release.debug=false"])
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
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

/// A changed place; its end brings the old text back.
#[derive(Debug)]
pub struct Changed {
    path: PathBuf,
    text: String,
}

impl Drop for Changed {
    fn drop(&mut self) {
        // If this fails, the next use of the copy finds the difference.
        drop(put(&self.path, self.text.as_bytes()));
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
        let tree = Tree::of(&repository, &home).unwrap();
        let copied = |name: &str| fs::read_to_string(home.join("tree").join(name)).ok();
        assert_eq!((copied("core/b.rs").as_deref(), copied("out")), (Some("b\n"), None));
        let written = |name: &str| fs::metadata(home.join("tree").join(name)).unwrap().modified().unwrap();
        let before = written("core/a.rs");

        let diff = "--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n".to_owned();
        let mutant = Mutant { name: "core/a.rs:2:1: …".into(), file: "core/a.rs".into(), function: None, diff };
        let changed = tree.change(&mutant).unwrap();
        assert_eq!(copied("core/a.rs").as_deref(), Some("one\n2\n"));
        drop(changed);
        assert_eq!(copied("core/a.rs").as_deref(), Some("one\ntwo\n"));

        fs::remove_file(repository.join("core/b.rs")).unwrap();
        fs::write(home.join("tree/core/a.rs"), "left by a run that died\n").unwrap();
        let again = Tree::of(&repository, &home).unwrap();
        assert_eq!((copied("core/a.rs").as_deref(), copied("core/b.rs")), (Some("one\ntwo\n"), None));
        assert_ne!(tree.digest, again.digest, "a file less is another state");
        let rewritten = written("core/a.rs");
        assert!(rewritten >= before);
        Tree::of(&repository, &home).unwrap();
        assert_eq!(written("core/a.rs"), rewritten, "what is as it should be is not written again");
    }
}
