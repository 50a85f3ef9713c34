//! What commands say, on standard output and standard error.
//!
//! Invariant: whoever stops reading (`evenkeel check | head`) makes no command fail: its exit code is that of what it did.

use std::fmt::Arguments;
use std::io::Write;

/// A line on standard output.
macro_rules! say {
    ($($words:tt)*) => { crate::cli::print::line(std::io::stdout(), format_args!($($words)*)) };
}

/// A text that ends its own lines, on standard output.
macro_rules! say_whole {
    ($($words:tt)*) => { crate::cli::print::whole(std::io::stdout(), format_args!($($words)*)) };
}

/// A line on standard error.
macro_rules! complain {
    ($($words:tt)*) => { crate::cli::print::line(std::io::stderr(), format_args!($($words)*)) };
}

/// A text that ends its own lines, on standard error.
macro_rules! complain_whole {
    ($($words:tt)*) => { crate::cli::print::whole(std::io::stderr(), format_args!($($words)*)) };
}

/// What the macros for lines do.
pub fn line(to: impl Write, words: Arguments<'_>) {
    whole(to, format_args!("{words}\n"));
}

/// What the macros for whole texts do.
pub fn whole(mut to: impl Write, words: Arguments<'_>) {
    // Nobody is left to be told.
    drop(to.write_fmt(words));
}
