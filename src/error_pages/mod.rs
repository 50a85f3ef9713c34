//! What the body of a failure looks like: text, JSON or HTML, ours or the operator's.
//!
//! The client's `Accept` chooses the form; where it leaves the choice to us it is the operator's page, and text
//! without one. Every form names the reason and the request, and escapes both.
//!
//! Deliberately absent: which status a failure has (`failure`), and pages for answers of backends, which pass.

mod accept;
mod template;

use http::{HeaderValue, StatusCode};

use crate::failure::{Reason, plain_body};
use crate::request_id::RequestId;

pub use template::Template;

/// A form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Plain text.
    Text,
    /// JSON.
    Json,
    /// HTML.
    Html,
}

impl Kind {
    /// Without pages of the operator's, what is given where the client has no preference comes first.
    const ALL: [Kind; 3] = [Kind::Text, Kind::Json, Kind::Html];

    /// The form of a file, by its extension.
    pub fn of_extension(extension: &str) -> Option<Kind> {
        match extension.to_ascii_lowercase().as_str() {
            "txt" => Some(Kind::Text),
            "json" => Some(Kind::Json),
            "html" | "htm" => Some(Kind::Html),
            _ => None,
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Kind::Text => "text/plain; charset=utf-8",
            Kind::Json => "application/json",
            Kind::Html => "text/html; charset=utf-8",
        }
    }
}

/// Which failures a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// Those of this status.
    One(StatusCode),
    /// All from 400 to 499.
    Client,
    /// All from 500 to 599.
    Server,
}

impl Statuses {
    /// Whether failures of this status are among them.
    pub fn include(self, status: StatusCode) -> bool {
        match self {
            Statuses::One(one) => one == status,
            Statuses::Client => status.is_client_error(),
            Statuses::Server => status.is_server_error(),
        }
    }
}

/// A page of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What it is for.
    pub statuses: Statuses,
    /// Its form.
    pub kind: Kind,
    /// Its text.
    pub template: Template,
}

/// The pages of the operator's, in file order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages(Vec<Page>);

/// What there is to say.
#[derive(Debug)]
pub struct Failure<'a> {
    /// The status of the answer.
    pub status: StatusCode,
    /// Why.
    pub reason: Reason,
    /// Which request.
    pub id: &'a RequestId,
}

impl Pages {
    /// Those for one status come before those for many.
    pub fn new(mut pages: Vec<Page>) -> Pages {
        pages.sort_by_key(|page| !matches!(page.statuses, Statuses::One(_)));
        Pages(pages)
    }

    /// The body for a client with this `Accept`, and its form.
    pub fn body<'a>(&self, failure: &Failure<'_>, accept: impl Iterator<Item = &'a HeaderValue>) -> (Kind, String) {
        let fitting = || self.0.iter().filter(|page| page.statuses.include(failure.status));
        let mut preference = Kind::ALL;
        preference.sort_by_key(|kind| fitting().position(|page| page.kind == *kind).unwrap_or(usize::MAX));
        let kind = accept::choose(accept, &preference);
        let page = fitting().find(|page| page.kind == kind);
        (kind, page.map_or_else(|| built_in(kind, failure), |page| page.template.render(kind, failure)))
    }
}

fn built_in(kind: Kind, failure: &Failure<'_>) -> String {
    let Failure { status, reason, id } = failure;
    let escaped = |text: &str| {
        let mut out = String::new();
        template::escape(&mut out, kind, text);
        out
    };
    let (code, title) = (status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let (sentence, token, id_text) = (escaped(reason.sentence()), escaped(reason.token()), escaped(id.as_str()));
    match kind {
        Kind::Text => plain_body(*reason, *status, **id),
        Kind::Json => format!(
            "{{\"status\":{code},\"reason\":\"{token}\",\"message\":\"{sentence}\",\"request_id\":\"{id_text}\"}}\n"
        ),
        Kind::Html => format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{code} {title}</title>\n\
             <h1>{code} {title}</h1>\n<p>{sentence}</p>\n\
             <p>reason: <code>{token}</code><br>request id: <code>{id_text}</code></p>\n</html>\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(statuses: Statuses, kind: Kind, text: &str) -> Page {
        Page { statuses, kind, template: Template::new(text) }
    }

    fn body(pages: &Pages, reason: Reason, accept: &'static str) -> (Kind, String) {
        let id = RequestId::given(b"id-1").unwrap();
        let failure = Failure { status: reason.status().unwrap(), reason, id: &id };
        pages.body(&failure, [HeaderValue::from_static(accept)].iter())
    }

    #[test]
    fn every_built_in_form_names_status_reason_and_request() {
        for (accept, kind) in [("*/*", Kind::Text), ("application/json", Kind::Json), ("text/html", Kind::Html)] {
            for reason in Reason::ALL.into_iter().filter(|reason| reason.status().is_some()) {
                let (form, text) = body(&Pages::default(), reason, accept);
                assert_eq!(form, kind);
                for word in [reason.status().unwrap().as_str(), reason.token(), "id-1"] {
                    assert!(text.contains(word), "{word} in {text}");
                }
                if kind == Kind::Json {
                    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(json["message"], reason.sentence());
                }
            }
        }
    }

    #[test]
    fn a_page_for_one_status_comes_before_one_for_many_and_another_form_is_ours() {
        let pages = Pages::new(vec![
            page(Statuses::Server, Kind::Html, "5xx {reason}"),
            page(Statuses::One(StatusCode::SERVICE_UNAVAILABLE), Kind::Html, "503"),
            page(Statuses::Client, Kind::Text, "4xx"),
        ]);
        let html = |text: &str| (Kind::Html, text.to_owned());
        assert_eq!(body(&pages, Reason::NoBackend, "text/html"), html("503"));
        assert_eq!(body(&pages, Reason::NoBackend, "*/*"), html("503"));
        assert_eq!(body(&pages, Reason::Reset, "*/*"), html("5xx reset"));
        assert_eq!(body(&pages, Reason::Reset, "application/json").0, Kind::Json);
        assert_eq!(body(&pages, Reason::NoRoute, "*/*"), (Kind::Text, "4xx".to_owned()));
        assert!(body(&pages, Reason::NoRoute, "text/html").1.contains("<h1>404 Not Found</h1>"));
    }
}
