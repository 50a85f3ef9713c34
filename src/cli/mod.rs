//! The command line. Every command is a file of its own.

#[macro_use]
mod print;

mod api;
mod backend;
mod check;
mod demo;
mod explain;
mod operate;
mod plan;
mod reload;
mod run;
mod status;
mod test;

use std::path::{Path, PathBuf};

use structopt::StructOpt;
use structopt::clap::AppSettings;

use crate::config::{self, Colour, Config, LoadError, Origin};
use crate::exit;

/// What is run where no file is named.
const LOCAL_FILE: &str = "conf/evenkeel.yaml";
const SYSTEM_FILE: &str = "/etc/evenkeel/evenkeel.yaml";

#[derive(Debug, StructOpt)]
#[structopt(
    name = "evenkeel",
    about = "An HTTP load balancer: calm in an incident, and able to say why it did what it did",
    global_settings = &[AppSettings::VersionlessSubcommands, AppSettings::UnifiedHelpMessage]
)]
struct Options {
    #[structopt(flatten)]
    file: File,
    /// Run as a daemon; returns when it serves, or fails with the reason
    #[structopt(short, long)]
    daemon: bool,
    /// Take the listening sockets over from a running process when it is sent QUIT
    #[structopt(short, long)]
    upgrade: bool,
    /// Check the file and exit, like `evenkeel check`
    #[structopt(short, long)]
    test: bool,
    /// Listen here, without a file (with --backend)
    #[structopt(long, value_name = "ADDR", requires = "backend", conflicts_with = "conf")]
    listen: Option<String>,
    /// A backend, host:port or unix:/path; may be repeated
    #[structopt(long, value_name = "ADDR", requires = "listen", number_of_values = 1)]
    backend: Vec<String>,
    #[structopt(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, StructOpt)]
struct File {
    /// The configuration [default: conf/evenkeel.yaml, else /etc/evenkeel/evenkeel.yaml]
    #[structopt(short, long, value_name = "FILE", parse(from_os_str), global = true)]
    conf: Option<PathBuf>,
}

#[derive(Debug, StructOpt)]
enum Command {
    /// Start three backends, the balancer before them, and print what to try
    Demo(demo::Demo),
    /// Report all problems of the file: exit 0 fine, 1 problems, 2 unreadable
    Check(check::Check),
    /// Run the `tests` of the file, and name what in it can never act: exit 0 all hold, 1 one does not, 2 unreadable
    Test(test::Test),
    /// Show where a request goes, and why: exit 0 it is served, 1 it is not, 2 it is no request
    Explain(explain::Explain),
    /// Print the JSON Schema of the file, for editors and pipelines
    Schema,
    /// Show the running process: listeners, backends, routes
    Status(status::Status),
    /// The same, live; `q` ends
    Top,
    /// Make the running process read its file again: exit 0 in force, 1 problems, 3 the machine said no
    Reload(reload::Reload),
    /// Show what the file would change in the running process, and change nothing: exit 0 shown, 1 problems, 3 no process
    Plan(plan::Which),
    /// Keep what `reload --confirm` put in force
    Confirm,
    /// Send a backend no more requests; those in flight end by themselves
    Drain(backend::Drain),
    /// Send a drained backend requests again
    Enable(backend::Which),
    /// Give a backend another share of the requests
    Weight(backend::Weight),
    /// Replace the running process by a new one of this program, without losing a request
    Upgrade,
    /// Tell the running process to finish what it has and end, and wait for it
    Stop,
}

/// Runs the program; the result is its exit code.
pub fn main() -> i32 {
    let options = match Options::from_args_safe() {
        Ok(options) => options,
        Err(error) => {
            // Help and version are no errors; clap has a place for both.
            if error.use_stderr() {
                complain!("{}", error.message);
                return exit::UNREADABLE;
            }
            say!("{}", error.message);
            return exit::OK;
        }
    };
    match crate::observe::log::filter_from_environment() {
        Ok(filter) => drop(crate::observe::log::install(filter)),
        Err(error) => {
            complain!("error: {error}");
            return exit::UNREADABLE;
        }
    }
    match &options.command {
        Some(Command::Demo(demo)) => demo::run(demo),
        Some(Command::Check(check)) => check::run(&options, check),
        Some(Command::Test(test)) => test::run(&options, test),
        Some(Command::Explain(wanted)) => explain::run(&options, wanted),
        Some(Command::Schema) => {
            say!("{:#}", config::schema());
            exit::OK
        }
        Some(Command::Status(which)) => status::status(&options, which),
        Some(Command::Top) => status::top(&options),
        Some(Command::Reload(how)) => reload::reload(&options, how),
        Some(Command::Plan(which)) => plan::run(&options, which),
        Some(Command::Confirm) => reload::confirm(&options),
        Some(Command::Drain(which)) => backend::drain(&options, which),
        Some(Command::Enable(which)) => backend::enable(&options, which),
        Some(Command::Weight(which)) => backend::weight(&options, which),
        Some(Command::Upgrade) => operate::upgrade(&options),
        Some(Command::Stop) => operate::stop(&options),
        None if options.test => check::run(&options, &check::Check::default()),
        None => run::run(&options),
    }
}

impl Options {
    /// The file that is meant.
    fn path(&self) -> PathBuf {
        match &self.file.conf {
            Some(path) => path.clone(),
            None if Path::new(LOCAL_FILE).exists() => PathBuf::from(LOCAL_FILE),
            None => PathBuf::from(SYSTEM_FILE),
        }
    }

    /// The configuration that is meant, and where it came from if it has a file; what is wrong is printed.
    fn config(&self) -> Result<(Config, Option<Origin>), i32> {
        if let Some(listen) = &self.listen {
            return Config::quick(listen, &self.backend).map(|config| (config, None)).map_err(|why| {
                complain!("error: {why}");
                exit::PROBLEMS
            });
        }
        let path = self.path();
        // The daemon changes its folder: a reload must find the file all the same.
        let path = std::path::absolute(&path).unwrap_or(path);
        let (loaded, origin) = config::load_with_origin(&path);
        loaded.map(|config| (config, Some(origin))).map_err(|error| report(&error))
    }
}

/// Prints what is wrong with a file; the result is the exit code.
fn report(error: &LoadError) -> i32 {
    match error {
        LoadError::Unreadable { path, error } => {
            complain!("error: `{}` cannot be read: {error}", path.display());
            exit::UNREADABLE
        }
        LoadError::Problems(problems) => {
            complain_whole!("{}", problems.render(colour()));
            exit::PROBLEMS
        }
    }
}

/// Colours for people, none for files.
fn colour() -> Colour {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() { Colour::On } else { Colour::Off }
}
