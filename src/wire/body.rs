//! Where the body of a request ends.

use super::chunks::{Chunks, Decoded};
use crate::failure::Reason;

/// What is still to come of a request after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing: the request is complete.
    Complete,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks, of which these have been read.
    Chunked(Chunks),
}

impl Body {
    /// A body of so many bytes.
    pub fn of_length(length: u64) -> Body {
        if length == 0 { Body::Complete } else { Body::Length(length) }
    }

    /// A body in chunks.
    pub fn in_chunks() -> Body {
        Body::Chunked(Chunks::default())
    }

    /// Whether the request has been read to its end.
    pub fn is_complete(&self) -> bool {
        *self == Body::Complete
    }

    /// Reads on: see [`Chunks::decode`].
    ///
    /// # Errors
    /// The reason to refuse the request for; where it ends can then not be known.
    pub fn decode(&mut self, bytes: &mut [u8], trailers: &mut Vec<u8>) -> Result<Decoded, Reason> {
        match self {
            Body::Complete => Ok(Decoded { taken: 0, data: 0 }),
            Body::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *self = Body::of_length(*left - taken as u64);
                Ok(Decoded { taken, data: taken })
            }
            Body::Chunked(chunks) => {
                let decoded = chunks.decode(bytes, trailers)?;
                if chunks.are_complete() {
                    *self = Body::Complete;
                }
                Ok(decoded)
            }
        }
    }
}
