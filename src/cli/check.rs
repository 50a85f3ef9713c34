//! `evenkeel check` and `-t`: every problem of the file, and whether this machine can run it.

use super::{Options, report};
use crate::{config, exit, snapshot};

pub fn run(options: &Options) -> i32 {
    let path = options.path();
    let config = match config::load(&path) {
        Ok(config) => config,
        Err(error) => return report(&error),
    };
    // Certificates and names are part of the answer; sockets and logs are left alone.
    match snapshot::compile(&config, None, None) {
        Ok(_) => {
            println!("{}: fine", path.display());
            exit::OK
        }
        Err(error) => {
            eprintln!("error: {error}");
            exit::PROBLEMS
        }
    }
}
