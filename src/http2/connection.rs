//! The state of one connection, without its socket: bytes come in ([`receive`](super::receive)), frames wait to go out
//! ([`Outbox`]), and those who hold streams are woken.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use super::fault::{By, Code, Fault};
use super::flood::{Flood, Meter};
use super::frame::{flag, kind};
use super::hpack::{Decoder, Encoder};
use super::message::Head;
use super::outbox::Outbox;
use super::receive::Reader;
use super::settings::{Asked, FIRST_WINDOW, Limits};
use super::stream::Stream;
use super::window::{Allowance, Window};

/// What a client sends before all frames (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The table of fields that the other side may use: what it has without being told.
const TABLE: usize = 4096;

/// With so much unsent no body adds to it.
const ROOM: usize = 64 * 1024;

/// With so much unsent nothing is read that could make us say more.
const MOST_UNSENT: usize = 128 * 1024;

/// What asks a client whether it has seen that nothing new should come (section 6.8).
const LAST_CALL: [u8; 8] = *b"evenkeel";

/// What asks whether the other side lives.
const ALIVE: [u8; 8] = *b"keeleven";

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// It goes on.
    On,
    /// The client was told that it should begin nothing, and may not have seen it yet.
    LastCall,
    /// Nothing new begins; what has begun ends well.
    Away,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Connection<H: Head> {
    pub(super) limits: Limits,
    pub(super) asked: Asked,
    /// It has asked.
    pub(super) is_greeted: bool,
    pub(super) reader: Reader,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) outbox: Outbox,
    /// What we may send, over all streams.
    pub(super) window: Window,
    /// What the other side may send, over all streams.
    pub(super) allowance: Allowance,
    /// Those that somebody holds, or is to be given.
    pub(super) streams: Slab<Stream<H>>,
    /// Those of them that are open.
    pub(super) open: HashMap<u32, usize, FixedState>,
    /// The last stream that a client has begun.
    pub(super) last: u32,
    /// Requests that nobody was given yet.
    pub(super) unheld: VecDeque<(usize, H)>,
    /// How many of those were taken back.
    pub(super) taken_back: usize,
    /// Streams that we have reset, the last of them at the end.
    pub(super) reset: VecDeque<u32>,
    /// The highest of those that are forgotten.
    forgotten: u32,
    /// Streams that wait for room on the connection, who waits longest first.
    blocked: VecDeque<usize>,
    /// Who waits to begin a stream.
    pub(super) beginners: Vec<Waker>,
    pub(super) going: Going,
    /// What a client may still send that costs it nothing.
    pub(super) meter: Meter,
    /// Bytes that have left.
    pub(super) written: u64,
    /// Why the connection has ended.
    pub(super) fault: Option<Fault>,
    /// How often the other side has said that it lives when it was asked.
    pub(super) pongs: u64,
    pub(super) driver: Option<Waker>,
}

/// The state of a connection, for all who have to do with it. They are all on one core.
#[derive(Debug)]
pub struct Shared<H: Head>(Mutex<Connection<H>>);

