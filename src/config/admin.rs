//! `admin`: the address of the dashboard, the metrics and the API, and who may use it.
//!
//! Invariant: without a token nobody outside this machine reaches it, and no token stands in a file. Deliberately
//! absent: reading the token's file, which may change while running.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Folders;
use super::address::Address;
use super::problem::{Problem, Report};
use super::section::{Entry, Section, is_off, is_on};
use super::tree::Value;

/// Where the peers' habits look for it, and no registered service listens.
pub const DEFAULT_PORT: u16 = 9901;

/// What a person calls slow.
const DEFAULT_SLOW_REQUEST: Duration = Duration::from_secs(1);

/// The admin address.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// A loopback address or a Unix socket, or any with a token.
    pub address: Address,
    /// What the API and the metrics ask for; None: nothing.
    pub token: Option<Token>,
    /// The names that it answers to, besides addresses and `localhost`; in lower case.
    pub hosts: Vec<String>,
    /// Requests whose answer began later than this are remembered as slow.
    pub slow_request: Duration,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            address: Address::loopback(DEFAULT_PORT),
            token: None,
            hosts: Vec::new(),
            slow_request: DEFAULT_SLOW_REQUEST,
        }
    }
}

/// Where the token of the admin address is.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// The first line of this file, by its absolute path.
    File(PathBuf),
    /// It came from the environment.
    Environment(Secret),
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// `off`, or a mapping with the address.
pub(super) fn read(report: &Report, entry: Option<Entry<'_>>, folders: &Folders<'_>) -> Option<Admin> {
    let Some(entry) = entry else {
        return Some(Admin::default());
    };
    if is_off(entry.node) {
        return None;
    }
    if is_on(entry.node) {
        return Some(Admin::default());
    }
    let default = Admin::default();
    let mut section = Section::open(report, "admin", "`admin`", Some(entry.key.place), entry.node)?;
    let written = section.entry("address");
    let address = written.and_then(|address| address.parsed(report, super::listeners::fixed_address));
    let given = read_token(&mut section, folders);
    if let (Some(address), Some(written)) = (&address, written)
        && !address.is_local()
        && given == Given::Nothing
    {
        report.add(
            Problem::at(written.node.place, format!("the admin address refuses to listen on `{address}` without a token"))
                .label("others can reach this")
                .help("write `token_file: admin.token` or `token: ${EVENKEEL_ADMIN_TOKEN}`, or use a loopback address such as `127.0.0.1:9901`"),
        );
    }
    let hosts = section.entry("hosts").map(|entry| read_hosts(report, entry)).unwrap_or_default();
    let slow_request = section.duration("slow_request", default.slow_request);
    section.close();
    let token = if let Given::Token(token) = given { Some(token) } else { None };
    Some(Admin { address: address.unwrap_or(default.address), token, hosts, slow_request })
}

#[derive(PartialEq)]
enum Given {
    Token(Token),
    /// Something was written, and what is wrong with it has been said.
    Mistake,
    Nothing,
}

fn read_token(section: &mut Section<'_>, folders: &Folders<'_>) -> Given {
    let report = section.report();
    let (file, token) = (section.entry("token_file"), section.entry("token"));
    let read = match (file, token) {
        (None, None) => return Given::Nothing,
        (Some(file), Some(token)) => {
            let problem = Problem::at(token.node.place, "the admin address has two tokens").label("the second");
            report.add(problem.related(file.node.place, "the first").help("keep one of them"));
            None
        }
        (Some(file), None) => file.parsed(report, |text| folders.of(file.node.place).file(text)).map(Token::File),
        (None, Some(token)) => read_reference(report, token),
    };
    read.map_or(Given::Mistake, Given::Token)
}

/// A token must be a reference to the environment, and nothing else: files are copied, shown and kept in histories.
fn read_reference(report: &Report, entry: Entry<'_>) -> Option<Token> {
    let text = entry.text(report)?;
    let reference = entry.node.written.as_deref().and_then(|written| written.strip_prefix("${")?.strip_suffix('}'));
    if reference.is_none_or(|inner| inner.contains(['$', ':'])) {
        report.conceal(entry.node.place);
        report.add(
            Problem::at(entry.node.place, "a token cannot stand in the file")
                .help("write `token: ${EVENKEEL_ADMIN_TOKEN}`, or `token_file:` and a path"),
        );
        return None;
    }
    Some(Token::Environment(Secret(text.to_owned())))
}

fn read_hosts(report: &Report, entry: Entry<'_>) -> Vec<String> {
    const HELP: &str =
        "write names without a port, as in `[lb1.internal]`; addresses and `localhost` are always answered to";
    let name = |item: &super::tree::Node| {
        let name = if let Value::Scalar(text) = &item.value { text.as_str() } else { "" };
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if name.is_empty() || !name.bytes().all(fine) {
            report.add(Problem::at(item.place, format!("`{name}` is not the name of a host")).help(HELP));
        }
        name.to_ascii_lowercase()
    };
    entry.items(report, HELP).iter().map(name).collect()
}
