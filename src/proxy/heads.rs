//! What becomes of heads on their way: what pingora's phases are for, without the boxed future that each of those is.

use http::StatusCode;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::{Proxy, answer};
use crate::forward::request_head::RequestHead;
use crate::forward::{self, fields, max_forwards};
use crate::listen;

impl Context {
    /// Makes the head of a request that of the route, towards the backend of the attempt.
    pub(super) fn make_ours(&self, session: &Session, head: &mut RequestHead<'_>) -> Result<()> {
        max_forwards::decrement(head);
        if let Some(via) = &self.snapshot.via {
            via.request(head, session.req_header().version);
        }
        self.retarget(session, head)?;
        self.name_host(head);
        fields::to_backend(head, self.origin());
        self.conceal_sticky_cookie(head);
        self.conceal_token(head);
        self.change_request(session, head)
    }

    /// Takes the head of an answer, interim or final, from its backend.
    pub(super) fn take_answer(&mut self, session: &Session, response: &mut ResponseHeader) -> Result<()> {
        self.answered(session, response)?;
        match &self.snapshot.via {
            Some(via) => via.response(response),
            None => Ok(()),
        }
    }
}

impl Proxy {
    /// Makes the head of an answer ours, and the route's, before the client gets it.
    pub(super) fn give_answer(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        fields::to_client(response, context.trailers_of_answer(session));
        forward::answer::put_right(response);
        if !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS {
            context.change_answer(session, response)?;
            context.stick(response)?;
        }
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // The client of a tunnel may be silent; the tunnel's own deadline watches both sides.
            session.set_read_timeout(None);
        } else if self.lifecycle.draining() {
            listen::close_after(session);
        } else if answer::body_may_not_come(session, context, response.status) {
            listen::close_after(session);
            // Nobody waits long for a body that need not come any more.
            session.set_read_timeout(Some(answer::BODY_THAT_MAY_NOT_COME));
        }
        context.continued |= response.status == StatusCode::CONTINUE;
        Ok(())
    }
}
