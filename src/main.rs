//! The program: its allocator and its exit code. Everything else is in the library.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    std::process::exit(evenkeel::cli::main());
}
