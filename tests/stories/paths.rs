//! Paths in one form: no spelling of a path takes another way than the path itself.

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Origin};

/// Everything goes to `app`, but for `/admin` and what is below.
const GUARDED: &str = "  - upstream: app
  - { name: guard, match: { path: { prefix: /admin } }, respond: { status: 403, body: \"no\\n\" } }";

fn origin() -> Origin {
    Origin::start(|_| Answer::Ok("reached".to_owned()))
}

/// The lines of the files in `tests/hostile/paths`: a path, what is forwarded (none: refused), what rules see.
fn hostile() -> Vec<(Vec<u8>, Option<String>, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/paths");
    let mut cases = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"/")) {
            let at = line.windows(4).position(|window| window == b" => ").unwrap();
            let expected = std::str::from_utf8(&line[at + 4..]).unwrap();
            let (forwarded, seen) = expected.split_once(" rules see ").unwrap_or((expected, expected));
            let forwarded = (forwarded != "refused").then(|| forwarded.to_owned());
            cases.push((line[..at].to_vec(), forwarded, seen.to_owned()));
        }
    }
    cases
}

#[test]
fn no_spelling_of_a_path_walks_around_a_rule() {
    let origin = origin();
    let balancer = Balancer::before([origin.address]).routes(GUARDED).start();
    let mut guarded = 0;
    for (path, forwarded, seen) in hostile() {
        let mut client = Client::connect(balancer.address).unwrap();
        let before = origin.count();
        client.send(&[b"GET ", &path[..], b"?q=/../admin HTTP/1.1\r\nhost: a\r\n\r\n"].concat()).unwrap();
        let shown = path.escape_ascii();
        let response = client.response(false).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let is_guarded = seen == "/admin" || seen.starts_with("/admin/");
        // What is not ASCII is no target of HTTP/1.1 (RFC 9112, section 3.2).
        match forwarded.filter(|_| path.is_ascii() && !path.contains(&b'"')) {
            None => assert_eq!(response.status, 400, "{shown}: {}", response.text()),
            Some(_) if is_guarded => {
                guarded += 1;
                assert_eq!(response.status, 403, "{shown}");
            }
            Some(forwarded) => {
                assert_eq!(response.status, 200, "{shown}");
                let line = format!("GET {forwarded}?q=/../admin HTTP/1.1");
                assert_eq!(
                    origin.requests().pop().unwrap().line,
                    line,
                    "{shown}: what was matched is what is forwarded"
                );
                continue;
            }
        }
        assert_eq!(origin.count(), before, "{shown} reached the backend");
    }
    assert!(guarded >= 20, "only {guarded}");
}

#[tokio::test]
async fn over_http2_a_path_has_the_same_one_form() {
    let origin = origin();
    let balancer = Balancer::before([origin.address]).routes(GUARDED).start();
    let sender = crate::http2::connect(balancer.address).await;
    for (path, status) in
        [("/a/../admin", 403), ("/%61dmin", 403), ("//admin", 403), ("/a/..%2fadmin", 400), ("/a//b/../c", 200)]
    {
        let request = http::Request::builder().uri(format!("http://story.example{path}"));
        let (head, _) = crate::http2::ask(&sender, request, &[]).await;
        assert_eq!(head.status().as_u16(), status, "{path}");
    }
    let lines: Vec<_> = origin.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["GET /a/c HTTP/1.1"]);
}

#[test]
fn an_absolute_target_has_the_same_one_form() {
    let origin = origin();
    let balancer = Balancer::before([origin.address]).routes(GUARDED).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let status = |client: &mut Client, target: &str| client.request("GET", target, &[], b"").unwrap().status;
    assert_eq!(status(&mut client, "http://story.example/a/../admin"), 403);
    assert_eq!(status(&mut client, "http://story.example/a//%62?c"), 200);
    assert_eq!(origin.requests().pop().unwrap().line, "GET /a/b?c HTTP/1.1");
    assert_eq!(client.request("OPTIONS", "*", &[], b"").unwrap().status, 200);
    assert_eq!(origin.requests().pop().unwrap().line, "OPTIONS * HTTP/1.1");
}

#[test]
fn slashes_are_kept_decoded_or_refused_as_the_file_says() {
    let origin = origin();
    let balancer = |settings: &str| {
        Balancer::before([origin.address]).top(&format!("path_normalization: {settings}")).routes(GUARDED).start()
    };
    let seen = |balancer: &Balancer, path: &str| {
        let response = balancer.get(path);
        let line = origin.requests().pop().map(|request| request.line).unwrap_or_default();
        if response.status == 200 { line.split(' ').nth(1).unwrap().to_owned() } else { response.status.to_string() }
    };
    let keeping = balancer("{ merge_slashes: off }");
    assert_eq!(seen(&keeping, "/a//b"), "/a//b");
    assert_eq!(seen(&keeping, "//admin"), "//admin", "by choice it is another path");
    let rejecting = balancer("{ encoded_slashes: reject }");
    assert_eq!((seen(&rejecting, "/a%2fb"), seen(&rejecting, "/a%5cb")), ("400".to_owned(), "400".to_owned()));
    let decoding = balancer("{ encoded_slashes: decode }");
    assert_eq!((seen(&decoding, "/a%2fb"), seen(&decoding, "/a%2f..%2fadmin")), ("/a/b".to_owned(), "403".to_owned()));
}
