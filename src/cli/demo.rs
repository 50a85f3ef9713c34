//! `evenkeel demo`: three backends, the balancer before them, and what to try.

use std::net::SocketAddr;

use structopt::StructOpt;

use crate::config::Config;
use crate::control::shutdown::BySignal;
use crate::demo::{self, Backend};
use crate::exit;
use crate::server::{Prepared, Sockets};

#[derive(Debug, StructOpt)]
pub struct Demo {
    /// Where the balancer listens
    #[structopt(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
}

/// Where the backends of the demonstration listen.
const BACKENDS: [(&str, u16); 3] = [("one", 9001), ("two", 9002), ("three", 9003)];

pub fn run(options: &Demo) -> i32 {
    match start(&options.listen) {
        Ok(()) => exit::OK,
        Err(why) => {
            complain!("error: {why}");
            exit::START
        }
    }
}

fn start(listen: &str) -> Result<(), String> {
    let mut addresses = Vec::new();
    for (name, port) in BACKENDS {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        demo::start(Backend::new(name, address))
            .map_err(|error| format!("backend `{name}` cannot listen on {address}: {error}"))?;
        addresses.push(address.to_string());
    }
    let mut config = Config::quick(listen, &addresses)?;
    config.server.pid_file = String::new();
    // Quick to notice, since somebody is watching.
    for check in config.upstreams.iter_mut().filter_map(|upstream| upstream.health_check.as_mut()) {
        check.interval = std::time::Duration::from_secs(1);
    }
    let admin = config.admin.as_ref().map(|admin| admin.address.to_string()).unwrap_or_default();
    let prepared = Prepared::new(config, None, Sockets::Bind).map_err(|error| error.to_string())?;
    print_what_to_try(listen, &admin);
    prepared.run(|ending, _| BySignal(ending)).map_err(|error| error.to_string())
}

fn print_what_to_try(listen: &str, admin: &str) {
    say!("evenkeel demo");
    say!("");
    say!("  balancer   http://{listen}/");
    for (name, port) in BACKENDS {
        say!("  backend    http://127.0.0.1:{port}/   ({name})");
    }
    say!("  dashboard  http://{admin}/");
    say!("  readiness  http://{admin}/readyz");
    say!("  metrics    http://{admin}/metrics");
    say!("");
    say!("Try, in another terminal:");
    say!("  for i in 1 2 3 4 5 6; do curl -s http://{listen}/; done      # each backend in turn");
    say!(
        "  curl -s 'http://127.0.0.1:9002/control?die=20'; curl -i http://{listen}/   # kill one for 20 s: nobody notices"
    );
    say!("  curl -s 'http://127.0.0.1:9003/control?slow=800&fail=503'; curl -i http://{listen}/   # slow and failing");
    say!("  curl -s 'http://127.0.0.1:9003/control'                      # and well again");
    say!(
        "  curl -s -X POST http://{admin}/api/v1/upstreams/app/backends/127.0.0.1:9001/drain   # no new requests; `enable` ends it"
    );
    say!("");
    say!("Ctrl-C ends it. One line per request follows:");
}
