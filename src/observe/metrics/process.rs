//! What the kernel knows about this process.
//!
//! Invariant: a value that cannot be read is absent, never 0.
//!
//! Deliberately absent: CPU time, which whoever runs the process has from its container or unit.

use std::fs;

/// Memory that is in RAM, in bytes, from `/proc/self/status`.
pub fn resident_memory_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Descriptors that are open, without the one that the counting itself opens.
pub fn open_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    (entries.count() as u64).checked_sub(1)
}

fn resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_found_among_the_lines_of_the_kernel() {
        let status = "Name:\tevenkeel\nVmHWM:\t   99999 kB\nVmRSS:\t   25312 kB\nThreads:\t3\n";
        assert_eq!(resident(status), Some(25_312 * 1024));
    }

    #[test]
    fn a_text_without_the_value_gives_none() {
        for status in ["", "VmRSS:", "VmRSS:\t12", "VmRSS:\t-1 kB", "VmRSS:\t18446744073709551615 kB"] {
            assert_eq!(resident(status), None, "{status}");
        }
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        assert!(resident_memory_bytes().unwrap() > 100_000);
        assert!(open_fds().unwrap() >= 3);
    }
}
