"""HTTP/2 frame by frame (RFC 9113), as an attacker writes them: nothing that is read back is understood, but the windows."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def hello(**settings):
    """The preface, and settings by number as in `hello(s4=0)`."""
    payload = b"".join(int(k[1:]).to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in settings.items())
    return PREFACE + frame(SETTINGS, 0, 0, payload) + frame(SETTINGS, ACK, 0)


def literal(name, value):
    """A field that is not to be remembered (RFC 7541, section 6.2.2)."""
    return b"\x00" + text(name) + text(value)


def text(content):
    return integer(len(content), 7) + content


def integer(number, bits):
    """RFC 7541, section 5.1, with nothing else in the first byte."""
    most = (1 << bits) - 1
    if number < most:
        return bytes((number,))
    out, number = bytes((most,)), number - most
    while number >= 128:
        out, number = out + bytes((number % 128 + 128,)), number // 128
    return out + bytes((number,))


def block(path=b"/", method=b"GET", more=b""):
    """The fields of a request."""
    return literal(b":method", method) + b"\x86" + literal(b":authority", b"a") + literal(b":path", path) + more


def get(stream, path=b"/"):
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block(path))
