//! The balancer as its users run it: the program, a file, signals.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{self, Response};
use super::{PATIENCE, eventually, free_address};

/// A running balancer with a folder of its own; killed when dropped.
pub struct Balancer {
    /// Where it takes requests (listener `web`).
    pub address: SocketAddr,
    /// Its admin address.
    pub admin: SocketAddr,
    /// Its folder: the file, its logs, its sockets.
    pub folder: TempDir,
    child: Child,
}

/// A balancer to be started.
pub struct Setup {
    address: SocketAddr,
    admin: SocketAddr,
    admin_settings: String,
    listener: String,
    upstream: String,
    top: String,
    backends: Vec<String>,
    extra_listeners: String,
    extra_upstreams: String,
    routes: String,
    descriptors: Option<u32>,
}

impl Setup {
    /// How many descriptors it may open.
    pub fn descriptors(mut self, most: u32) -> Setup {
        self.descriptors = Some(most);
        self
    }

    /// The routes, each a line such as `  - { listeners: [web], upstream: app }`.
    pub fn routes(mut self, lines: &str) -> Setup {
        self.routes = lines.to_owned();
        self
    }

    /// A line of settings for the listener `web`, as in `timeouts: { request_header: 1s }`.
    pub fn listener(mut self, settings: &str) -> Setup {
        self.listener = settings.to_owned();
        self
    }

    /// A line of settings for the upstream `app`.
    pub fn upstream(mut self, settings: &str) -> Setup {
        self.upstream = settings.to_owned();
        self
    }

    /// Settings for the admin address, as in `token_file: token`.
    pub fn admin_settings(mut self, settings: &str) -> Setup {
        self.admin_settings = settings.to_owned();
        self
    }

    /// Lines for the top level.
    pub fn top(mut self, settings: &str) -> Setup {
        self.top = settings.to_owned();
        self
    }

    /// More listeners, each a line such as `  name: { address: 127.0.0.1:1 }`.
    pub fn more_listeners(mut self, lines: &str) -> Setup {
        self.extra_listeners = lines.to_owned();
        self
    }

    /// More upstreams, each a line such as `  name: { backends: [127.0.0.1:1] }`.
    pub fn more_upstreams(mut self, lines: &str) -> Setup {
        self.extra_upstreams = lines.to_owned();
        self
    }

    /// Where it will take requests.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its admin address to be.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The whole file. Its access log is `access.log` in its folder, as JSON, unless `top` says otherwise.
    pub fn text(&self) -> String {
        let comma = |settings: &str| if settings.is_empty() { String::new() } else { format!(", {settings}") };
        let log = if self.top.contains("access_log") { "" } else { "access_log: { path: access.log }\n" };
        let threads = if self.top.contains("threads:") { "" } else { "threads: 2\n" };
        format!(
            "version: 1\n{threads}pid_file: evenkeel.pid\nupgrade_sock: upgrade.sock\n{log}{top}\n\
             admin: {{ address: {admin}{admin_settings} }}\n\
             listeners:\n  web: {{ address: {address}{listener} }}\n{more}\n\
             upstreams:\n  app: {{ backends: [{backends}]{upstream} }}\n{upstreams}\n\
             routes:\n{routes}\n",
            top = self.top,
            admin = self.admin,
            admin_settings = comma(&self.admin_settings),
            address = self.address,
            listener = comma(&self.listener),
            more = self.extra_listeners,
            upstreams = self.extra_upstreams,
            backends = self.backends.join(", "),
            upstream = comma(&self.upstream),
            routes = self.routes,
        )
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Balancer {
        let folder = tempfile::tempdir().expect("a folder");
        self.start_in(folder)
    }

    /// Starts it in a folder that is there already (with certificates, say).
    pub fn start_in(self, folder: TempDir) -> Balancer {
        std::fs::write(folder.path().join("evenkeel.yaml"), self.text()).expect("the file");
        let child = spawn(folder.path(), self.descriptors, &[]);
        let mut balancer = Balancer { address: self.address, admin: self.admin, folder, child };
        balancer.wait_ready();
        balancer
    }
}

impl Balancer {
    /// A balancer before these backends: `host:port`, or a mapping such as `{ address: …, weight: 3 }`.
    pub fn before<B: ToString>(backends: impl IntoIterator<Item = B>) -> Setup {
        Setup {
            address: free_address(),
            admin: free_address(),
            admin_settings: String::new(),
            listener: String::new(),
            upstream: String::new(),
            top: String::new(),
            backends: backends.into_iter().map(|backend| backend.to_string()).collect(),
            extra_listeners: String::new(),
            extra_upstreams: String::new(),
            routes: "  - upstream: app".to_owned(),
            descriptors: None,
        }
    }

    /// Its configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("evenkeel.yaml")
    }

