//! Conditions of routes in words.

use http::Method;

use crate::route::{Match, PathPattern, Unmet, Wanted};

/// What is asked for by the condition that is not met.
pub fn words(wanted: &Match, unmet: Unmet) -> String {
    let named = |what: &str, name: Option<&str>, value: Option<&Wanted>| {
        let name = name.unwrap_or_default();
        match value {
            Some(Wanted::Exact(text)) => format!("{what} `{name}` is not `{text}`"),
            Some(Wanted::Pattern(pattern)) => format!("{what} `{name}` does not match `{}`", pattern.as_str()),
            Some(Wanted::Present) => format!("there is no {what} `{name}`"),
            Some(Wanted::Absent) => format!("there is a {what} `{name}`"),
            None => format!("{what} `{name}`"),
        }
    };
    match unmet {
        Unmet::Path => match &wanted.path {
            Some(PathPattern::Regex(pattern)) => format!("the path does not match `{}`", pattern.as_str()),
            Some(PathPattern::Exact(_) | PathPattern::Prefix(_)) | None => "the path is another".to_owned(),
        },
        Unmet::Method => {
            let methods: Vec<&str> = wanted.methods.iter().map(Method::as_str).collect();
            format!("the method is not {}", methods.join(" or "))
        }
        Unmet::Header(place) => {
            let header = wanted.headers.get(place);
            named("header", header.map(|(name, _)| name.as_str()), header.map(|(_, value)| value))
        }
        Unmet::Query(place) => {
            let parameter = wanted.query.get(place);
            named("parameter", parameter.map(|(name, _)| name.as_str()), parameter.map(|(_, value)| value))
        }
        Unmet::Cookie(place) => {
            let cookie = wanted.cookies.get(place);
            named("cookie", cookie.map(|(name, _)| name.as_str()), cookie.map(|(_, value)| value))
        }
        Unmet::Client => "the client is in none of the networks".to_owned(),
    }
}
