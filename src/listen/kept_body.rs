//! What is kept of a request's body, to be sent again to another backend.

use bytes::Bytes;
use pingora_core::protocols::http::body_buffer::FixedBuffer;

/// The most that is kept; a request with more cannot be repeated.
const KEPT_BODY: usize = 64 * 1024;

/// See the module's documentation. Keeps nothing until somebody wants it to.
#[derive(Default)]
pub struct KeptBody(Option<FixedBuffer>);

impl KeptBody {
    /// Keeps what comes from now on.
    pub fn enable(&mut self) {
        self.0.get_or_insert_with(|| FixedBuffer::new(KEPT_BODY));
    }

    /// A piece of the body has come.
    pub fn keep(&mut self, piece: &Bytes) {
        if let Some(kept) = &mut self.0 {
            kept.write_to_buffer(piece);
        }
    }

    /// Whether more has come than is kept.
    pub fn is_truncated(&self) -> bool {
        self.0.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    /// All that has come; none if it is nothing, or too much.
    pub fn whole(&self) -> Option<Bytes> {
        self.0.as_ref().filter(|kept| !kept.is_truncated()).and_then(FixedBuffer::get_buffer)
    }
}
