//! `cargo sim`: runs seeded failure scenarios, replays them, hunts planted bugs, and judges histories.
//!
//! Invariant: this program decides nothing about a run; it starts worker processes of itself and reports what they say.

mod cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