impl<H: Head> Shared<H> {
    pub fn lock(&self) -> MutexGuard<'_, Connection<H>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Head> Connection<H> {
    /// Nothing has come yet; what is said first waits to be sent.
    pub fn shared(limits: Limits) -> Shared<H> {
        let mut outbox = Outbox::default();
        if !H::IS_REQUEST {
            outbox.raw(PREFACE);
        }
        outbox.frame(kind::SETTINGS, 0, 0, &limits.payload(!H::IS_REQUEST));
        if let Some(more) = limits.connection_window.checked_sub(FIRST_WINDOW).filter(|more| *more > 0) {
            outbox.frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        Shared(Mutex::new(Connection {
            reader: Reader::new(H::IS_REQUEST),
            decoder: Decoder::new(TABLE),
            encoder: Encoder::new(),
            asked: Asked::default(),
            is_greeted: false,
            outbox,
            window: Window::new(FIRST_WINDOW),
            allowance: Allowance::new(limits.connection_window),
            streams: Slab::new(),
            open: HashMap::default(),
            last: 0,
            unheld: VecDeque::new(),
            taken_back: 0,
            reset: VecDeque::new(),
            forgotten: 0,
            blocked: VecDeque::new(),
            beginners: Vec::new(),
            going: Going::On,
            meter: Meter::new(),
            written: 0,
            fault: None,
            pongs: 0,
            driver: None,
            limits,
        }))
    }

    /// Something waits to be sent, and whoever drives the connection may not know it.
    pub fn notify(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// So much has left.
    pub fn wrote(&mut self, count: usize) {
        self.outbox.wrote(count);
        self.meter.sent(count);
        self.written += count as u64;
    }

    /// Whether more may be read.
    pub fn reads(&self) -> bool {
        self.fault.is_none() && self.outbox.unsent() < MOST_UNSENT
    }

    /// How much of a body there is room for on the connection.
    pub fn room(&self) -> usize {
        self.window.room().min(ROOM.saturating_sub(self.outbox.unsent()))
    }

    /// This stream waits for room on the connection.
    pub fn block(&mut self, key: usize) {
        if let Some(stream) = self.streams.get_mut(key)
            && !std::mem::replace(&mut stream.is_blocked, true)
        {
            self.blocked.push_back(key);
        }
    }

    /// This stream waits no more.
    pub fn forget_blocked(&mut self, key: usize) {
        self.blocked.retain(|blocked| *blocked != key);
    }

    /// There is room: those who wait longest take of it, and ask again behind the others. As many are woken as have something of it;
    /// if they leave some, they wake the next.
    pub fn unblock(&mut self) {
        let mut room = self.room();
        while room > 0
            && let Some(key) = self.blocked.pop_front()
        {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.is_blocked = false;
                if stream.writer.is_some() {
                    room = room.saturating_sub(self.asked.frame as usize);
                    stream.wake_writer();
                }
            }
        }
    }

    /// So much of what had come was taken.
    pub fn taken(&mut self, length: usize) {
        if let Some(more) = self.allowance.taken(u32::try_from(length).unwrap_or(u32::MAX)) {
            self.outbox.frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
            self.notify();
        }
    }

    /// Whether a stream with this number was ended by us, so that its frames may be under way.
    pub fn was_reset(&self, id: u32) -> bool {
        id <= self.forgotten || self.reset.contains(&id)
    }

    /// Tells the other side that a stream has ended, whether or not somebody holds it.
    pub fn say_reset(&mut self, id: u32, code: Code) {
        self.outbox.frame(kind::RST_STREAM, 0, id, &code.0.to_be_bytes());
        if self.reset.len() >= self.limits.remembered_resets
            && let Some(id) = self.reset.pop_front()
        {
            self.forgotten = self.forgotten.max(id);
        }
        self.reset.push_back(id);
        self.notify();
    }

    /// Ends a stream for what the other side did to it.
    ///
    /// # Errors
    /// It did so too often.
    pub fn punish(&mut self, id: u32, code: Code) -> Result<(), Code> {
        self.offended()?;
        self.say_reset(id, code);
        if let Some(key) = self.open.get(&id).copied() {
            self.end(key, Fault::Reset(code, By::Us));
        }
        Ok(())
    }

    /// A client has done something to a stream that it cannot have meant.
    ///
    /// # Errors
    /// It did so too often.
    pub fn offended(&mut self) -> Result<(), Code> {
        // What is wrong with an answer ends that answer, however often: the backend is ours.
        if H::IS_REQUEST { self.meter.offended().map_err(|Flood| Code::ENHANCE_YOUR_CALM) } else { Ok(()) }
    }

    /// A stream has ended otherwise than in order.
    pub fn end(&mut self, key: usize, fault: Fault) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.is_closed()) else { return };
        stream.fault = Some(fault);
        stream.wake_reader();
        stream.wake_writer();
        self.close(key);
    }

    /// A stream may be closed now.
    pub fn close(&mut self, key: usize) {
        if let Some(stream) = self.streams.get(key)
            && stream.is_closed()
            && self.open.remove(&stream.id).is_some()
        {
            self.admit();
        }
    }

    /// There may be a place for another stream, or none any more.
    pub fn admit(&mut self) {
        self.beginners.drain(..).for_each(Waker::wake);
        // Whoever drives the connection may wait for the last of them.
        if self.open.is_empty() && self.going == Going::Away {
            self.notify();
        }
    }

    /// The other side has broken the protocol: the connection ends, and is told why.
    pub fn fail(&mut self, code: Code) {
        if self.fault.is_none() {
            self.say_away(self.last, code);
            self.end_all(Fault::GoAway(code, By::Us));
        }
    }

    /// The connection has ended, and all streams with it.
    pub fn end_all(&mut self, fault: Fault) {
        if self.fault.is_some() {
            return;
        }
        self.fault = Some(fault);
        let open: Vec<usize> = self.open.values().copied().collect();
        for key in open {
            self.end(key, fault);
        }
        self.admit();
        self.notify();
    }

    /// There is no connection any more.
    pub fn lose(&mut self, kind: io::ErrorKind) {
        self.outbox.clear();
        self.end_all(Fault::Io(kind));
    }

    fn say_away(&mut self, last: u32, code: Code) {
        // We begin streams, and never the other side, as a client.
        let last = if H::IS_REQUEST { last } else { 0 };
        let [a, b, c, d] = last.to_be_bytes();
        let [e, f, g, h] = code.0.to_be_bytes();
        self.outbox.frame(kind::GOAWAY, 0, 0, &[a, b, c, d, e, f, g, h]);
    }

    /// Nothing new is to begin. A server gives its client the time to see that (section 6.8).
    pub fn shut_down(&mut self) {
        if self.going != Going::On || self.fault.is_some() {
            return;
        }
        if H::IS_REQUEST {
            self.say_away(0x7fff_ffff, Code::NO_ERROR);
            self.outbox.frame(kind::PING, 0, 0, &LAST_CALL);
            self.going = Going::LastCall;
        } else {
            self.say_away(0, Code::NO_ERROR);
            self.going = Going::Away;
        }
        self.notify();
    }

    /// Asks whether the other side lives.
    pub fn ask(&mut self) {
        self.outbox.frame(kind::PING, 0, 0, &ALIVE);
        self.notify();
    }

    /// The answer to a ping has come.
    pub fn answered(&mut self, payload: &[u8]) {
        if payload == ALIVE {
            self.pongs += 1;
        } else if payload == LAST_CALL && self.going == Going::LastCall {
            self.say_away(self.last, Code::NO_ERROR);
            self.going = Going::Away;
        }
    }

    /// A ping has come.
    pub fn answer(&mut self, payload: &[u8]) {
        self.outbox.frame(kind::PING, flag::ACK, 0, payload);
    }

    /// Whether nothing more is to be said or heard, once what waits was sent.
    pub fn is_over(&self) -> bool {
        self.fault.is_some() || (self.going == Going::Away && self.open.is_empty() && self.unheld.is_empty())
    }
}
