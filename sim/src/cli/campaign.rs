//! The standard campaign: `cargo sim` without a command.
//!
//! Invariant: its seeds are fixed, so that it is the same for everybody; only the time limit may cut it short.

use clap::Parser as _;

use super::{Cli, Command, Exit, run};

/// What it is, as a person would write it.
const STANDARD: [&str; 8] = ["sim", "run", "all", "bugs", "--seeds", "0..40", "--time", "4m"];

/// Runs it.
pub fn standard() -> Exit {
    match Cli::parse_from(STANDARD).command {
        Some(Command::Run(args)) => run::run(&args),
        other => unreachable!("{other:?} is not what the line says"),
    }
}
