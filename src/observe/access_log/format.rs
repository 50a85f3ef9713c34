//! How a line of the access log looks and where lines go, as plain values that the configuration makes.
//!
//! Invariant: a template that parsed makes exactly one line per record, since its own text has no control characters
//! and the values are escaped. A field has one name, the same in JSON, in templates and in documents.
//!
//! Deliberately absent: conditions, alignment and arithmetic in templates; a log that needs them is better made of JSON.

use std::fmt;
use std::path::PathBuf;

/// How a record becomes a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, with every field; what is missing is `null`.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// Pieces in the order in which they are written.
    Template(Vec<Piece>),
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to; made with mode 0640 if it is not there.
    File(PathBuf),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands in every line as it is.
    Text(String),
    /// The value of a field; `-` when it is missing.
    Field(Field),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// What a record can tell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $($(#[$doc])* $variant,)*
        }

        impl Field {
            /// Every field, in the order in which JSON has them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in templates and the key in JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

fields! {
    /// When the request began: RFC 3339, UTC, milliseconds.
    Time "time",
    /// The identifier that the backend saw.
    RequestId "request_id",
    /// The address of the client.
    Client "client",
    /// The listener that accepted.
    Listener "listener",
    /// The method.
    Method "method",
    /// `http` or `https`.
    Scheme "scheme",
    /// The host that was asked for.
    Host "host",
    /// Path and query as they came.
    Path "path",
    /// The version of HTTP.
    Protocol "protocol",
    /// The status that was sent.
    Status "status",
    /// Why the request failed.
    Reason "reason",
    /// Bytes of the request's body.
    BytesReceived "bytes_received",
    /// Bytes of the response's body.
    BytesSent "bytes_sent",
    /// The whole time, in milliseconds with three decimals.
    Duration "duration_ms",
    /// The time to connect, in milliseconds with three decimals.
    ConnectTime "connect_ms",
    /// The time to the first byte of the answer, in milliseconds with three decimals.
    FirstByteTime "first_byte_ms",
    /// How many backends were tried.
    Attempts "attempts",
    /// The route that matched.
    Route "route",
    /// The upstream that served.
    Upstream "upstream",
    /// The backend of the last attempt.
    Backend "backend",
    /// The client's `User-Agent`.
    UserAgent "user_agent",
    /// The client's `Referer`.
    Referer "referer",
}

impl Field {
    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

/// The language of templates: text with `{field}` in it; `{{` and `}}` stand for braces.
#[derive(Clone, Copy, Debug)]
pub struct Template;

impl Template {
    /// Reads a template. The first problem is returned, with its place.
    pub fn parse(template: &str) -> Result<Vec<Piece>, TemplateError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(character) = rest.chars().next() {
            let at = template.len() - rest.len();
            if let Some(after) = rest.strip_prefix("{{") {
                text.push('{');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("}}") {
                text.push('}');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) = after
                    .split_once('}')
                    .ok_or(TemplateError::Unclosed { at })?;
                let field = Field::from_name(name).ok_or_else(|| TemplateError::UnknownField {
                    name: name.to_owned(),
                    at: at + 1,
                })?;
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Field(field));
                rest = after;
            } else if character == '}' {
                return Err(TemplateError::Unopened { at });
            } else if breaks_lines(character) {
                return Err(TemplateError::ControlCharacter { character, at });
            } else {
                text.push(character);
                rest = rest.strip_prefix(character).unwrap_or_default();
            }
        }
        if pieces.is_empty() {
            return Err(TemplateError::NoField);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }
}

/// A tab may separate columns; all else that is not printed could break a line in two, here or in a viewer.
fn breaks_lines(character: char) -> bool {
    (character.is_control() && character != '\t') || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Why a template cannot be used. `at` counts bytes from the start of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// There is no such field; [`Field::ALL`] has those that are.
    UnknownField {
        /// What was written between the braces.
        name: String,
        /// Where the name begins.
        at: usize,
    },
    /// A `{` without its `}`.
    Unclosed {
        /// Where the `{` stands.
        at: usize,
    },
    /// A `}` without its `{`.
    Unopened {
        /// Where the `}` stands.
        at: usize,
    },
    /// A line break or another control character.
    ControlCharacter {
        /// Which one.
        character: char,
        /// Where it stands.
        at: usize,
    },
    /// All lines would be the same.
    NoField,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField { name, .. } => {
                write!(f, "no field is called `{}`", name.escape_debug())
            }
            Self::Unclosed { .. } => f.write_str("`{` is not closed"),
            Self::Unopened { .. } => f.write_str("`}` closes nothing"),
            Self::ControlCharacter { character, .. } => {
                write!(
                    f,
                    "a template is one line, without `{}`",
                    character.escape_debug()
                )
            }
            Self::NoField => f.write_str("the template names no field"),
        }
    }
}

