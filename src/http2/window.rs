//! Flow control (RFC 9113, section 5.2): how much one side may send before the other has taken it.

/// The largest window (section 6.9.1).
const LARGEST: i64 = 0x7fff_ffff;

/// A window was opened beyond the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// How much we may send. It may be less than nothing, where the other side has made its first windows smaller (section 6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(i64);

impl Window {
    /// Of this size.
    pub fn new(size: u32) -> Window {
        Window(size.into())
    }

    /// How much may be sent now.
    pub fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// So much was sent, of what there was room for.
    pub fn use_up(&mut self, sent: usize) {
        self.0 -= i64::try_from(sent).unwrap_or(LARGEST);
    }

    /// It becomes larger, or smaller.
    ///
    /// # Errors
    /// It would be larger than a window can be.
    pub fn change(&mut self, by: i64) -> Result<(), Overflow> {
        self.0 += by;
        if self.0 > LARGEST { Err(Overflow) } else { Ok(()) }
    }
}

/// More has come than was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded;

/// How much the other side may send, and what it is still to be told of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How much may still come.
    left: u32,
    /// What was taken, and not told.
    untold: u32,
}

impl Allowance {
    /// At most so much at a time.
    pub fn new(most: u32) -> Allowance {
        Allowance { left: most, untold: 0 }
    }

    /// So much has come.
    ///
    /// # Errors
    /// It is more than was allowed.
    pub fn came(&mut self, length: u32) -> Result<(), Exceeded> {
        self.left = self.left.checked_sub(length).ok_or(Exceeded)?;
        Ok(())
    }

    /// So much was taken of what had come. What is to be told now: the window opens by this. It is told when it is half of what may still
    /// come without it: few frames say it, and it is said in time also where most of the window is held by what nobody takes.
    #[must_use]
    pub fn taken(&mut self, length: u32) -> Option<u32> {
        self.untold = self.untold.saturating_add(length);
        if self.untold < self.left / 2 {
            return None;
        }
        self.left = self.left.saturating_add(self.untold);
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_be_less_than_nothing_and_opens_again() {
        let mut window = Window::new(100);
        window.use_up(80);
        window.change(-60).unwrap();
        assert_eq!(window.room(), 0);
        window.change(50).unwrap();
        assert_eq!(window.room(), 10);
    }

    #[test]
    fn no_window_is_larger_than_the_largest() {
        let mut window = Window::new(0x7fff_ffff);
        assert_eq!(window.change(1), Err(Overflow));
        let mut window = Window::new(0);
        assert_eq!(window.change(0x7fff_ffff), Ok(()));
    }

    #[test]
    fn what_is_taken_may_be_sent_again_once_it_is_told() {
        let mut allowance = Allowance::new(100);
        allowance.came(100).unwrap();
        assert_eq!(allowance.came(1), Err(Exceeded));
        assert_eq!(allowance.taken(50), Some(50));
        assert_eq!(allowance.came(51), Err(Exceeded));
        assert_eq!(allowance.came(50), Ok(()));
    }

    #[test]
    fn few_frames_tell_of_what_was_taken_and_also_of_little_where_little_is_left() {
        let mut allowance = Allowance::new(1000);
        allowance.came(300).unwrap();
        assert_eq!(allowance.taken(300), None);
        allowance.came(100).unwrap();
        assert_eq!(allowance.taken(100), Some(400));
        // Nobody takes this.
        allowance.came(900).unwrap();
        allowance.came(60).unwrap();
        assert_eq!(allowance.taken(60), Some(60));
    }
}
