//! One request through the phases of a `ProxyHttp`, as pingora's `HttpProxy` takes it through them where `request_filter` answers.
//!
//! Not `HttpProxy` itself: in the future of a request it holds its loops with backends of all protocols, which none of ours
//! goes through, and moves them all when the request begins (docs/decisions/phases.md). Deliberately absent, since nobody has them here:
//! modules, caches, subrequests, what is kept from request to request. So `early_request_filter`, which comes before
//! modules, is not called, and whether a connection goes on after a failure is the session's matter.

use std::cell::RefCell;

use pingora::{Error, ErrorType};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::custom::server::Session as Downstream;
use pingora_proxy::{ProxyHttp, Session};

use super::client::within;

/// How many sessions a core keeps for other requests: as many as it may have under way without making some anew, of a KiB each.
const SPARE: usize = 256;

thread_local! {
    /// pingora makes a session around one of ours only with a connection of its own inside, which is not cheap: so they go from
    /// request to request. Nothing in them but what is set here is touched.
    #[expect(clippy::vec_box, reason = "they go to a request, and come back, in their boxes")]
    static SPARES: RefCell<Vec<Box<Session>>> = const { RefCell::new(Vec::new()) };
}

/// Serves a request from its head to its line in the log. Its session is dropped then.
pub(super) async fn run<P>(proxy: &P, downstream: Box<dyn Downstream>)
where
    P: ProxyHttp + Send + Sync,
    P::CTX: Send + Sync,
{
    let mut session = around(downstream);
    let mut context = proxy.new_ctx();
    let failure = match proxy.request_filter(&mut session, &mut context).await {
        Ok(true) => None,
        Ok(false) => Some(Error::explain(ErrorType::InternalError, "no phase has answered")),
        Err(error) => Some(error),
    };
    if let Some(error) = &failure {
        proxy.fail_to_proxy(&mut session, error, &mut context).await;
    }
    proxy.logging(&mut session, failure.as_deref(), &mut context).await;
    if failure.is_none()
        && let Ok(downstream) = within(&mut session)
        && let Err(error) = downstream.finish().await
    {
        log::debug!(error:%; "client took no more of its answer");
    }
    take_back(session);
}

fn around(downstream: Box<dyn Downstream>) -> Box<Session> {
    let mut session = SPARES.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
        let (nobody, _) = tokio::io::duplex(1);
        Box::new(Session::new_h1(Box::new(nobody)))
    });
    *session.downstream_session = ServerSession::new_custom(downstream);
    session
}

fn take_back(mut session: Box<Session>) {
    *session.downstream_session = ServerSession::new_custom(Box::new(()));
    SPARES.with_borrow_mut(|spares| {
        if spares.len() < SPARE {
            spares.push(session);
        }
    });
}
