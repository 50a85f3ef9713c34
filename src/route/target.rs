//! A request's target in its parts.

/// The path and the query (without `?`; none without one) of a target in origin-form, absolute-form or `*`
/// (RFC 9112, section 3.2). A URL without a path means `/`.
pub fn path_and_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let rest = match target.windows(3).position(|window| window == b"://") {
        Some(scheme) if !target.starts_with(b"/") => {
            let authority = target.get(scheme + 3..).unwrap_or_default();
            let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?'));
            authority.get(end.unwrap_or(authority.len())..).unwrap_or_default()
        }
        Some(_) | None => target,
    };
    let mut parts = rest.splitn(2, |byte| *byte == b'?');
    match parts.next() {
        Some(path @ [_, ..]) => (path, parts.next()),
        Some([]) | None => (b"/", parts.next()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_of_any_form_has_a_path_and_maybe_a_query() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/a?b?c", "/a", Some("b?c")),
            ("/a?", "/a", Some("")),
            ("/a://b/c", "/a://b/c", None),
            ("/?u=http://b/c", "/", Some("u=http://b/c")),
            ("http://a.x/b/c?d", "/b/c", Some("d")),
            ("http://a.x", "/", None),
            ("http://a.x?d", "/", Some("d")),
            ("*", "*", None),
        ] {
            assert_eq!(path_and_query(target.as_bytes()), (path.as_bytes(), query.map(str::as_bytes)), "{target}");
        }
    }
}
