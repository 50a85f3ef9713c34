//! What comes over a stream of HTTP/2 in answer to a request, part by part, as the library has it.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use pingora::{Error, ErrorType, Result};

/// A head.
pub(super) enum Answer {
    Interim(Parts),
    Final(Parts, RecvStream),
}

/// Interim answers come first: whoever asks for the final one does not get them.
pub(super) fn poll_head(answer: &mut ResponseFuture, task: &mut Context<'_>) -> Poll<Result<Answer, h2::Error>> {
    if let Some(interim) = ready!(answer.poll_informational(task)) {
        return Poll::Ready(interim.map(|head| Answer::Interim(head.into_parts().0)));
    }
    let (head, body) = ready!(Pin::new(answer).poll(task))?.into_parts();
    Poll::Ready(Ok(Answer::Final(head, body)))
}

/// What comes after a head.
pub(super) enum Rest {
    /// Not empty.
    Piece(Bytes),
    End(Option<HeaderMap>),
}

/// What comes of a body. After a whole answer a backend may say that it needs no more of the request (RST_STREAM with NO_ERROR;
/// RFC 9113, section 8.1): the library keeps the end that came before. Without that end it is an error like any other.
pub(super) fn poll_body(body: &mut RecvStream, task: &mut Context<'_>) -> Poll<Result<Rest, h2::Error>> {
    loop {
        match ready!(body.poll_data(task)) {
            Some(Ok(piece)) => {
                // Fails for a stream that has ended, which needs no window.
                drop(body.flow_control().release_capacity(piece.len()));
                if !piece.is_empty() {
                    return Poll::Ready(Ok(Rest::Piece(piece)));
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => break,
        }
    }
    body.poll_trailers(task).map_ok(Rest::End)
}

/// RFC 9110, section 8.6: there may be several, of one and the same length.
pub(super) fn length(fields: &HeaderMap) -> Result<Option<u64>> {
    let mut length = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        for value in value.as_bytes().split(|byte| *byte == b',') {
            let value = value.trim_ascii();
            let digits = std::str::from_utf8(value).ok().filter(|_| value.iter().all(u8::is_ascii_digit));
            let value =
                digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| in_doubt("a length that is none"))?;
            if *length.get_or_insert(value) != value {
                return Err(in_doubt("two lengths"));
            }
        }
    }
    Ok(length)
}

pub(super) fn in_doubt(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_one_however_often_it_is_said() {
        let of = |lengths: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for each in lengths {
                fields.append(CONTENT_LENGTH, http::HeaderValue::from_static(each));
            }
            length(&fields).ok()
        };
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["5", "5"]), Some(Some(5)));
        assert_eq!(of(&["5, 05"]), Some(Some(5)));
        for doubtful in [&["5", "6"][..], &["5,6"], &["-5"], &["+5"], &[""], &["99999999999999999999"]] {
            assert_eq!(of(doubtful), None, "{doubtful:?}");
        }
    }
}
