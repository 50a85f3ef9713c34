//! All requests of one HTTP/1.1 connection, one after the other: each is read whole, served as a session of ours, and gives
//! the connection back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::ProxyHttp;

use super::connection::App;
use super::control::{self, Ended};
use super::deadline::{Awaited, Tick};
use super::http1_session::{Answer, Http1Session, Returned};
use super::inbound::Arrived;
use super::phases;
use super::stream::EdgeStream;

/// How long the rest of a body is waited for when nobody has said.
const DRAIN_BODY: Duration = Duration::from_secs(1);

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Serves a connection until it ends; the head of its first request must be there when `due` comes.
pub(super) async fn serve<P>(mut stream: Box<EdgeStream>, app: &Arc<App<P>>, shutdown: &ShutdownWatch, mut due: Tick)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    loop {
        let Some((request, control)) =
            stream.request(due).await.and_then(|arrived| begin(stream, arrived, app, shutdown))
        else {
            return;
        };
        request.await;
        stream = match after(control::end(control)) {
            After::Kept(stream) => stream,
            After::Draining(drain) => match drain.await {
                Some(stream) => stream,
                None => return,
            },
            After::Closing(close) => return close.await,
            After::Over => return,
        };
        due = Tick::after(app.listener().settings().keep_alive);
        // A client may have sent its next request already (RFC 9112, section 9.3.2).
        if stream.ahead().is_empty() && !stream.park(due, Awaited::NextRequest).await {
            return;
        }
        due = Tick::after(app.listener().settings().request_header);
    }
}

/// One request. Not an `async fn`: neither it nor its session may become part of the connection's task, which lives on
/// while the connection is parked.
fn begin<'a, P>(
    stream: Box<EdgeStream>,
    arrived: Box<Arrived>,
    app: &'a Arc<App<P>>,
    shutdown: &'a ShutdownWatch,
) -> Option<(Later<'a, ()>, Arc<ProxyDigest>)>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let control = control::begin(stream.client(), *shutdown.borrow())?;
    let session = Box::new(Http1Session::new(stream, arrived, control.clone()));
    Some((Box::pin(phases::run(app.proxy(), session)), control))
}

/// What becomes of a connection after a request.
enum After {
    /// It is ready for another.
    Kept(Box<EdgeStream>),
    /// It is once the rest of the body has come.
    Draining(Later<'static, Option<Box<EdgeStream>>>),
    /// It ends in order.
    Closing(Later<'static, ()>),
    /// It has ended.
    Over,
}

fn after(ended: Ended) -> After {
    let Ended { returned, ends, refused } = ended;
    let Some(Returned { stream, body, drain, answer }) = returned else { return After::Over };
    let unread = !body.is_complete() || refused || !stream.ahead().is_empty();
    match answer {
        Answer::Complete if ends => return After::Closing(Box::pin(stream.close(unread))),
        Answer::Complete => {}
        Answer::Switched => return After::Closing(Box::pin(stream.close(false))),
        Answer::Broken => return After::Over,
        Answer::BrokenUnframed => {
            stream.break_off();
            return After::Over;
        }
    }
    if body.is_complete() {
        After::Kept(stream)
    } else {
        After::Draining(Box::pin(stream.drain(body, Tick::after(drain.unwrap_or(DRAIN_BODY)))))
    }
}
