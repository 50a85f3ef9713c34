//! One request through the phases of a `ProxyHttp`, as pingora's `HttpProxy` takes it through them where `request_filter` answers.
//!
//! Not `HttpProxy` itself: in the future of a request it holds its loops with backends of all protocols, which none of ours
//! goes through, and moves them all when the request begins (docs/decisions/phases.md). Deliberately absent, since nobody has them here:
//! modules, caches, subrequests, what is kept from request to request; so `early_request_filter`, which comes before
//! modules, is not called.

use std::sync::{Mutex, PoisonError};

use pingora::{Error, ErrorType};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::custom::server::Session as Downstream;
use pingora_proxy::{ProxyHttp, Session};

use super::client::within;

/// How many sessions are kept for other requests.
const SPARE: usize = 256;

/// The phases, for the requests of one core.
pub struct Phases<P> {
    proxy: P,
    /// pingora makes a session around one of ours only with a connection of its own inside, which is not cheap: so they go from
    /// request to request. Nothing in them but what is set here is touched.
    spare: Mutex<Vec<Box<Session>>>,
}

impl<P> Phases<P>
where
    P: ProxyHttp + Send + Sync,
    P::CTX: Send + Sync,
{
    pub(super) fn new(proxy: P) -> Phases<P> {
        Phases { proxy, spare: Mutex::default() }
    }

    /// Serves a request from its head to its line in the log. Its session is dropped then.
    pub(super) async fn run(&self, downstream: Box<dyn Downstream>) {
        let mut session = self.session(downstream);
        let mut context = self.proxy.new_ctx();
        let failure = match self.proxy.request_filter(&mut session, &mut context).await {
            Ok(true) => None,
            Ok(false) => Some(Error::explain(ErrorType::InternalError, "no phase has answered")),
            Err(error) => Some(error),
        };
        if let Some(error) = &failure {
            self.proxy.fail_to_proxy(&mut session, error, &mut context).await;
        }
        self.proxy.logging(&mut session, failure.as_deref(), &mut context).await;
        if failure.is_none()
            && let Ok(downstream) = within(&mut session)
            && let Err(error) = downstream.finish().await
        {
            log::debug!(error:%; "client took no more of its answer");
        }
        self.take_back(session);
    }

    fn session(&self, downstream: Box<dyn Downstream>) -> Box<Session> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = spare.unwrap_or_else(|| {
            let (nobody, _) = tokio::io::duplex(1);
            Box::new(Session::new_h1(Box::new(nobody)))
        });
        *session.downstream_session = ServerSession::new_custom(downstream);
        session
    }

    fn take_back(&self, mut session: Box<Session>) {
        *session.downstream_session = ServerSession::new_custom(Box::new(()));
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(session);
        }
    }
}
