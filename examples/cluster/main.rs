//! Totals `key:value` lines per key on the machines of a cluster.
//!
//! ```text
//! cluster worker nats://10.0.0.1/totals          # on each machine
//! cluster aggregate --cluster nats://10.0.0.1/totals FILE…
//! cluster status nats://10.0.0.1/totals
//! ```

#[cfg(all(target_os = "linux", not(loom)))]
mod blocks;
#[cfg(all(target_os = "linux", not(loom)))]
mod cli;
#[cfg(all(target_os = "linux", not(loom)))]
mod totals;

/// There are no clusters here.
#[cfg(not(all(target_os = "linux", not(loom))))]
fn main() {}

#[cfg(all(target_os = "linux", not(loom)))]
fn main() -> std::process::ExitCode {
    cli::main()
}
