//! What finding a route costs: nanoseconds, allocations and memory, by the number of routes and by what decides.
//!
//! `cargo run --release --features measurements --example route-match`. Each figure is the best of several rounds over
//! requests in random order, so that a table is not measured from one cache line.

use std::hint::black_box;
use std::time::Instant;

use evenkeel::pattern::Pattern;
use evenkeel::route::{Host, HostPattern, Match, Normalisation, PathPattern, Request, Table, Wanted, normalise};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const ROUNDS: usize = 15;
const REQUESTS: usize = 4_096;

/// What decides.
#[derive(Clone, Copy)]
enum By {
    Host,
    Wildcard,
    Prefix,
    DeepPrefix,
    Header,
    /// All share a host; each has an expression below a folder of its own.
    Expression,
}

impl By {
    const ALL: [(By, &'static str); 6] = [
        (By::Host, "exact host"),
        (By::Wildcard, "wildcard host"),
        (By::Prefix, "prefix"),
        (By::DeepPrefix, "prefix of five segments"),
        (By::Header, "one header field of the same host and prefix"),
        (By::Expression, "expression below a folder of its own"),
    ];

    fn route(self, number: usize) -> Match {
        let below = |path: String| Some(PathPattern::Prefix(path));
        match self {
            By::Host => {
                Match { hosts: vec![HostPattern::Exact(format!("tenant-{number}.example.com"))], ..Match::default() }
            }
            By::Wildcard => {
                Match { hosts: vec![HostPattern::Below(format!("tenant-{number}.example.com"))], ..Match::default() }
            }
            By::Prefix => Match { path: below(format!("/service-{number}")), ..Match::default() },
            By::DeepPrefix => {
                let (a, b, c) = (number % 10, number / 10 % 100, number);
                Match { path: below(format!("/api/v{a}/group-{b}/items/item-{c}")), ..Match::default() }
            }
            By::Header => Match {
                hosts: vec![HostPattern::Exact("api.example.com".to_owned())],
                path: below("/api".to_owned()),
                headers: vec![(HeaderName::from_static("x-tenant"), Wanted::Exact(format!("tenant-{number}")))],
                ..Match::default()
            },
            By::Expression => {
                let pattern = Pattern::new(&format!("^/service-{number}/v[0-9]+/"));
                Match { path: pattern.ok().map(PathPattern::Regex), ..Match::default() }
            }
        }
    }

    /// The host, the path and the tenant of a request that takes the route.
    fn request(self, number: usize) -> (String, String, String) {
        let host = match self {
            By::Host => format!("tenant-{number}.example.com"),
            By::Wildcard => format!("www.tenant-{number}.example.com"),
            By::Prefix | By::DeepPrefix | By::Header | By::Expression => "api.example.com".to_owned(),
        };
        let path = match self {
            By::Host | By::Wildcard => "/index.html".to_owned(),
            By::Prefix => format!("/service-{number}/orders/17"),
            By::DeepPrefix => {
                let (a, b, c) = (number % 10, number / 10 % 100, number);
                format!("/api/v{a}/group-{b}/items/item-{c}/orders/17")
            }
            By::Header => "/api/orders/17".to_owned(),
            By::Expression => format!("/service-{number}/v2/orders/17"),
        };
        (host, path, format!("tenant-{number}"))
    }
}

/// The fields of a browser's request, and the tenant.
fn fields(tenant: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "session=0123456789abcdef"),
        ("x-tenant", tenant),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The best round, in nanoseconds for each of `count`.
fn nanoseconds(count: usize, mut round: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        round();
        began.elapsed().as_secs_f64() * 1e9 / count as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("| decided by | routes | ns per match | allocations per match | memory of the table | built in |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (by, name) in By::ALL {
        for size in SIZES {
            // Expressions are compiled one by one: a hundred thousand take a minute and gigabytes.
            if matches!(by, By::Expression) && size > 1_000 {
                continue;
            }
            measure(by, name, size);
        }
    }
    let paths = ["/index.html", "/api/v2/group-17/items/item-4711/orders/17", "/caf%C3%A9/%20x"];
    for path in paths {
        let one = || drop(black_box(normalise(black_box(path.as_bytes()), Normalisation::default())));
        let taken = allocation_counter::measure(one).count_total;
        println!(
            "\nnormalising {path}: {:.0} ns, {taken} allocations",
            nanoseconds(10_000, || (0..10_000).for_each(|_| one()))
        );
    }
}

fn measure(by: By, name: &str, size: usize) {
    let mut built = None;
    let began = Instant::now();
    let memory = allocation_counter::measure(|| {
        built = Some(Table::new(
            1,
            (0..size).map(|number| (vec![0], by.route(number), u32::try_from(number).unwrap_or(0))),
        ));
    });
    let took = began.elapsed();
    let Some(table) = built else { return };
    let mut random = fastrand::Rng::with_seed(7);
    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let number = random.usize(..size);
            let (host, path, tenant) = by.request(number);
            (number, host, path, fields(&tenant))
        })
        .collect();
    let find = |(_, host, path, headers): &(usize, String, String, HeaderMap)| {
        let host = Host::of(host.as_bytes());
        let request = Request {
            listener: 0,
            host: host.as_bytes(),
            path,
            query: b"",
            method: &Method::GET,
            headers,
            client: None,
        };
        table.find(&request).copied()
    };
    for request in &requests {
        assert_eq!(find(request).map(|route| route as usize), Some(request.0), "the route that is meant");
    }
    let allocations = allocation_counter::measure(|| {
        for request in &requests {
            black_box(find(request));
        }
    });
    let time = nanoseconds(REQUESTS, || {
        for request in &requests {
            black_box(find(black_box(request)));
        }
    });
    let allocated = allocations.count_total as f64 / REQUESTS as f64;
    let kib = memory.bytes_current as f64 / 1024.0;
    println!("| {name} | {size} | {time:.0} | {allocated} | {kib:.0} KiB | {:.1} ms |", took.as_secs_f64() * 1e3);
}
