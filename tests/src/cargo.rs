//! Cargo and other commands as steps of longer work.
//!
//! Invariant: flags of the caller never reach a build: they would mix builds of different flags, or take the place of ours.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::tools::repository;

/// Cargo, as it was started if this program was started by one.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Runs a command in the repository, into a log; whether it ended well, and what it printed.
pub fn logged(command: &mut Command, log: &Path) -> io::Result<(bool, String)> {
    let file = File::create(log)?;
    let both = file.try_clone()?;
    let status = command.current_dir(repository()).stdin(Stdio::null()).stdout(file).stderr(both).status()?;
    Ok((status.success(), String::from_utf8_lossy(&fs::read(log)?).into_owned()))
}
