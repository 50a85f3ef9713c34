//! A backend of HTTP/2 that sends the frames of its story, whatever they are.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frames::Http2;

/// A backend on a port of its own, for as long as the test lasts.
pub struct FramesOrigin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl FramesOrigin {
    /// Each connection begins with these settings, and is served on a thread of its own by `serve`, which is told how many there
    /// were before it.
    pub fn start(settings: &[u8], serve: impl Fn(usize, Http2) + Send + Sync + 'static) -> FramesOrigin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address for an origin");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, serve, settings) = (connections.clone(), Arc::new(serve), settings.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serve, settings) = (serve.clone(), settings.clone());
                let number = counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    if let Some(server) = Http2::accepted(stream, &settings) {
                        serve(number, server);
                    }
                });
            }
        });
        FramesOrigin { address, connections }
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
