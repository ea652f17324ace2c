//! What is measured: one row per kind of traffic.

use std::net::SocketAddr;

use crate::load::Load;
use crate::proxies::Fronts;
use crate::traffic;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// 64 kept-alive connections, 120-byte GET, 100-byte answer.
    HttpSmall,
    /// 64 kept-alive connections, 700-byte GET with 13 fields, 1 KiB answer.
    HttpRealistic,
    /// 16 at a time: connect, 64 bytes there and back, close.
    TcpConnect,
    /// 4 streams from the upstream to the client.
    TcpBulk,
    /// 16 at a time: a 517-byte ClientHello routed by its server name, echoed, close.
    Sni,
    /// `http-small` with 10 hosts in the manifests against 100 000; this project only.
    #[value(name = "hosts-100k")]
    Hosts100k,
}

impl Row {
    /// All of them, in order.
    pub const ALL: [Row; 6] = [
        Row::HttpSmall,
        Row::HttpRealistic,
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
            Row::TcpConnect => "tcp-connect",
            Row::TcpBulk => "tcp-bulk",
            Row::Sni => "sni",
            Row::Hosts100k => "hosts-100k",
        }
    }

    /// What one figure of the cost column says.
    #[must_use]
    pub fn cost_unit(self) -> &'static str {
        match self {
            Row::HttpSmall | Row::HttpRealistic | Row::Hosts100k => "µs/request",
            Row::TcpConnect | Row::Sni => "µs/connection",
            Row::TcpBulk => "s/GB",
        }
    }

    /// What one figure of the rate column says.
    #[must_use]
    pub fn rate_unit(self) -> &'static str {
        match self {
            Row::HttpSmall | Row::HttpRealistic | Row::Hosts100k => "requests/s",
            Row::TcpConnect | Row::Sni => "connections/s",
            Row::TcpBulk => "GB/s",
        }
    }

    /// Counted units (requests, connections, bytes) in one unit of the rate.
    #[must_use]
    pub fn units_per_rate(self) -> f64 {
        if self == Row::TcpBulk { 1e9 } else { 1.0 }
    }

    /// Units of cost in one second of CPU time.
    #[must_use]
    pub fn costs_per_second(self) -> f64 {
        if self == Row::TcpBulk { 1.0 } else { 1e6 }
    }

    /// The entry of a proxy that this row drives.
    #[must_use]
    pub fn front(self, fronts: &Fronts) -> SocketAddr {
        match self {
            Row::HttpSmall | Row::HttpRealistic | Row::Hosts100k => fronts.http,
            Row::TcpConnect => fronts.tcp,
            Row::TcpBulk => fronts.bulk,
            Row::Sni => fronts.sni,
        }
    }

    /// The load; HTTP connections take these hosts in turn.
    #[must_use]
    pub fn load(self, hosts: &[String]) -> Load {
        match self {
            Row::HttpSmall | Row::Hosts100k => Load::Http {
                requests: hosts
                    .iter()
                    .map(|host| traffic::small_request(host))
                    .collect(),
                body: traffic::SMALL_BODY,
                connections: 64,
            },
            Row::HttpRealistic => Load::Http {
                requests: hosts
                    .iter()
                    .map(|host| traffic::realistic_request(host))
                    .collect(),
                body: traffic::REALISTIC_BODY,
                connections: 64,
            },
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
