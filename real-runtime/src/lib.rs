//! SeedMQ as real processes: the driver, the network, the disk, configuration and the client API.

#[cfg(not(madsim))]
pub mod config;
pub mod driver;
#[cfg(not(madsim))]
pub mod real;