impl TemplateError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::UnknownField { .. } | Self::NoField => {
                let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
                format!(
                    "fields are written `{{name}}`; there are: {}",
                    names.join(", ")
                )
            }
            Self::Unclosed { .. } => "write `{{` for a brace that stands for itself".to_owned(),
            Self::Unopened { .. } => "write `}}` for a brace that stands for itself".to_owned(),
            Self::ControlCharacter { .. } => {
                "a tab is the only control character allowed".to_owned()
            }
        }
    }

    /// Where in the template, in bytes; `None` when it is about the whole.
    pub const fn at(&self) -> Option<usize> {
        match self {
            Self::UnknownField { at, .. }
            | Self::Unclosed { at }
            | Self::Unopened { at }
            | Self::ControlCharacter { at, .. } => Some(*at),
            Self::NoField => None,
        }
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn a_template_is_read_into_text_and_fields() {
        assert_eq!(
            Template::parse("{client} \"{method} {path}\"\t{{{status}}}").unwrap(),
            [
                Piece::Field(Field::Client),
                text(" \""),
                Piece::Field(Field::Method),
                text(" "),
                Piece::Field(Field::Path),
                text("\"\t{"),
                Piece::Field(Field::Status),
                text("}"),
            ]
        );
    }

    #[test]
    fn every_field_is_found_by_its_name() {
        for field in Field::ALL {
            assert_eq!(Field::from_name(field.name()), Some(*field));
        }
        assert_eq!(Field::from_name("cookie"), None);
    }

    #[test]
    fn a_template_that_cannot_be_used_is_refused_with_its_place() {
        let refused = |template| Template::parse(template).unwrap_err();
        assert_eq!(
            refused("{client} {statuss}"),
            TemplateError::UnknownField {
                name: "statuss".to_owned(),
                at: 10
            }
        );
        assert_eq!(refused("é{client"), TemplateError::Unclosed { at: 2 });
        assert_eq!(refused("{client} }"), TemplateError::Unopened { at: 9 });
        assert_eq!(
            refused("{client}\n{path}"),
            TemplateError::ControlCharacter {
                character: '\n',
                at: 8
            }
        );
        assert_eq!(refused(""), TemplateError::NoField);
        assert_eq!(refused("hello"), TemplateError::NoField);
    }

    #[test]
    fn a_refusal_says_what_is_wrong_and_what_to_do() {
        let error = Template::parse("{statuss}").unwrap_err();
        assert_eq!(error.to_string(), "no field is called `statuss`");
        assert!(error.help().contains(", status, "));
        assert_eq!(error.at(), Some(1));
    }

    proptest! {
        #[test]
        fn no_template_makes_the_parser_stumble(template in "([{}a-z \t\n]|\\PC|status){0,12}") {
            if let Err(error) = Template::parse(&template) {
                prop_assert!(error.at().is_none_or(|at| template.is_char_boundary(at)));
            }
        }
    }
}
