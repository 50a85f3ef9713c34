//! Whether a backend is fit to be picked, and what stands against it: one atomic, so that a pick reads it for nothing.

use std::sync::atomic::{AtomicU8, Ordering};

/// What can stand against a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Against {
    /// It cannot be connected to.
    Unreachable = 1,
    /// An operator has said that it shall take no new requests.
    Drained = 2,
    /// Its traffic has taken it out.
    Ejected = 4,
}

impl Against {
    /// All there is; what says most about a backend comes first.
    pub const ALL: [Against; 3] = [Against::Drained, Against::Unreachable, Against::Ejected];

    /// The word for a backend that this stands against.
    pub const fn token(self) -> &'static str {
        match self {
            Against::Drained => "drained",
            Against::Unreachable => "unhealthy",
            Against::Ejected => "ejected",
        }
    }
}

/// What stands against one backend; at first nothing.
#[derive(Debug, Default)]
pub struct Standing(AtomicU8);

/// A change of fitness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing stands against it any more.
    Fit,
    /// Something does now.
    Unfit,
}

impl Standing {
    /// Whether nothing stands against it.
    pub fn is_fit(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Whether this stands against it.
    pub fn has(&self, against: Against) -> bool {
        self.0.load(Ordering::Relaxed) & against as u8 != 0
    }

    /// From now on this stands against it.
    pub fn hold(&self, against: Against) -> Option<Turn> {
        (self.0.fetch_or(against as u8, Ordering::Relaxed) == 0).then_some(Turn::Unfit)
    }

    /// From now on this does not.
    pub fn forgive(&self, against: Against) -> Option<Turn> {
        (self.0.fetch_and(!(against as u8), Ordering::Relaxed) == against as u8).then_some(Turn::Fit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_turns_with_the_first_and_the_last_that_stands_against_it() {
        let standing = Standing::default();
        assert_eq!(standing.forgive(Against::Unreachable), None);
        assert_eq!(standing.hold(Against::Unreachable), Some(Turn::Unfit));
        assert_eq!(standing.hold(Against::Unreachable), None);
        assert_eq!(standing.hold(Against::Ejected), None);
        assert_eq!(standing.forgive(Against::Ejected), None);
        assert!(!standing.is_fit() && standing.has(Against::Unreachable));
        assert_eq!(standing.forgive(Against::Unreachable), Some(Turn::Fit));
        assert!(standing.is_fit());
    }
}
