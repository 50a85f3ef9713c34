//! What comes over a stream of HTTP/2 in answer to a request, part by part, as the library has it.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
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
            Some(Err(error)) if needs_no_more(&error) => return Poll::Ready(Ok(Rest::End(None))),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => break,
        }
    }
    match ready!(body.poll_trailers(task)) {
        Err(error) if needs_no_more(&error) => Poll::Ready(Ok(Rest::End(None))),
        trailers => Poll::Ready(trailers.map(Rest::End)),
    }
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

/// RFC 9113, section 8.1: after a whole answer a backend may say that it needs no more of the request.
fn needs_no_more(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
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
