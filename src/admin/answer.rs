//! What the admin address answers with: text for probes and scrapers, JSON for the API, and nothing that is kept by a
//! cache or framed by a page.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

/// An answer that is ready to be sent.
pub type Answer = Response<Vec<u8>>;

/// Plain text.
pub fn plain(status: StatusCode, text: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

/// JSON, for people's eyes too.
pub fn data(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", format!("{value:#}\n").into_bytes())
}

/// An error of the API.
pub fn fault(status: StatusCode, error: &str) -> Answer {
    let mut answer = data(status, &json!({ "error": error }));
    if status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// A method that the resource does not know, and those that it does.
pub fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = fault(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Anything.
pub fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let length = body.len();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    answer
}

/// The page that shows it all: one file, which reads the API and nothing else.
pub fn page() -> Answer {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let mut answer =
        answer(StatusCode::OK, "text/html; charset=utf-8", include_str!("dashboard.html").as_bytes().to_vec());
    let headers = answer.headers_mut();
    headers.insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static(POLICY));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    answer
}
