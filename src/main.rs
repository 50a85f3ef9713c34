//! The program: its allocator and its exit code. Everything else is in the library.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // No pages of 2 MiB that the system makes of small ones minutes later: memory would grow though nothing more is in use. A system that
    // cannot refuse them is as it is.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    std::process::exit(evenkeel::cli::main());
}
