//! `rewrite` of a route: another path or host than the client asked for.

use http::HeaderValue;
use http::uri::Authority;

use super::problem::Problem;
use super::section::{Entry, Section};
use crate::forward::rewrite::{PathRewrite, Rewrite};
use crate::pattern::Pattern;
use crate::route::{Normalisation, replacement_path, rule_path};
use crate::units::Mistake;

/// The section, or none.
pub(super) fn read(route: &mut Section<'_>, normalisation: Normalisation) -> Rewrite {
    let report = route.report();
    let mut section = route.section("rewrite", "rewrite");
    let written = ["strip_prefix", "replace_prefix", "regex"].map(|key| section.entry(key));
    let path = |entry: Entry<'_>| entry.parsed(report, |text| rule_path(text, normalisation));
    let [strip, replace, regex] = written;
    let strip = strip.and_then(path).map(|from| PathRewrite::Prefix { from, to: "/".to_owned() });
    let replace = replace.and_then(|entry| read_replace(entry, &section, normalisation));
    let regex = regex.and_then(|entry| read_regex(entry, &section));
    let host = section.entry("host").and_then(|entry| entry.parsed(report, host));
    let mut several = written.into_iter().flatten();
    if let (Some(first), Some(second)) = (several.next(), several.next()) {
        let message = format!("`{}` and `{}` stand together", first.key.text, second.key.text);
        let problem = Problem::at(second.key.place, message).related(first.key.place, "the other");
        report.add(problem.help("keep one: a path is rewritten once"));
    }
    section.close();
    Rewrite { path: strip.or(replace).or(regex), host }
}

fn read_replace(entry: Entry<'_>, rewrite: &Section<'_>, normalisation: Normalisation) -> Option<PathRewrite> {
    const HELP: &str = "write `replace_prefix: { from: /old, to: /new }`";
    let report = rewrite.report();
    let title = format!("`replace_prefix` of {}", rewrite.title());
    let mut section = Section::open(report, "replace prefix", title, Some(entry.key.place), entry.node)?;
    let from = section.required("from", HELP);
    let from = from.and_then(|entry| entry.parsed(report, |text| rule_path(text, normalisation)));
    let to = section.required("to", HELP);
    let to = to.and_then(|entry| entry.parsed(report, |text| replacement_path(text, normalisation)));
    section.close();
    Some(PathRewrite::Prefix { from: from?, to: to? })
}

fn read_regex(entry: Entry<'_>, rewrite: &Section<'_>) -> Option<PathRewrite> {
    const HELP: &str = "write `regex: { pattern: \"^/users/([0-9]+)$\", replacement: /u/$1 }`";
    let report = rewrite.report();
    let title = format!("`regex` of {}", rewrite.title());
    let mut section = Section::open(report, "rewrite regex", title, Some(entry.key.place), entry.node)?;
    let pattern = section.required("pattern", HELP).and_then(|entry| entry.parsed(report, Pattern::new));
    let replacement = section.required("replacement", HELP);
    section.close();
    let pattern = pattern?;
    let replacement = replacement?.parsed(report, |text| replacement_for(&pattern, text))?;
    Some(PathRewrite::Regex { pattern, replacement })
}

fn replacement_for(pattern: &Pattern, text: &str) -> Result<String, Mistake> {
    if let Some(group) = pattern.missing_group(text) {
        let help = "groups are `$1`, `$2`, or `$${name}` for `(?P<name>…)`; a letter or digit after one wants `$${1}`";
        return Err(Mistake::new(format!("the expression has no group `{group}`"), help));
    }
    if text.contains(['?', '#']) {
        return Err(Mistake::new(format!("`{text}` is more than a path"), "a rewrite leaves the query as it is"));
    }
    if !text.chars().all(|character| character.is_ascii_graphic()) {
        return Err(Mistake::new(format!("`{text}` cannot stand in a path"), "write other characters as `%XX`"));
    }
    Ok(text.to_owned())
}

/// As it stands in `Host`: a name or an address, and maybe a port.
pub(super) fn host(text: &str) -> Result<HeaderValue, Mistake> {
    const HELP: &str =
        "write a host, with a port if the backend wants one: `internal.example`, `internal.example:8080`";
    let wrong = || Mistake::new(format!("`{text}` is not a host"), HELP);
    let authority: Authority = text.parse().map_err(|_| wrong())?;
    if authority.host().is_empty() || text.contains('@') {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}
