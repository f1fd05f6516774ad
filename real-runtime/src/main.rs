//! The `seedmq` command.
//!
//! Invariant: the exit status is 0 for success, 1 for failure, 2 for wrong usage or configuration; a panic anywhere ends the
//! process at once with 1, so that it is never half alive.

#[cfg(not(madsim))]
mod cli;

#[cfg(not(madsim))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(madsim)]
fn main() {
    eprintln!("this binary was built for the simulator (--cfg madsim); build it without");
    std::process::exit(2);
}
