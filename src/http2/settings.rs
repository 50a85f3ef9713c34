//! What the two sides of a connection ask of each other (RFC 9113, section 6.5).

use super::fault::Code;
use super::frame::SMALLEST_LIMIT;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// The window that a stream and a connection have before anything is said of it (section 6.9.2).
pub const FIRST_WINDOW: u32 = 65_535;

/// What we hold of what the other side sends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams that it may have open at a time.
    pub streams: u32,
    /// Of a list of fields, as section 6.5.2 counts it.
    pub fields: usize,
    /// What it may send on a stream before anybody has taken it.
    pub stream_window: u32,
    /// The same for all streams together.
    pub connection_window: u32,
    /// The largest payload of a frame.
    pub frame: u32,
    /// Streams that we have reset and whose frames may still be under way.
    pub remembered_resets: usize,
}

impl Limits {
    /// As the payload of a frame. A server does not say that it wants no pushes.
    pub fn payload(&self, is_client: bool) -> Vec<u8> {
        let list = u32::try_from(self.fields).unwrap_or(u32::MAX);
        let streams = if is_client { (ENABLE_PUSH, 0) } else { (MAX_CONCURRENT_STREAMS, self.streams) };
        let all = [
            streams,
            (INITIAL_WINDOW_SIZE, self.stream_window),
            (MAX_FRAME_SIZE, self.frame),
            (MAX_HEADER_LIST_SIZE, list),
        ];
        all.iter().flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect()
    }
}

/// What the other side asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The first window of each stream.
    pub stream_window: u32,
    /// The largest payload of a frame that it takes.
    pub frame: u32,
    /// Streams that we may have open at a time, if it has said so.
    pub streams: Option<u32>,
    /// The table of fields that we may use.
    pub table: u32,
    /// The smallest that it was allowed to be since the frame before: what was beyond is gone (RFC 7541, section 4.2).
    pub smallest_table: u32,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked { stream_window: FIRST_WINDOW, frame: SMALLEST_LIMIT, streams: None, table: 4096, smallest_table: 4096 }
    }
}

impl Asked {
    /// Learns from the payload of a frame. What is unknown says nothing.
    ///
    /// # Errors
    /// A value that is none, which ends the connection.
    pub fn learn(&mut self, payload: &[u8], of_server: bool) -> Result<(), Code> {
        let (entries, []) = payload.as_chunks::<6>() else { return Err(Code::FRAME_SIZE_ERROR) };
        self.smallest_table = self.table;
        for [a, b, value @ ..] in entries {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                HEADER_TABLE_SIZE => {
                    self.table = value;
                    self.smallest_table = self.smallest_table.min(value);
                }
                // Only a client says that it takes some; and none takes some here.
                ENABLE_PUSH if value > 1 || (of_server && value == 1) => return Err(Code::PROTOCOL_ERROR),
                MAX_CONCURRENT_STREAMS => self.streams = Some(value),
                INITIAL_WINDOW_SIZE if value > 0x7fff_ffff => return Err(Code::FLOW_CONTROL_ERROR),
                INITIAL_WINDOW_SIZE => self.stream_window = value,
                MAX_FRAME_SIZE if !(SMALLEST_LIMIT..1 << 24).contains(&value) => return Err(Code::PROTOCOL_ERROR),
                MAX_FRAME_SIZE => self.frame = value,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: u16, value: u32) -> Vec<u8> {
        [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
    }

    #[test]
    fn what_one_side_says_the_other_learns() {
        let limits = Limits {
            streams: 7,
            fields: 1000,
            stream_window: 1 << 20,
            connection_window: 1 << 21,
            frame: 1 << 15,
            remembered_resets: 1,
        };
        let mut asked = Asked::default();
        asked.learn(&limits.payload(false), true).unwrap();
        assert_eq!(asked, Asked { stream_window: 1 << 20, frame: 1 << 15, streams: Some(7), ..Asked::default() });
        let mut asked = Asked::default();
        asked.learn(&limits.payload(true), false).unwrap();
        assert_eq!(asked.streams, None);
    }

    #[test]
    fn a_table_that_shrinks_and_grows_at_once_has_shrunk() {
        let mut asked = Asked::default();
        asked.learn(&[entry(HEADER_TABLE_SIZE, 0), entry(HEADER_TABLE_SIZE, 4096)].concat(), false).unwrap();
        assert_eq!((asked.smallest_table, asked.table), (0, 4096));
        asked.learn(&[], false).unwrap();
        assert_eq!((asked.smallest_table, asked.table), (4096, 4096));
    }

    #[test]
    fn what_no_side_may_say_is_an_error_of_its_own_kind() {
        let learn = |payload: &[u8], of_server| Asked::default().learn(payload, of_server);
        assert_eq!(learn(&[0; 5], false), Err(Code::FRAME_SIZE_ERROR));
        assert_eq!(learn(&entry(ENABLE_PUSH, 2), false), Err(Code::PROTOCOL_ERROR));
        assert_eq!(learn(&entry(ENABLE_PUSH, 1), false), Ok(()));
        assert_eq!(learn(&entry(ENABLE_PUSH, 1), true), Err(Code::PROTOCOL_ERROR));
        assert_eq!(learn(&entry(INITIAL_WINDOW_SIZE, 1 << 31), true), Err(Code::FLOW_CONTROL_ERROR));
        assert_eq!(learn(&entry(MAX_FRAME_SIZE, 16_383), true), Err(Code::PROTOCOL_ERROR));
        assert_eq!(learn(&entry(MAX_FRAME_SIZE, 1 << 24), true), Err(Code::PROTOCOL_ERROR));
        assert_eq!(learn(&entry(0x42, u32::MAX), true), Ok(()));
    }
}
