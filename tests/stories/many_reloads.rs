//! Reload after reload under load: nothing fails, nothing grows, and what did not change notices nothing.
//!
//! `EVENKEEL_STORY_RELOADS=1000 cargo nextest run many_reloads --no-capture` is the long version, with its figures.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use crate::support::client::Client;
use crate::support::{Answer, Balancer, EVERY_HABIT, Load, Origin};

/// What a process may grow by, whatever the number of reloads: caches of the allocator, buffers of the log.
const GROWTH: u64 = 24 << 20;

/// How many reloads; more by hand.
fn reloads() -> usize {
    let wanted = std::env::var("EVENKEEL_STORY_RELOADS").ok().and_then(|wanted| wanted.parse().ok());
    wanted.unwrap_or(60)
}

#[test]
fn many_reloads_under_load_fail_no_request_and_memory_stays_flat() {
    let origins = [Origin::named("one"), Origin::named("two")];
    let balancer = Balancer::before(origins.iter().map(|origin| origin.address)).start();
    let load = Load::on(balancer.address, &EVERY_HABIT);
    let [one, two] = origins.each_ref().map(|origin| origin.address.to_string());
    let (both, alone) = (format!("backends: [{one}, {two}]"), format!("backends: [{one}]"));
    let reload = |round: usize| {
        let (from, to) = if round.is_multiple_of(2) { (&both, &alone) } else { (&alone, &both) };
        balancer.edit(|text| text.replace(from, to));
        let answer = balancer.admin_ask("POST", "/api/v1/reload", &[], "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    // Everything has happened once before memory is measured.
    (0..reloads() / 4).for_each(reload);
    let (before, began) = (balancer.memory(), Instant::now());
    (reloads() / 4..reloads()).for_each(reload);
    let (after, took) = (balancer.memory(), began.elapsed());
    let (answered, failed) = load.stop();
    println!(
        "{} reloads, {:?} each with their request; {answered} requests, {} failed; {} KiB before, {} KiB after",
        reloads(),
        took / u32::try_from(reloads() - reloads() / 4).unwrap(),
        failed.len(),
        before >> 10,
        after >> 10,
    );
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
    assert!(after < before + GROWTH, "from {before} to {after}");
    assert_eq!(balancer.api("status")["generation"], reloads() + 1);
}

#[test]
fn a_websocket_on_a_route_that_did_not_change_lives_through_reloads() {
    const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let chat = Origin::start(|_| {
        Answer::Take(Box::new(|mut stream| {
            drop(stream.write_all(SWITCHED));
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
        }))
    });
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let balancer = Balancer::before([one.address]).start();
    let with_chat = format!("upstreams:\n  chat: {{ backends: [{}] }}\n", chat.address);
    let route = "routes:\n  - { name: chat, match: { path: { prefix: /chat } }, upstream: chat }\n";
    assert!(balancer.reload(|text| text.replace("upstreams:\n", &with_chat).replace("routes:\n", route)));
    let mut client = Client::connect(balancer.address).unwrap();
    client
        .send(
            b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.response(true).unwrap().status, 101);
    let mut echo = |message: &[u8]| {
        client.send(message).unwrap();
        let mut bytes = vec![0; message.len()];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, message);
    };
    echo(b"before");
    let (one, two) = (one.address.to_string(), two.address.to_string());
    for (from, to) in [(&one, &two), (&two, &one)] {
        assert!(balancer.reload(|text| text.replace(from, to)), "{}", balancer.log());
        echo(b"after");
    }
    // Its backend is drained, and even gone from the file: what is open goes on.
    assert!(balancer.command(&["drain", &chat.address.to_string()]).status.success());
    echo(b"drained");
    assert!(balancer.reload(|text| text.replace(&with_chat, "upstreams:\n").replace(route, "routes:\n")));
    echo(b"removed");
}
