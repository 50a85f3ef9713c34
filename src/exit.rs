//! Exit codes of the program. Scripts rely on them.

/// All is well.
pub const OK: i32 = 0;
/// The configuration has problems.
pub const PROBLEMS: i32 = 1;
/// The configuration, or the command line, cannot be read.
pub const UNREADABLE: i32 = 2;
/// The machine said no: an address is taken, a certificate missing, a user unknown.
pub const START: i32 = 3;
