//! What is measured: one row per kind of traffic.

use std::net::SocketAddr;

use crate::load::{Http2, Load, Paced, Transfer};
use crate::proxies::Fronts;
use crate::traffic::{self, HTTP_HOST};

/// Requests per second of the `latency` rows: a tenth of what any of the proxies can do on one CPU,
/// so that what is measured is how evenly a proxy works, not how it behaves when it is full.
pub const PACE: u32 = 5_000;

const MIB: u64 = 1 << 20;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// 64 kept-alive connections, 120-byte GET, 100-byte answer.
    HttpSmall,
    /// 64 kept-alive connections, 700-byte GET with 13 fields, 1 KiB answer.
    HttpRealistic,
    /// `http-small` through a list of one rule.
    #[value(name = "rules-1")]
    Rules1,
    /// `http-small` through a list of 10 rules, of which the last matches.
    #[value(name = "rules-10")]
    Rules10,
    /// `http-small` through a list of 100 rules, of which the last matches.
    #[value(name = "rules-100")]
    Rules100,
    /// 4 kept-alive connections, answers of 1 MiB.
    #[value(name = "http-1mib")]
    Http1Mib,
    /// 4 kept-alive connections, answers of 100 MiB.
    #[value(name = "http-100mib")]
    Http100Mib,
    /// 4 kept-alive connections, requests of 1 MiB.
    #[value(name = "upload-1mib")]
    Upload1Mib,
    /// h2load, 10 connections of 10 streams; the upstream speaks HTTP/1.
    #[value(name = "h2-h1")]
    H2H1,
    /// As `h2-h1`, with the fields of `http-realistic` and an answer of 1 KiB.
    #[value(name = "h2-realistic")]
    H2Realistic,
    /// h2load, 10 connections of 10 streams; the upstream speaks HTTP/2.
    #[value(name = "h2-h2")]
    H2H2,
    /// As `h2-h2`: POST of a message of 55 bytes, one of 105 and trailers come back.
    GrpcUnary,
    /// The slowest hundredth of small requests at a fixed rate over HTTP/1.
    LatencyH1,
    /// The slowest hundredth of small requests at a fixed rate over HTTP/2.
    LatencyH2,
    /// Memory of 10,000 connections after one request each.
    #[value(name = "idle-10k")]
    Idle10k,
    /// 16 at a time: connect, 64 bytes there and back, close.
    TcpConnect,
    /// 4 streams from the upstream to the client.
    TcpBulk,
    /// 16 at a time: a 517-byte ClientHello routed by its server name, echoed, close.
    Sni,
    /// `http-small` to hosts at random, of 10 in the manifests against 100 000; this project only.
    #[value(name = "hosts-100k")]
    Hosts100k,
}

/// What a row's figures are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// CPU time of a request.
    Request,
    /// CPU time of a connection.
    Connection,
    /// CPU time of a gigabyte.
    Byte,
    /// The 99th percentile of what requests take while nothing disturbs them.
    Tail,
    /// Memory of a connection.
    Memory,
}

impl Row {
    /// All of them, in order.
    pub const ALL: [Row; 19] = [
        Row::HttpSmall,
        Row::HttpRealistic,
        Row::Rules1,
        Row::Rules10,
        Row::Rules100,
        Row::Http1Mib,
        Row::Http100Mib,
        Row::Upload1Mib,
        Row::H2H1,
        Row::H2Realistic,
        Row::H2H2,
        Row::GrpcUnary,
        Row::LatencyH1,
        Row::LatencyH2,
        Row::Idle10k,
        Row::TcpConnect,
        Row::TcpBulk,
        Row::Sni,
        Row::Hosts100k,
    ];

