//! A page of the operator's, with places for what is known of a failure.
//!
//! `{status}`, `{reason}` and `{request_id}` are replaced, escaped as the page's form asks for. All other braces stay
//! as they are: style sheets and scripts are full of them.

use super::{Failure, Kind};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Status,
    Reason,
    RequestId,
}

const PLACES: [(&str, Piece); 3] =
    [("{status}", Piece::Status), ("{reason}", Piece::Reason), ("{request_id}", Piece::RequestId)];

impl Template {
    /// Finds the places in a text.
    pub fn new(text: &str) -> Template {
        let mut pieces = Vec::new();
        let (mut plain, mut rest) = (0, 0);
        while let Some(brace) = text.get(rest..).and_then(|after| after.find('{')) {
            let at = rest + brace;
            let place = PLACES.iter().find(|(word, _)| text.get(at..).is_some_and(|after| after.starts_with(word)));
            rest = at + 1;
            if let Some((word, piece)) = place {
                pieces.push(Piece::Text(text.get(plain..at).unwrap_or_default().to_owned()));
                pieces.push(piece.clone());
                rest = at + word.len();
                plain = rest;
            }
        }
        pieces.push(Piece::Text(text.get(plain..).unwrap_or_default().to_owned()));
        Template(pieces)
    }

    pub(super) fn render(&self, kind: Kind, failure: &Failure<'_>) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Status => out.push_str(failure.status.as_str()),
                Piece::Reason => escape(&mut out, kind, failure.reason.token()),
                Piece::RequestId => escape(&mut out, kind, failure.id.as_str()),
            }
        }
        out
    }
}

/// Appends a text so that it stays one in a page of this form; in JSON, inside a string.
pub(super) fn escape(out: &mut String, kind: Kind, text: &str) {
    for character in text.chars() {
        match (kind, character) {
            (Kind::Html, '&') => out.push_str("&amp;"),
            (Kind::Html, '<') => out.push_str("&lt;"),
            (Kind::Html, '>') => out.push_str("&gt;"),
            (Kind::Html, '"') => out.push_str("&quot;"),
            (Kind::Html, '\'') => out.push_str("&#39;"),
            (Kind::Json, '"' | '\\') => out.extend(['\\', character]),
            (Kind::Json, control) if control < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            (Kind::Text | Kind::Json | Kind::Html, plain) => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Reason;
    use crate::request_id::RequestId;

    fn rendered(text: &str, kind: Kind, id: &str) -> String {
        let id = RequestId::given(id.as_bytes()).unwrap();
        let failure = Failure { status: http::StatusCode::NOT_FOUND, reason: Reason::NoRoute, id: &id };
        Template::new(text).render(kind, &failure)
    }

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let page = "<style>b{color:red}</style>{status}{{status}} {reason} {requestid} {request_id}{";
        assert_eq!(
            rendered(page, Kind::Html, "id-1"),
            "<style>b{color:red}</style>404{404} no_route {requestid} id-1{"
        );
        assert_eq!(rendered("", Kind::Text, "x"), "");
        assert_eq!(rendered("{\"status\":{status}}", Kind::Json, "x"), "{\"status\":404}");
    }

    #[test]
    fn text_is_escaped_as_its_form_asks_for() {
        let escaped = |kind| {
            let mut out = String::new();
            escape(&mut out, kind, "<a href=\"x\">&'\\\n");
            out
        };
        assert_eq!(escaped(Kind::Html), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\\\n");
        assert_eq!(escaped(Kind::Json), "<a href=\\\"x\\\">&'\\\\\\u000a");
        assert_eq!(escaped(Kind::Text), "<a href=\"x\">&'\\\n");
    }

    proptest! {
        #[test]
        fn a_text_without_places_is_given_as_it_is(text in "[{}a-z_\u{e9}]{0,60}") {
            let other = PLACES.iter().all(|(word, _)| !text.contains(word));
            prop_assume!(other);
            prop_assert_eq!(rendered(&text, Kind::Html, "x"), text);
        }

        #[test]
        fn what_is_escaped_for_json_is_given_back_by_a_parser(text: String) {
            let mut out = "\"".to_owned();
            escape(&mut out, Kind::Json, &text);
            out.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
