//! A bounded line of those who wait for room: first come, first served.

use std::collections::VecDeque;

/// Whom a full line sheds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// Whoever comes last: those who wait are not worse off.
    Newest,
    /// Whoever has waited longest: its client may have given up already.
    Oldest,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Line<T> {
    waiting: VecDeque<T>,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line { waiting: VecDeque::new() }
    }
}

impl<T> Line<T> {
    /// Lines up at the end. If more than `most` would wait, says who must go.
    pub fn enter(&mut self, one: T, most: usize, shed: Shed) -> Option<T> {
        if self.waiting.len() < most {
            self.waiting.push_back(one);
            return None;
        }
        match shed {
            Shed::Newest => Some(one),
            Shed::Oldest => {
                let oldest = self.waiting.pop_front();
                self.waiting.push_back(one);
                oldest
            }
        }
    }

    /// Takes whose turn it is.
    pub fn first(&mut self) -> Option<T> {
        self.waiting.pop_front()
    }

    /// Its turn came to nothing: it stays the first.
    pub fn put_back(&mut self, one: T) {
        self.waiting.push_front(one);
    }

    /// Leaves the line.
    pub fn leave(&mut self, gone: impl Fn(&T) -> bool) {
        self.waiting.retain(|one| !gone(one));
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(count: u32, most: usize, shed: Shed) -> (Vec<u32>, Vec<u32>) {
        let mut line = Line::default();
        let gone = (0..count).filter_map(|one| line.enter(one, most, shed)).collect();
        (gone, std::iter::from_fn(|| line.first()).collect())
    }

    #[test]
    fn first_come_first_served_and_the_newest_goes_when_it_is_full() {
        assert_eq!(line(5, 3, Shed::Newest), (vec![3, 4], vec![0, 1, 2]));
    }

    #[test]
    fn or_the_oldest_goes() {
        assert_eq!(line(5, 3, Shed::Oldest), (vec![0, 1], vec![2, 3, 4]));
    }

    #[test]
    fn whose_turn_came_to_nothing_stays_the_first() {
        let mut line = Line::default();
        assert!((0..3).all(|one| line.enter(one, 9, Shed::Newest).is_none()));
        let first = line.first().unwrap();
        line.put_back(first);
        line.leave(|one| *one == 1);
        assert_eq!((line.first(), line.first(), line.first()), (Some(0), Some(2), None));
    }
}
