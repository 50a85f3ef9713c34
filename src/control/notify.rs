//! Telling a supervisor what we do, in systemd's protocol (sd_notify(3)); `-d` and `upgrade` use the same.

use std::os::unix::net::UnixDatagram;

/// Sends the given assignments (`READY=1`) to the supervisor, if there is one.
///
/// With `MAINPID`, since after an upgrade the process that is ready is not the one that was started.
pub fn notify(assignments: &str) {
    forward(&format!("{assignments}\nMAINPID={}\n", std::process::id()));
}

/// Sends a message as another process wrote it.
pub fn forward(message: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    if let Err(error) = send(&path, message.as_bytes()) {
        log::debug!(error:%; "supervisor could not be notified");
    }
}

fn send(path: &std::ffi::OsStr, message: &[u8]) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    let socket = UnixDatagram::unbound()?;
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(message, &address)?;
        }
        None => {
            socket.send_to(message, path)?;
        }
    }
    Ok(())
}
