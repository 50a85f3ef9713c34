//! How frames begin (RFC 9113, section 4.1), and their names.

/// How long the head of a frame is.
pub const HEAD: usize = 9;

/// The largest payload that every peer takes without being asked (section 6.5.2).
pub const SMALLEST_LIMIT: u32 = 1 << 14;

/// What a frame is.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// What is said of a frame.
pub mod flag {
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How long its payload is; of 24 bits.
    pub length: u32,
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// Of 31 bits; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// As it came.
    pub fn read(bytes: [u8; HEAD]) -> Head {
        let [long, middle, short, kind, flags, stream @ ..] = bytes;
        let length = u32::from_be_bytes([0, long, middle, short]);
        Head { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    /// As it goes.
    pub fn bytes(self) -> [u8; HEAD] {
        let [_, long, middle, short] = self.length.to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        [long, middle, short, self.kind, self.flags, a, b, c, d]
    }

    /// Whether it has this flag.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(length in 0..1_u32 << 24, kind: u8, flags: u8, stream in 0..1_u32 << 31) {
            let head = Head { length, kind, flags, stream };
            prop_assert_eq!(Head::read(head.bytes()), head);
        }
    }
}
