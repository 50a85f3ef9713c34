//! Answers of HTTP/2 backends to clients of HTTP/1.0.
//!
//! pingora asks for chunks where the length of an answer is not known, after every callback of ours but a module's; a
//! client of HTTP/1.0 knows none (RFC 9112, section 7).

use std::any::Any;
use std::sync::LazyLock;

use async_trait::async_trait;
use http::header::TRANSFER_ENCODING;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModuleCtx, HttpModules, Module};

static MODULES: LazyLock<HttpModules> = LazyLock::new(|| {
    let mut modules = HttpModules::new();
    modules.add_module(Box::new(Unchunked));
    modules
});

/// The modules of a request of HTTP/1.0; all others have none, which would cost each of them allocations.
pub fn modules() -> HttpModuleCtx {
    MODULES.build_ctx()
}

struct Unchunked;

impl HttpModuleBuilder for Unchunked {
    fn init(&self) -> Module {
        Box::new(Unchunked)
    }
}

#[async_trait]
impl HttpModule for Unchunked {
    async fn response_header_filter(&mut self, response: &mut ResponseHeader, _end_of_stream: bool) -> Result<()> {
        if response.headers.contains_key(TRANSFER_ENCODING) {
            response.remove_header(&TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