    /// The name on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Row::HttpSmall => "http-small",
            Row::HttpRealistic => "http-realistic",
            Row::Rules1 => "rules-1",
            Row::Rules10 => "rules-10",
            Row::Rules100 => "rules-100",
            Row::Http1Mib => "http-1mib",
            Row::Http100Mib => "http-100mib",
            Row::Upload1Mib => "upload-1mib",
            Row::H2H1 => "h2-h1",
            Row::H2Realistic => "h2-realistic",
            Row::H2H2 => "h2-h2",
            Row::GrpcUnary => "grpc-unary",
            Row::LatencyH1 => "latency-h1",
            Row::LatencyH2 => "latency-h2",
            Row::Idle10k => "idle-10k",
            Row::TcpConnect => "tcp-connect",
            Row::TcpBulk => "tcp-bulk",
            Row::Sni => "sni",
            Row::Hosts100k => "hosts-100k",
        }
    }

    /// What its figures are in.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Row::HttpSmall
            | Row::HttpRealistic
            | Row::Rules1
            | Row::Rules10
            | Row::Rules100
            | Row::H2H1
            | Row::H2Realistic
            | Row::H2H2
            | Row::GrpcUnary
            | Row::Hosts100k => Unit::Request,
            Row::TcpConnect | Row::Sni => Unit::Connection,
            Row::Http1Mib | Row::Http100Mib | Row::Upload1Mib | Row::TcpBulk => Unit::Byte,
            Row::LatencyH1 | Row::LatencyH2 => Unit::Tail,
            Row::Idle10k => Unit::Memory,
        }
    }

    /// Whether the servers are started for this row alone.
    #[must_use]
    pub fn is_alone(self) -> bool {
        matches!(self, Row::Idle10k | Row::Hosts100k)
    }

    /// The entry of a proxy that this row drives; `None` where the proxy has no such thing.
    #[must_use]
    pub fn front(self, fronts: &Fronts) -> Option<SocketAddr> {
        let [rules_1, rules_10, rules_100] = fronts.rules;
        match self {
            Row::HttpSmall
            | Row::HttpRealistic
            | Row::LatencyH1
            | Row::Idle10k
            | Row::Hosts100k => Some(fronts.http),
            Row::Rules1 => Some(rules_1),
            Row::Rules10 => Some(rules_10),
            Row::Rules100 => Some(rules_100),
            Row::Http1Mib | Row::Http100Mib | Row::Upload1Mib => Some(fronts.large),
            Row::H2H1 | Row::H2Realistic | Row::LatencyH2 => fronts.h2_h1,
            Row::H2H2 => fronts.h2_h2,
            Row::GrpcUnary => fronts.grpc,
            Row::TcpConnect => Some(fronts.tcp),
            Row::TcpBulk => Some(fronts.bulk),
            Row::Sni => Some(fronts.sni),
        }
    }

    /// The load.
    #[must_use]
    pub fn load(self) -> Load {
        match self {
            Row::HttpSmall | Row::Hosts100k | Row::Idle10k => {
                requests(traffic::small_request(HTTP_HOST), traffic::SMALL_BODY)
            }
            Row::HttpRealistic => requests(
                traffic::realistic_request(HTTP_HOST),
                traffic::REALISTIC_BODY,
            ),
            Row::Rules1 => requests(traffic::last_rule_request(1), traffic::SMALL_BODY),
            Row::Rules10 => requests(traffic::last_rule_request(10), traffic::SMALL_BODY),
            Row::Rules100 => requests(traffic::last_rule_request(100), traffic::SMALL_BODY),
            Row::Http1Mib => Load::Transfer(Transfer::down(MIB, 4)),
            Row::Http100Mib => Load::Transfer(Transfer::down(100 * MIB, 4)),
            Row::Upload1Mib => Load::Transfer(Transfer::up(MIB, 4)),
            Row::H2H1 | Row::H2H2 => Load::Http2(Http2 {
                path: "/s",
                fields: &[],
                body: &[],
                answer: traffic::SMALL_BODY,
                connections: 10,
                streams: 10,
            }),
            Row::H2Realistic => Load::Http2(Http2 {
                path: traffic::REALISTIC_PATH,
                fields: &traffic::REALISTIC_FIELDS,
                body: &[],
                answer: traffic::REALISTIC_BODY,
                connections: 10,
                streams: 10,
            }),
            Row::GrpcUnary => Load::Http2(Http2 {
                path: "/bench.Bench/Unary",
                fields: &[("content-type", "application/grpc"), ("te", "trailers")],
                body: &traffic::GRPC_REQUEST,
                answer: traffic::GRPC_ANSWER.len(),
                connections: 10,
                streams: 10,
            }),
            Row::LatencyH1 => Load::Paced(Paced {
                http2: false,
                rate: PACE,
                connections: 64,
            }),
            Row::LatencyH2 => Load::Paced(Paced {
                http2: true,
                rate: PACE,
                connections: 10,
            }),
            Row::TcpConnect => Load::Connect {
                payload: vec![b'e'; 64],
                concurrency: 16,
            },
            Row::TcpBulk => Load::Bulk { streams: 4 },
            Row::Sni => {
                let payload = traffic::client_hello(traffic::SNI_HOST);
                Load::Connect {
                    payload,
                    concurrency: 16,
                }
            }
        }
    }
}

/// One request on 64 connections.
fn requests(request: Vec<u8>, body: usize) -> Load {
    Load::Http {
        requests: vec![request],
        body,
        connections: 64,
        at_random: false,
    }
}

impl Unit {
    /// What one figure of the cost column says.
    #[must_use]
    pub fn cost(self) -> &'static str {
        match self {
            Unit::Request => "µs/request",
            Unit::Connection => "µs/connection",
            Unit::Byte => "s/GB",
            Unit::Tail => "µs p99",
            Unit::Memory => "KiB/connection",
        }
    }

    /// What one figure of the rate column says.
    #[must_use]
    pub fn rate(self) -> &'static str {
        match self {
            Unit::Request | Unit::Tail => "requests/s",
            Unit::Connection => "connections/s",
            Unit::Byte => "GB/s",
            Unit::Memory => "connections",
        }
    }

    /// Counted units (requests, connections, bytes) in one unit of the rate.
    #[must_use]
    pub fn units_per_rate(self) -> f64 {
        if self == Unit::Byte { 1e9 } else { 1.0 }
    }

    /// Units of cost in one second of CPU time.
    #[must_use]
    pub fn costs_per_second(self) -> f64 {
        if self == Unit::Byte { 1.0 } else { 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn the_table_and_the_command_line_agree_on_names() {
        for row in Row::ALL {
            let named = Row::from_str(row.name(), false);
            assert_eq!(named, Ok(row));
        }
        assert_eq!(Row::ALL.as_slice(), Row::value_variants());
    }
}
