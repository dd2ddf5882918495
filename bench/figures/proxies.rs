//! Stored and relayed answers against other proxies.

use super::Bench;
use super::calls::{self, WriteCall};
use super::contest::{Contestant, Series, alternate};
use super::load::{Plan, Until};
use super::peers::{HIT, Role, start_haproxy, start_nginx, start_varnish};
use super::process::{Process, start_tidegate};
use super::table::{Aim, Row};
use std::net::SocketAddr;

/// An answer to each caller, with a tag that an acknowledged event of its user would make old.
const CACHE: &str = r#"
[identity]
credentials = ["header:authorization"]
user = "{query.userId}"
[journal]
durability = "none"
[[cache]]
path = "/progress"
tags = ["progress:{user}"]
"#;

/// A plain relay. Connections are idle while other servers are measured.
const RELAY: &str = r#"
[server]
listen = "127.0.0.1:0"
keepalive_timeout = "10m"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://APPLICATION"
"#;

type Started = Option<(Process, SocketAddr)>;

fn enter(
    bench: &Bench<'_>,
    started: Started,
    mark: &'static str,
    calls: fn(usize) -> WriteCall,
) -> Option<Contestant> {
    let (process, address) = started?;
    let plan = Plan {
        address,
        calls: Box::new(calls),
        cycle: 2,
        mark,
    };
    let mut contestant = Contestant::new(process, bench.application, plan);
    // Every answer is stored, every connection open.
    contestant.warm(Until::Calls(2));
    Some(contestant)
}

fn tidegate(bench: &Bench<'_>, sections: &str) -> Started {
    let text = RELAY.replace("APPLICATION", &bench.application.address.to_string()) + sections;
    let (process, address, _) = start_tidegate(&bench.directory.join("tidegate"), &text);
    Some((process, address))
}

/// A proxy that Tidegate is compared with.
struct Peer {
    name: &'static str,
    package: &'static str,
    contestant: Option<Contestant>,
    aim: Aim,
}

/// Tidegate against each peer that is there, in rounds of their own.
fn compare(
    what: &str,
    bench: &Bench<'_>,
    (this, mark): (Started, &'static str),
    calls: fn(usize) -> WriteCall,
    peers: Vec<Peer>,
) -> Vec<Row> {
    let mut this = enter(bench, this, mark, calls).expect("the real binary");
    let mut rows = Vec::new();
    for Peer {
        name,
        package,
        contestant,
        aim,
    } in peers
    {
        let name = format!("time of {what}, {name} / Tidegate");
        let Some(mut peer) = contestant else {
            rows.push(Row::absent(&name, package, aim));
            continue;
        };
        let [of_peer, of_this]: [Series; 2] =
            alternate([&mut peer, &mut this], Contestant::measure_call);
        let fault = this.fault().or_else(|| peer.fault());
        rows.push(Row::compared(
            &name,
            [&of_this, &of_peer],
            of_peer.ratio_to(&of_this),
            aim,
            fault,
        ));
    }
    rows
}

/// Processor time of an answer from the cache.
pub fn measure_hits(bench: &Bench<'_>) -> Vec<Row> {
    let (directory, application) = (bench.directory, bench.application.address);
    let nginx = start_nginx(directory, Role::Cache, application);
    let varnish = start_varnish(directory, application);
    let peer = |name, package, started, aim| Peer {
        name,
        package,
        contestant: enter(bench, started, HIT, calls::write_reads),
        aim: Aim::AtLeast(aim),
    };
    let peers = vec![
        peer("nginx", "nginx", nginx, 1.2),
        peer("Varnish", "varnish", varnish, 2.0),
    ];
    compare(
        "a hit",
        bench,
        (tidegate(bench, CACHE), "; hit"),
        calls::write_reads,
        peers,
    )
}

/// Processor time of a call that passes through, a POST and a GET in turn.
pub fn measure_relay(bench: &Bench<'_>) -> Vec<Row> {
    let (directory, application) = (bench.directory, bench.application.address);
    let nginx = start_nginx(directory, Role::Relay, application);
    let haproxy = start_haproxy(directory, application);
    let peer = |name, package, started| Peer {
        name,
        package,
        contestant: enter(bench, started, "", calls::write_relayed),
        aim: Aim::AtLeast(1.0),
    };
    let peers = vec![
        peer("nginx", "nginx", nginx),
        peer("haproxy", "haproxy", haproxy),
    ];
    compare(
        "a relayed call",
        bench,
        (tidegate(bench, ""), ""),
        calls::write_relayed,
        peers,
    )
}
