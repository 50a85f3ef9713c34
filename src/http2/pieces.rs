//! What has come of a body and nobody has taken yet. It holds little more than its bytes, however they came: pieces that
//! wait and are small are put together.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Taken first. Most bodies are never more than this.
    first: Bytes,
    more: VecDeque<Bytes>,
    /// Behind those.
    last: BytesMut,
    length: usize,
}

impl Pieces {
    /// How many bytes wait.
    pub fn length(&self) -> usize {
        self.length
    }

    /// A piece that is copied.
    pub fn push_copy(&mut self, piece: &[u8]) {
        if self.length == 0 {
            self.first = Bytes::copy_from_slice(piece);
        } else {
            self.last.extend_from_slice(piece);
        }
        self.length += piece.len();
    }

    /// A piece that stays where it is.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let length = piece.len();
        if self.length == 0 {
            self.first = piece;
        } else {
            if !self.last.is_empty() {
                self.more.push_back(std::mem::take(&mut self.last).freeze());
            }
            self.more.push_back(piece);
        }
        self.length += length;
    }

    /// The next piece, not empty; none if nothing waits.
    pub fn take(&mut self) -> Option<Bytes> {
        let piece = if !self.first.is_empty() {
            std::mem::take(&mut self.first)
        } else if let Some(piece) = self.more.pop_front() {
            piece
        } else {
            std::mem::take(&mut self.last).freeze()
        };
        self.length -= piece.len();
        (!piece.is_empty()).then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_are_taken_in_the_order_in_which_they_came(steps in prop::collection::vec((0..3_u8, 0..20_usize), 0..60)) {
            let (mut pieces, mut next, mut expected) = (Pieces::default(), 0_u8, VecDeque::new());
            for (what, length) in steps {
                if what == 0 {
                    let taken = pieces.take();
                    prop_assert_eq!(taken.is_none(), expected.is_empty());
                    for byte in taken.unwrap_or_default() {
                        prop_assert_eq!(Some(byte), expected.pop_front());
                    }
                } else {
                    let piece: Vec<u8> = (0..length).map(|_| { next = next.wrapping_add(1); next }).collect();
                    expected.extend(piece.iter().copied());
                    if what == 1 { pieces.push_copy(&piece) } else { pieces.push(piece.into()) }
                }
                prop_assert_eq!(pieces.length(), expected.len());
            }
        }
    }

    #[test]
    fn small_pieces_that_wait_are_put_together() {
        let mut pieces = Pieces::default();
        (0..10_000).for_each(|_| pieces.push_copy(b"x"));
        assert_eq!(pieces.take().unwrap().len(), 1);
        assert_eq!(pieces.take().unwrap().len(), 9_999);
        assert_eq!(pieces.take(), None);
    }
}
