//! Counting the frames of a client that cost it nothing and us something.
//!
//! The protocol lets a client send pings, settings, priorities, window updates, frames of unknown kinds, and requests
//! that it takes back at once, as many as it likes (RFC 9113, section 10.5), and all must be answered or done. Here each of them is
//! paid from a budget that comes back with time and with what is really served.

use super::frame::{Head, kind};

/// The budget of frames that carry nothing. A client that downloads at 10 Gbit/s and opens its windows after each frame
/// uses a tenth of what its download gives it back.
const IDLE_FRAMES: Budget = Budget { left: 10_000, most: 10_000, each_tick: 250 };

/// The budget of requests that are taken back, or that must be ended for what their client did to them (CVE-2025-8671). Whoever does
/// that with half of what it asks, or a hundred each second, pays nothing.
const RESETS: Budget = Budget { left: 1000, most: 1000, each_tick: 50 };

/// What such a request costs; asking it has given one.
const RESET: i64 = 2;

/// How many bytes sent to the client pay for one frame.
const SENT_PER_FRAME: i64 = 1024;

/// A client has sent more than its budget of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

/// Counts the frames of one connection.
#[derive(Debug)]
pub struct Meter {
    idle: Budget,
    resets: Budget,
    now: u32,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    left: i64,
    most: i64,
    each_tick: i64,
}

impl Budget {
    fn give(&mut self, more: i64) {
        self.left = self.left.saturating_add(more).min(self.most);
    }

    fn take(&mut self, cost: i64) -> Result<(), Flood> {
        self.left -= cost;
        if self.left >= 0 { Ok(()) } else { Err(Flood) }
    }
}

impl Meter {
    /// All may be spent.
    pub const fn new() -> Meter {
        Meter { idle: IDLE_FRAMES, resets: RESETS, now: 0 }
    }

    /// It is so many quarters of a second since the connection began.
    pub fn pass(&mut self, now: u32) {
        let ticks = i64::from(now.saturating_sub(self.now));
        if ticks > 0 {
            self.now = now;
            self.idle.give(ticks.saturating_mul(self.idle.each_tick));
            self.resets.give(ticks.saturating_mul(self.resets.each_tick));
        }
    }

    /// These bytes were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.idle.give(i64::try_from(bytes).unwrap_or(i64::MAX) / SENT_PER_FRAME);
    }

    /// A request has begun.
    pub fn began(&mut self) {
        self.resets.give(1);
    }

    /// A request of the client's was ended for what it did to it.
    ///
    /// # Errors
    /// It is one more than it may do that with.
    pub fn offended(&mut self) -> Result<(), Flood> {
        self.resets.take(RESET)
    }

    /// A frame has come from the client.
    ///
    /// # Errors
    /// It is one more than the client may send.
    pub fn came(&mut self, head: Head) -> Result<(), Flood> {
        match head.kind {
            kind::DATA | kind::HEADERS => Ok(()),
            kind::RST_STREAM => self.resets.take(RESET),
            _ => self.idle.take(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8) -> Head {
        Head { length: 0, kind, flags: 0, stream: 0 }
    }

    #[test]
    fn frames_that_carry_nothing_come_to_an_end() {
        let mut meter = Meter::new();
        assert!((0..10_000).all(|_| meter.came(frame(kind::PING)).is_ok()));
        assert_eq!(meter.came(frame(kind::PING)), Err(Flood));
        assert_eq!(meter.came(frame(kind::DATA)), Ok(()));
    }

    #[test]
    fn time_and_what_is_sent_give_back() {
        let mut meter = Meter::new();
        let some = |meter: &mut Meter| (0..250).all(|_| meter.came(frame(kind::WINDOW_UPDATE)).is_ok());
        for ticks in 0..1000 {
            meter.pass(ticks);
            assert!(some(&mut meter));
        }
        for _ in 0..1000 {
            assert!(some(&mut meter));
            meter.sent(250 * 1024);
        }
    }

    #[test]
    fn requests_may_be_taken_back_but_not_all_of_them_for_long() {
        let mut meter = Meter::new();
        for _ in 0..100_000 {
            meter.began();
            meter.began();
            meter.came(frame(kind::RST_STREAM)).unwrap();
        }
        let taken_back = (0..).find(|_| {
            meter.began();
            // Trailers, which begin nothing.
            meter.came(frame(kind::HEADERS)).unwrap();
            meter.came(frame(kind::RST_STREAM)).is_err()
        });
        let taken_back = taken_back.unwrap();
        assert!((900..1100).contains(&taken_back), "{taken_back}");
    }
}
