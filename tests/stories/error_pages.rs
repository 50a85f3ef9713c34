//! What failures look like: the form that a client asks for, and pages of the operator's.

use std::path::Path;

use crate::support::balancer::program;
use crate::support::client::{Client, Response, exchange};
use crate::support::{Balancer, free_address};

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder.join("pages")).unwrap();
    std::fs::write(folder.join("pages").join(name), text).unwrap();
}

fn asked(balancer: &Balancer, accept: &str) -> (String, Response) {
    let response = Client::connect(balancer.address).unwrap().request("GET", "/", &[("accept", accept)], b"").unwrap();
    (response.field("content-type").unwrap_or_default().to_owned(), response)
}

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

/// Before a backend that is not there: every request fails with 502.
fn failing(pages: &str, files: &[(&str, &str)]) -> Balancer {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    let setup = Balancer::before([free_address()]).upstream("health_check: off");
    setup.top(&format!("error_pages: {{ {pages} }}")).start_in(folder)
}

#[test]
fn a_page_of_the_operator_is_shown_with_what_is_known_of_the_failure() {
    let page = "<style>b{x:y}</style><b>{status}</b> {reason} <i>{request_id}</i> {other}";
    let balancer = failing("5xx: pages/5xx.html", &[("5xx.html", page)]);
    for accept in [BROWSER, "*/*"] {
        let (kind, response) = asked(&balancer, accept);
        let id = response.field("x-request-id").unwrap();
        assert_eq!((response.status, kind.as_str()), (502, "text/html; charset=utf-8"));
        let expected = format!("<style>b{{x:y}}</style><b>502</b> connect_failed <i>{id}</i> {{other}}");
        assert_eq!(response.text(), expected);
        assert_eq!(response.field("content-length"), Some(expected.len().to_string().as_str()));
    }
    let (kind, response) = asked(&balancer, "application/json");
    assert_eq!(kind, "application/json", "who asks for JSON alone gets ours");
    assert!(response.text().contains("\"reason\":\"connect_failed\""));
    let head = exchange(balancer.address, b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("text/html") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn the_page_of_one_status_and_of_the_form_that_is_asked_for_is_shown() {
    let files = [("502.json", "{\"code\":{status},\"why\":\"{reason}\"}"), ("any.html", "any"), ("4xx.txt", "four")];
    let balancer = failing("5xx: pages/any.html, 502: [pages/502.json], 4xx: pages/4xx.txt", &files);
    let text = |accept: &str| asked(&balancer, accept).1.text();
    assert_eq!(text(BROWSER), "any");
    assert_eq!(text("application/json"), "{\"code\":502,\"why\":\"connect_failed\"}");
    assert_eq!(text("*/*"), "{\"code\":502,\"why\":\"connect_failed\"}");
    assert!(text("text/plain").starts_with("502 Bad Gateway: "));
    let doubtful = exchange(balancer.address, b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n");
    assert!(doubtful.starts_with("HTTP/1.1 400 "), "{doubtful}");
}

#[test]
fn a_request_id_of_a_trusted_proxy_cannot_break_out_of_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let balancer = Balancer::before([free_address()])
        .upstream("health_check: off")
        .top("client_address: { trusted_proxies: [127.0.0.1] }")
        .start_in(folder);
    let fields = [("accept", "text/html"), ("x-request-id", "<script>alert(1)</script>")];
    let response = Client::connect(balancer.address).unwrap().request("GET", "/", &fields, b"").unwrap();
    assert!(!response.text().contains("script"), "{}", response.text());
}

#[test]
fn pages_are_read_again_with_a_reload_and_one_that_is_gone_changes_nothing() {
    let mut balancer = failing("502: pages/502.txt", &[("502.txt", "first")]);
    assert_eq!(asked(&balancer, "*/*").1.text(), "first");
    write(balancer.folder.path(), "502.txt", "second");
    assert!(balancer.reload(|text| text));
    assert_eq!(asked(&balancer, "*/*").1.text(), "second");
    std::fs::remove_file(balancer.folder.path().join("pages/502.txt")).unwrap();
    assert!(!balancer.reload(|text| text), "{}", balancer.log());
    assert_eq!(asked(&balancer, "*/*").1.text(), "second");
    assert!(balancer.is_running());
}

#[test]
fn a_page_that_cannot_be_used_is_a_problem_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "large.html", &"x".repeat((1 << 20) + 1));
    write(path, "fits.html", &"x".repeat(1 << 20));
    std::fs::write(path.join("pages/binary.html"), b"\xff\xfe").unwrap();
    std::fs::create_dir(path.join("pages/folder.html")).unwrap();
    for (page, why) in [
        ("pages/large.html", Some("it is larger than 1MiB")),
        ("pages/binary.html", Some("UTF-8")),
        ("pages/none.html", Some("No such file")),
        ("pages/folder.html", Some("it is not a file")),
        ("[pages/fits.html, pages/../pages/fits.html]", Some("two pages of the same form")),
        ("pages/fits.html", None),
    ] {
        let text = Balancer::before(["127.0.0.1:9"]).top(&format!("error_pages:\n  404: {page}")).text();
        std::fs::write(path.join("evenkeel.yaml"), text).unwrap();
        let output = program(path, &["check", "-c", "evenkeel.yaml"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(i32::from(why.is_some())), "{page}: {said}");
        if let Some(why) = why {
            assert!(said.contains(why) && said.contains("evenkeel.yaml:"), "{page}: {said}");
        }
    }
}
