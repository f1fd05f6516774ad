//! What a send costs the server: load from this process on an echo node in it (the driver alone), or on a broker elsewhere.
//!
//! `cargo run --release -p seedmq --example send_load -- [CONNECTIONS] [IN_FLIGHT] [BODY_BYTES] [SECONDS] [BROKER PID]`

#[cfg(not(madsim))]
mod load;

fn main() {
    #[cfg(not(madsim))]
    load::run();
    #[cfg(madsim)]
    panic!("the cost of a send is that of real sockets: build it without --cfg madsim");
}