    /// Waits until `/readyz` says yes.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let admin = self.admin;
        let end = Instant::now() + PATIENCE;
        while !is_ready(admin) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the balancer ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < end, "the balancer is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn get(&self, target: &str) -> Response {
        client::get(self.address, target)
    }

    /// What the admin address says.
    pub fn admin_get(&self, path: &str) -> Response {
        ask_admin(self.admin, path).expect("an answer of the admin address")
    }

    /// What a resource of the API shows.
    #[track_caller]
    pub fn api(&self, resource: &str) -> serde_json::Value {
        let answer = self.admin_get(&format!("/api/v1/{resource}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Asks the admin address for something, with these fields besides `Host`.
    pub fn admin_ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
        let host = ("host", self.admin.to_string());
        let own = fields.iter().any(|(name, _)| *name == "host");
        let fields: String = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain((!own).then_some(host))
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut client = client::Client::connect(self.admin).expect("a connection");
        let head =
            format!("{method} {path} HTTP/1.1\r\n{fields}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
        client.send((head + body).as_bytes()).expect("a request sent");
        client.response(method == "HEAD").expect("an answer of the admin address")
    }

    /// Runs a command for it, such as `status`; the output and the exit code.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        self.command_on(Path::new("evenkeel.yaml"), arguments)
    }

    /// The same about another file.
    pub fn command_on(&self, file: &Path, arguments: &[&str]) -> std::process::Output {
        let mut all = vec!["-c", file.to_str().expect("a path of ours")];
        all.extend(arguments);
        program(self.folder.path(), &all).output().expect("the program runs")
    }

    /// One series of the metrics, by its full name with labels; 0 if it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.admin_get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Whether the backend is marked healthy.
    pub fn healthy(&self, backend: SocketAddr) -> bool {
        self.metric(&format!("evenkeel_backend_healthy{{upstream=\"app\",backend=\"{backend}\"}}")) == 1.0
    }

    #[track_caller]
    pub fn wait_healthy(&self, backend: SocketAddr, healthy: bool) {
        let what = format!("{backend} healthy: {healthy}");
        eventually(&what, || self.healthy(backend) == healthy, || self.log());
    }

    /// What it has written to its error output.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// The access log's lines, once there are `count`.
    #[track_caller]
    pub fn access_log(&self, count: usize) -> Vec<serde_json::Value> {
        let path = self.folder.path().join("access.log");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        eventually("the access log's lines", || read().lines().count() >= count, read);
        read().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a living process");
    }

    /// Resident memory of the process in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "the balancer does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts another process in the same folder with these arguments besides `-c`; its output joins ours.
    pub fn spawn_beside(&self, arguments: &[&str]) -> Child {
        spawn(self.folder.path(), None, arguments)
    }

    /// Rewrites its file.
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.file()).expect("its file");
        std::fs::write(self.file(), change(text)).expect("its file");
    }

    /// Rewrites its file and tells it to read it; waits until it has, and says whether it was taken.
    #[track_caller]
    pub fn reload(&self, change: impl FnOnce(String) -> String) -> bool {
        let reloads = |state: &str| self.metric(&format!("evenkeel_reloads_total{{state=\"{state}\"}}"));
        let (taken, refused) = (reloads("ok"), reloads("refused"));
        self.edit(change);
        self.signal(Signal::HUP);
        eventually("a reload", || reloads("ok") > taken || reloads("refused") > refused, || self.log());
        reloads("ok") > taken
    }

    /// What stands in its pid file.
    pub fn pid_in_file(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.folder.path().join("evenkeel.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Waits until its log has a line with this text.
    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        eventually(text, || self.log().contains(text), || self.log());
    }

    /// From now on this is the process that is meant.
    pub fn succeeded_by(&mut self, child: Child) -> Child {
        std::mem::replace(&mut self.child, child)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- the balancer said:\n{}", self.log());
        }
    }
}

/// The program with these arguments, in `folder`.
pub fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

/// Whether a process runs; one that nobody has waited for has ended all the same.
pub fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Kills a process that is not a child of ours when dropped: a daemon.
pub struct Killed(pub Pid);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Err(error) = kill_process(self.0, Signal::KILL) {
            eprintln!("{} could not be killed: {error}", self.0.as_raw_nonzero());
        }
    }
}

/// Whether this admin address says that its process is ready.
pub fn is_ready(admin: SocketAddr) -> bool {
    ask_admin(admin, "/readyz").is_ok_and(|response| response.status == 200)
}

/// It answers to its own name alone.
fn ask_admin(admin: SocketAddr, path: &str) -> std::io::Result<Response> {
    let mut client = client::Client::connect(admin)?;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes())?;
    client.response(false)
}

fn spawn(folder: &Path, descriptors: Option<u32>, arguments: &[&str]) -> Child {
    let log = |name: &str| {
        let path = folder.join(name);
        File::options().create(true).append(true).open(path).expect("a file for its output")
    };
    let mut command = match descriptors {
        None => program(folder, &["-c", "evenkeel.yaml"]),
        Some(most) => {
            let mut shell = Command::new("sh");
            let line = format!("ulimit -n {most} && exec \"$0\" -c evenkeel.yaml \"$@\"");
            shell.current_dir(folder).args(["-c", &line, env!("CARGO_BIN_EXE_evenkeel")]).stdin(Stdio::null());
            shell
        }
    };
    command.args(arguments).stdout(log("stdout")).stderr(log("stderr"));
    command.spawn().expect("the program starts")
}
