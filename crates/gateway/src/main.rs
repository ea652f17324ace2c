//! The `pointsman` binary.
#![forbid(unsafe_code)]

/// Small objects by the thousand, on threads that free what they allocate: what mimalloc is made
/// for. It also builds without fuss for static binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pointsman_gateway::cli::main()
}
