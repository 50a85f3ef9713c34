//! What is kept of a request's body, to be sent again to another backend.

use bytes::{Bytes, BytesMut};

/// The most that is kept; a request with more cannot be repeated.
const KEPT_BODY: usize = 64 * 1024;

/// See the module's documentation. A body of one piece, as most are, is kept where it is: only more of them are copied.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum KeptBody {
    /// Nobody wants it.
    #[default]
    Unwanted,
    /// All that has come, nothing or one piece.
    One(Bytes),
    /// All that has come, of several.
    Joined(BytesMut),
    /// More has come than is kept.
    TooMuch,
}

impl KeptBody {
    /// Keeps what comes from now on.
    pub fn enable(&mut self) {
        if *self == KeptBody::Unwanted {
            *self = KeptBody::One(Bytes::new());
        }
    }

    /// A piece of the body has come.
    pub fn keep(&mut self, piece: &Bytes) {
        let held = match self {
            KeptBody::Unwanted | KeptBody::TooMuch => return,
            KeptBody::One(first) => first.len(),
            KeptBody::Joined(all) => all.len(),
        };
        if held + piece.len() > KEPT_BODY {
            *self = KeptBody::TooMuch;
            return;
        }
        match self {
            KeptBody::Unwanted | KeptBody::TooMuch => {}
            KeptBody::One(first) if first.is_empty() => *first = piece.clone(),
            KeptBody::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + piece.len());
                all.extend_from_slice(first);
                all.extend_from_slice(piece);
                *self = KeptBody::Joined(all);
            }
            KeptBody::Joined(all) => all.extend_from_slice(piece),
        }
    }

    /// Whether more has come than is kept.
    pub fn is_truncated(&self) -> bool {
        *self == KeptBody::TooMuch
    }

    /// All that has come; none if it is nothing, or too much.
    pub fn whole(&self) -> Option<Bytes> {
        let all = match self {
            KeptBody::Unwanted | KeptBody::TooMuch => return None,
            KeptBody::One(piece) => piece.clone(),
            KeptBody::Joined(all) => all.clone().freeze(),
        };
        (!all.is_empty()).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[usize]) -> KeptBody {
        let mut kept = KeptBody::default();
        kept.keep(&Bytes::from_static(b"before anybody wanted it"));
        kept.enable();
        pieces.iter().for_each(|size| kept.keep(&Bytes::from(vec![b'x'; *size])));
        kept
    }

    #[test]
    fn what_was_kept_is_whole_however_it_came() {
        assert_eq!(kept(&[]).whole(), None);
        for pieces in [&[3][..], &[1, 2], &[0, 1, 1, 0, 1]] {
            assert_eq!(kept(pieces).whole().as_deref(), Some(&b"xxx"[..]), "{pieces:?}");
        }
        let mut again = kept(&[1, 2]);
        again.enable();
        assert_eq!(again.whole().map(|all| all.len()), Some(3));
    }

    #[test]
    fn of_one_piece_nothing_is_copied() {
        let mut kept = kept(&[]);
        let piece = Bytes::from(vec![b'x'; 10_000]);
        kept.keep(&piece);
        assert_eq!(kept.whole().map(|all| all.as_ptr()), Some(piece.as_ptr()));
    }

    #[test]
    fn too_much_is_not_kept_at_all() {
        assert_eq!(kept(&[KEPT_BODY - 1, 1]).whole().map(|all| all.len()), Some(KEPT_BODY));
        for pieces in [&[KEPT_BODY + 1][..], &[KEPT_BODY, 1], &[1, KEPT_BODY - 1, 1, 1]] {
            assert_eq!(kept(pieces), KeptBody::TooMuch);
        }
        assert!(kept(&[KEPT_BODY + 1]).is_truncated() && kept(&[KEPT_BODY + 1]).whole().is_none());
    }
}
