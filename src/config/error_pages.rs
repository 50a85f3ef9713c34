//! `error_pages`: the operator's own pages for failures.
//!
//! Invariant: every page is here, as it was in its file. Deliberately absent: pages for answers of backends.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use http::StatusCode;

use super::problem::{Place, Problem, Report};
use super::section::{Entry, mistaken};
use super::tree::{Node, Value};
use super::{Folder, Folders};
use crate::error_pages::{Kind, Page, Pages, Statuses, Template};
use crate::failure::Reason;
use crate::units::{ByteSize, Mistake};

const EXAMPLE: &str = "write `error_pages: { 404: pages/404.html, 5xx: [pages/5xx.html, pages/5xx.json] }`";

/// All pages are held in memory, and each is an answer: more is no page.
const LARGEST_PAGE: ByteSize = ByteSize(1 << 20);

/// The pages; none unless they are written.
pub(super) fn read(report: &Report, entry: Option<Entry<'_>>, folders: &Folders<'_>) -> Pages {
    let Some(entry) = entry else { return Pages::default() };
    // An empty mapping is how none is written.
    if matches!(&entry.node.value, Value::Mapping(entries) if entries.is_empty()) {
        return Pages::default();
    }
    let mut pages: Vec<(Page, Place)> = Vec::new();
    for (key, node) in entry.named(report, EXAMPLE) {
        let statuses = match statuses(&key.text) {
            Ok(statuses) => statuses,
            Err(mistake) => {
                report.add(mistaken(key.place, mistake));
                continue;
            }
        };
        for file in files(report, &key.text, node) {
            let Value::Scalar(path) = &file.value else {
                report.add(Problem::at(file.place, "an error page must be a file").help(EXAMPLE));
                continue;
            };
            let page = match read_page(path, folders.of(file.place)) {
                Ok((kind, template)) => Page { statuses, kind, template },
                Err(mistake) => {
                    report.add(mistaken(file.place, mistake));
                    continue;
                }
            };
            let same = |(other, _): &&(Page, Place)| other.statuses == statuses && other.kind == page.kind;
            if let Some((_, first)) = pages.iter().find(same) {
                let message = format!("`{}` has two pages of the same form", key.text);
                report.add(Problem::at(file.place, message).related(*first, "first here").help("keep one of them"));
            }
            pages.push((page, file.place));
        }
    }
    Pages::new(pages.into_iter().map(|(page, _)| page).collect())
}

/// One file, or a list of files of different forms.
fn files<'a>(report: &Report, key: &str, node: &'a Node) -> &'a [Node] {
    match &node.value {
        Value::Sequence(items) if items.is_empty() => {
            report.add(Problem::at(node.place, format!("`{key}` has no page")).help(EXAMPLE));
            items
        }
        Value::Sequence(items) => items,
        Value::Null | Value::Scalar(_) | Value::Mapping(_) => std::slice::from_ref(node),
    }
}

/// `404`, `4xx` or `5xx`. A page that no failure could show would do nothing.
fn statuses(text: &str) -> Result<Statuses, Mistake> {
    match text {
        "4xx" => return Ok(Statuses::Client),
        "5xx" => return Ok(Statuses::Server),
        _ => {}
    }
    let mut shown: Vec<StatusCode> = Reason::ALL.iter().filter_map(|reason| reason.status()).collect();
    shown.sort_unstable();
    shown.dedup();
    let status = text.parse().ok().filter(|status| shown.contains(status));
    status.map(Statuses::One).ok_or_else(|| {
        let shown: Vec<&str> = shown.iter().map(StatusCode::as_str).collect();
        Mistake::new(
            format!("`{text}` is not a status that failures are answered with"),
            format!("write `4xx`, `5xx`, or one of {}", shown.join(", ")),
        )
    })
}

fn read_page(text: &str, folder: Folder<'_>) -> Result<(Kind, Template), Mistake> {
    let path = folder.file(text)?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let kind = Kind::of_extension(extension).ok_or_else(|| {
        Mistake::new(format!("`{text}` has no known form"), "its name must end in `.html`, `.txt` or `.json`")
    })?;
    let help = format!("a readable file of UTF-8 text, at most {LARGEST_PAGE} large");
    let page = read_text(&path)
        .map_err(|error| Mistake::new(format!("error page `{}` cannot be used: {error}", path.display()), help))?;
    Ok((kind, Template::new(&page)))
}

fn read_text(path: &Path) -> io::Result<String> {
    // A pipe would be waited for without end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    File::open(path)?.take(LARGEST_PAGE.0 + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_PAGE.0 {
        return Err(io::Error::other(format!("it is larger than {LARGEST_PAGE}")));
    }
    Ok(text)
}
