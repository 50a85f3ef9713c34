//! What the proxy and the session of an HTTP/1.1 request tell each other.
//!
//! pingora's callbacks are shown a session without its type; what they need of ours travels in its digest. The memory for
//! that is a core's and goes from request to request, so that it costs a request nothing, and an idle connection neither.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;

use super::client::{Client, user_data};
use super::http1_session::Returned;
use crate::failure::Reason;

/// How many of them a core keeps for other requests.
const SPARE: usize = 256;

thread_local! {
    static SPARES: RefCell<Vec<Arc<ProxyDigest>>> = const { RefCell::new(Vec::new()) };
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Control {
    client: Option<Client>,
    state: Mutex<State>,
}

/// What changes while a request is served.
#[derive(Default)]
pub(super) struct State {
    /// The connection ends with this request.
    pub ends: bool,
    /// Why the request, or the rest of it, is refused.
    pub refused: Option<Reason>,
    /// The trailers of the request, once all of it was read.
    pub trailers: Option<HeaderMap>,
    /// What is left of the session: its stream, for the next request.
    pub returned: Option<Returned>,
}

impl Control {
    /// Whose request it is.
    pub(super) fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a digest carries of a request of HTTP/1.1.
pub(super) fn control_in(digest: &Digest) -> Option<&Control> {
    digest.proxy_digest.as_ref().and_then(control_of)
}

pub(super) fn control_of(digest: &Arc<ProxyDigest>) -> Option<&Control> {
    digest.user_data.as_ref()?.downcast_ref()
}

/// For a request of this client, after which the connection ends if it is the last; none if there could be none.
pub(super) fn begin(client: &Client, last: bool) -> Option<Arc<ProxyDigest>> {
    let spare = SPARES.with_borrow_mut(Vec::pop);
    let mut digest = match spare {
        Some(spare) => spare,
        None => Arc::new(user_data(Box::new(Control::default()))?),
    };
    let control = control_mut(&mut digest)?;
    control.client = Some(client.clone());
    control.state.get_mut().unwrap_or_else(PoisonError::into_inner).ends = last;
    Some(digest)
}

/// What is left when a request is over.
pub(super) struct Ended {
    pub returned: Option<Returned>,
    pub ends: bool,
    pub refused: bool,
}

/// The request is over. Takes the memory back, unless somebody still holds on to it.
pub(super) fn end(mut digest: Arc<ProxyDigest>) -> Ended {
    let state = control_of(&digest).map(|control| std::mem::take(&mut *control.state())).unwrap_or_default();
    if let Some(control) = control_mut(&mut digest) {
        control.client = None;
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARE {
                spares.push(digest);
            }
        });
    }
    Ended { returned: state.returned, ends: state.ends, refused: state.refused.is_some() }
}

fn control_mut(digest: &mut Arc<ProxyDigest>) -> Option<&mut Control> {
    Arc::get_mut(digest)?.user_data.as_mut()?.downcast_mut()
}
