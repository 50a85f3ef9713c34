//! Counting the frames of an HTTP/2 client that cost it nothing and us something.
//!
//! The protocol lets a client send pings, settings, priorities, window updates, frames of unknown kinds, and requests
//! that it takes back at once, as many as it likes (RFC 9113, section 10.5); the library under us answers them all as
//! long as the client reads. Here each of them is paid from a budget that comes back with time and with what is really
//! served. Heads without end, heads that unpack to much, and bodies in empty pieces the library bounds itself.
//!
//! Only the nine bytes before each frame are looked at. Errors of framing are the library's matter.

use super::deadline::Tick;

/// The budget of frames that carry nothing. A client that downloads at 10 Gbit/s and opens its windows after each frame
/// uses a tenth of what its download gives it back.
const IDLE_FRAMES: Budget = Budget { left: 10_000, most: 10_000, each_tick: 250 };

/// The budget of requests that are taken back. Whoever takes back half of what it asks, or a hundred each second, pays
/// nothing.
const RESETS: Budget = Budget { left: 1000, most: 1000, each_tick: 50 };

/// What taking back a request costs; asking it has given one.
const RESET: i64 = 2;

/// How many bytes sent to the client pay for one frame.
const SENT_PER_FRAME: i64 = 1024;

/// What the first bytes of a connection are; they are no frame.
const PREFACE: u32 = 24;
const HEAD: usize = 9;

/// A client has sent more than its budget of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// The last request that was read.
    pub last_stream: u32,
}

/// Counts the frames of one connection.
#[derive(Debug)]
pub struct Meter {
    head: [u8; HEAD],
    /// How much of a head is there.
    have: usize,
    /// How much of a payload is still to come.
    skip: u32,
    /// A head has begun, and its last frame has not come.
    head_open: bool,
    idle: Budget,
    resets: Budget,
    last_stream: u32,
    now: Tick,
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

    fn take(&mut self, cost: i64) -> bool {
        self.left -= cost;
        self.left >= 0
    }
}

impl Meter {
    /// For a connection whose preface is still to be read.
    pub fn new(now: Tick) -> Meter {
        Meter {
            head: [0; HEAD],
            have: 0,
            skip: PREFACE,
            head_open: false,
            idle: IDLE_FRAMES,
            resets: RESETS,
            last_stream: 0,
            now,
        }
    }

    /// Whether a head has begun without its end.
    pub fn head_is_open(&self) -> bool {
        self.head_open
    }

    /// These bytes were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.idle.give(i64::try_from(bytes).unwrap_or(i64::MAX) / SENT_PER_FRAME);
    }

    /// These bytes have come from the client.
    ///
    /// # Errors
    /// If they are more frames than the client may send.
    pub fn received(&mut self, mut bytes: &[u8], now: Tick) -> Result<(), Flood> {
        let ticks = i64::from(now.since(self.now));
        if ticks > 0 {
            self.now = now;
            self.idle.give(ticks.saturating_mul(self.idle.each_tick));
            self.resets.give(ticks.saturating_mul(self.resets.each_tick));
        }
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(self.skip as usize);
                bytes = bytes.get(skipped..).unwrap_or_default();
                self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(HEAD - self.have));
            if let Some(free) = self.head.get_mut(self.have..self.have + now.len()) {
                free.copy_from_slice(now);
            }
            self.have += now.len();
            bytes = rest;
            if self.have == HEAD {
                self.have = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), Flood> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const CONTINUATION: u8 = 9;
        const END_HEADERS: u8 = 4;
        let [long, middle, short, kind, flags, stream @ ..] = self.head;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.head_open = flags & END_HEADERS == 0;
        }
        self.skip = u32::from_be_bytes([0, long, middle, short]);
        let paid = match kind {
            DATA => true,
            HEADERS => {
                self.last_stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                self.resets.give(1);
                true
            }
            RST_STREAM => self.resets.take(RESET),
            _ => self.idle.take(1),
        };
        if paid { Ok(()) } else { Err(Flood { last_stream: self.last_stream }) }
    }
}

/// The last frame of a connection: GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, section 6.8).
pub fn farewell(flood: Flood) -> [u8; 17] {
    let [a, b, c, d] = flood.last_stream.to_be_bytes();
    [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 11]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::deadline::TICK;

    const PING: u8 = 6;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0], &stream.to_be_bytes(), payload].concat()
    }

    fn meter() -> Meter {
        let mut meter = Meter::new(now());
        meter.received(&[b'p'; 24], now()).unwrap();
        meter
    }

    fn now() -> Tick {
        Tick::now()
    }

    #[test]
    fn frames_that_carry_nothing_come_to_an_end_however_they_are_cut() {
        for cut in [1, 2, 7, 9, 17, 1000] {
            let mut meter = meter();
            let flood = frame(PING, 0, &[0; 8]).repeat(10_001);
            let flooded = flood.chunks(cut).map(|piece| meter.received(piece, now())).filter(Result::is_err).count();
            assert!(flooded > 0, "in pieces of {cut}");
            let mut meter = self::meter();
            let all_right = frame(PING, 0, &[0; 8]).repeat(10_000);
            assert!(all_right.chunks(cut).all(|piece| meter.received(piece, now()).is_ok()), "in pieces of {cut}");
        }
    }

    #[test]
    fn what_looks_like_frames_in_a_payload_is_none() {
        let mut meter = meter();
        let payload = frame(PING, 0, &[0; 8]).repeat(900);
        for _ in 0..1000 {
            meter.received(&frame(0, 1, &payload), now()).unwrap();
        }
    }

    #[test]
    fn time_and_what_is_sent_give_back() {
        let mut meter = meter();
        let some = frame(PING, 0, &[0; 8]).repeat(250);
        let (mut later, mut ticks) = (now(), 0);
        for _ in 0..1000 {
            meter.received(&some, later).unwrap();
            ticks += 1;
            later = Tick::after(TICK * ticks);
        }
        for _ in 0..1000 {
            meter.received(&some, later).unwrap();
            meter.sent(250 * 1024);
        }
    }

    #[test]
    fn requests_may_be_taken_back_but_not_all_of_them_for_long() {
        let asked = frame(1, 7, b"head");
        let reset = frame(3, 7, &[0; 4]);
        let mut meter = meter();
        for _ in 0..100_000 {
            meter.received(&[&asked[..], &asked, &reset].concat(), now()).unwrap();
        }
        let all = [asked, reset].concat();
        let taken_back = (0..).find(|_| meter.received(&all, now()).is_err()).unwrap();
        assert!((900..1100).contains(&taken_back), "{taken_back}");
        assert_eq!(farewell(Flood { last_stream: 7 })[9..13], [0, 0, 0, 7]);
    }
}
