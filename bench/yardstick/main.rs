//! A bare proxy on pingora's own listening service: what Evenkeel's edge is measured against.
//!
//! `yardstick THREADS LISTEN[,LISTEN…] BACKEND…`; with `CERTIFICATE` and `KEY` set in the environment the second
//! address takes TLS. Nothing is configured beyond that: no time-outs, no checks, no logs.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{Error, HttpPeer, ProxyHttp, Result, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare(LoadBalancer<RoundRobin>);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _context: &mut ()) -> Result<Box<HttpPeer>> {
        let backend = self.0.select(b"", 16).ok_or_else(|| Error::new(pingora::HTTPStatus(503)))?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().ok_or("how many threads?")?.parse()?;
    let listen = arguments.next().ok_or("where to listen?")?;
    let backends = LoadBalancer::<RoundRobin>::try_from_iter(arguments)?;
    let conf = ServerConf { threads, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), Bare(backends));
    for (place, address) in listen.split(',').enumerate() {
        match (place, std::env::var("CERTIFICATE"), std::env::var("KEY")) {
            (1, Ok(certificate), Ok(key)) => {
                let mut settings = TlsSettings::intermediate(&certificate, &key)?;
                settings.enable_h2();
                service.add_tls_with_settings(address, None, settings);
            }
            _ => service.add_tcp(address),
        }
    }
    server.add_service(service);
    server.run_forever()
}
