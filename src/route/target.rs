//! A request's target in its parts.

/// The path and the query (without `?`; none without one) of a target in origin-form or `*` (RFC 9112, section 3.2);
/// the edge hands on no other.
pub fn path_and_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    match parts.next() {
        Some(path @ [_, ..]) => (path, parts.next()),
        Some([]) | None => (b"/", parts.next()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_path_and_maybe_a_query() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/a?b?c", "/a", Some("b?c")),
            ("/a?", "/a", Some("")),
            ("/a://b/c", "/a://b/c", None),
            ("/?u=http://b/c", "/", Some("u=http://b/c")),
            ("*", "*", None),
        ] {
            assert_eq!(path_and_query(target.as_bytes()), (path.as_bytes(), query.map(str::as_bytes)), "{target}");
        }
    }
}
