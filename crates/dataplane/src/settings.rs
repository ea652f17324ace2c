//! Process settings of the data path: every limit and every wait has a name and a default.
use pointsman_wire::http1::HeadLimits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration as StdDuration;

/// A duration as people write it: `50ms`, `10s`, `5m`, `1h`, or `0` for "off" where that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub StdDuration);

impl Duration {
    const fn ms(ms: u64) -> Self {
        Self(StdDuration::from_millis(ms))
    }

    const fn s(s: u64) -> Self {
        Self(StdDuration::from_secs(s))
    }

    /// Reads the written form.
    ///
    /// # Errors
    /// A sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let wrong = || format!("`{text}` is not a duration; write for example 50ms, 10s, 5m or 1h");
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "ms" => number / 1e3,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            "" if number == 0.0 => 0.0,
            _ => return Err(wrong()),
        };
        StdDuration::try_from_secs_f64(seconds)
            .map(Self)
            .map_err(|_| wrong())
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0 => f.write_str("0"),
            _ if ms.is_multiple_of(3_600_000) => write!(f, "{}h", ms / 3_600_000),
            _ if ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            _ if ms.is_multiple_of(1000) => write!(f, "{}s", ms / 1000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Environment variables and plain YAML scalars may arrive as numbers.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(u64),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
        };
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What the data path may be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Protocol detection.
    pub detection: Detection,
    /// How long each wait may take.
    pub timeouts: Timeouts,
    /// How much of each thing there may be.
    pub limits: Limits,
    /// HTTP/2, towards clients and endpoints.
    pub http2: Http2,
    /// Copies of requests for mirrors.
    pub mirrors: Mirrors,
    /// Whom to believe.
    pub trust: Trust,
    /// What is made of requests.
    pub http: Http,
}

/// What is made of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Does a request without `X-Request-Id` get one?
    pub request_id: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { request_id: true }
    }
}

/// Whom to believe what they say of others. Nobody, unless told so: whoever may say that a request
/// came by HTTPS gets past `httpsRedirect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// Addresses and ranges of proxies in front of the ports of Gateways. What they say in
    /// `X-Forwarded-*`, `X-Request-Id` and `X-Envoy-*` counts and is passed on (GW-52, GW-82,
    /// VS-H-25): they must let none of it through from their own clients.
    #[serde(deserialize_with = "networks")]
    pub proxies: Vec<ipnet::IpNet>,
    /// How many proxies stand in front of the ports of Gateways: the client's address is so many
    /// entries from the last in `X-Forwarded-For` (GW-80). Without `proxies` it says that whoever
    /// connects is one of them; with `proxies`, whose are one at least, it is theirs alone. Absent:
    /// `numTrustedProxies` of the mesh.
    pub hops: Option<u32>,
}

/// Ranges; an address is the range of it alone.
fn networks<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<ipnet::IpNet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an address, or a range such as 10.0.0.0/8")]
    enum Network {
        Range(ipnet::IpNet),
        Address(std::net::IpAddr),
    }
    let all = Vec::<Network>::deserialize(from)?.into_iter();
    let network = |it| match it {
        Network::Range(range) => range,
        Network::Address(address) => address.into(),
    };
    Ok(all.map(network).collect())
}

impl Trust {
    /// Is it one of the proxies?
    pub fn has_proxy(&self, peer: std::net::IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxies.iter().any(|net| net.contains(&peer))
    }
}

/// Protocol detection on undeclared ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Detection {
    /// After this silence of the client the TCP backend is connected early; whoever speaks first
    /// then decides. `0` switches it off: the client must speak first.
    pub server_first_after: Duration,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            server_first_after: Duration::ms(50),
        }
    }
}

/// Deadlines. Accurate to a tenth of a second, never early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Connecting to an endpoint, where no DestinationRule says otherwise (BE-61).
    pub connect: Duration,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// From the first byte of a TLS ClientHello to its end.
    pub client_hello: Duration,
    /// Between two requests of one client connection.
    pub keep_alive: Duration,
    /// Without one byte of an unfinished request body. A stream that goes on as a stream of HTTP/2, and
    /// told no length, has as long as a response (VS-H-66).
    pub request_body: Duration,
    /// Without one byte of an unfinished response, its head included.
    pub response: Duration,
    /// How long an answer that has not begun is waited for once the client has ended its side: it
    /// may have said all it had to say, or be gone. `0`: as long as for any other.
    pub half_closed: Duration,
    /// Without being able to write one byte to a peer.
    pub write: Duration,
    /// Without one byte in either direction of a tunnel (BE-64). `0`: no limit.
    pub tunnel_idle: Duration,
    /// How long a connection to an endpoint is kept for the next request, where no DestinationRule
    /// says otherwise (BE-70).
    pub upstream_idle: Duration,
    /// How long a request waits for a connection to a backend that has as many as its
    /// DestinationRule allows (BE-66). `0`: as long as its own timeout lets it.
    pub pending: Duration,
    /// How long a client connection is served; a tenth more or less, so that connections that began
    /// together do not end together. The next response over HTTP/1 then says that it is the last one;
    /// HTTP/2 says GOAWAY at once, and finishes its streams. `0`: no limit.
    pub connection_age: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::s(10),
            request_head: Duration::s(10),
            client_hello: Duration::s(3),
            keep_alive: Duration::s(300),
            request_body: Duration::s(60),
            response: Duration::s(3600),
            half_closed: Duration::s(30),
            write: Duration::s(300),
            tunnel_idle: Duration::s(3600),
            upstream_idle: Duration::s(60),
            pending: Duration::s(60),
            connection_age: Duration::s(0),
        }
    }
}

/// Sizes and counts, each per shard unless stated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open client connections; beyond it accepting pauses.
    pub connections: u32,
    /// Bytes of a request or response head.
    pub head_bytes: usize,
    /// Fields of a head, at most 128.
    pub fields: usize,
    /// Bytes of a request target.
    pub target_bytes: usize,
    /// Bytes of a request body that are read and thrown away behind an answer that was made without
    /// it, so that the connection can be kept; with a longer one it is closed.
    pub discarded_body_bytes: u64,
    /// Bytes of a request body that are kept while it is sent, beyond what came with the head, so that
    /// it can be sent again; a request with more is not.
    pub retry_body_bytes: usize,
    /// Idle connections kept to one endpoint.
    pub pooled_per_endpoint: usize,
    /// Requests served on one client connection before it is closed; 0: no limit.
    pub requests_per_connection: u32,
    /// Accept queue of each listening socket.
    pub backlog: i32,
    /// Bytes of memory of access log records that a shard keeps and of those that a sink has not dealt with
    /// yet, together; more are lost, and counted.
    pub access_log_bytes: usize,
    /// Access log records kept between two ticks of the meter (250 ms); more are lost, and counted.
    pub access_log_ring: usize,
    /// Bytes after which one direction of a tunnel counts as bulk and is spliced, and of an HTTP/1
    /// body with a known length that is spliced from the start; 0: never.
    pub splice_after: u64,
}

impl Limits {
    /// What a head may be at most, of a request or of a response.
    #[must_use]
    pub fn of_heads(&self) -> HeadLimits {
        HeadLimits {
            max_bytes: self.head_bytes,
            max_fields: self.fields,
            max_target: self.target_bytes,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            head_bytes: 64 * 1024,
            fields: 100,
            target_bytes: 32 * 1024,
            discarded_body_bytes: 256 * 1024,
            retry_body_bytes: 64 * 1024,
            pooled_per_endpoint: 512,
            requests_per_connection: 0,
            backlog: 4096,
            access_log_bytes: 16 * 1024 * 1024,
            access_log_ring: 16_384,
            splice_after: 256 * 1024,
        }
    }
}

/// HTTP/2 (RFC 9113), towards clients and endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http2 {
    /// Streams a client may have at a time on one connection (MAX_CONCURRENT_STREAMS).
    pub client_streams: u32,
    /// Streams at a time on one connection to an endpoint, where no DestinationRule says otherwise
    /// (BE-71); the endpoint may allow less. Beyond it another connection is opened.
    pub endpoint_streams: u32,
    /// Connections of a shard to one endpoint; requests beyond what they have room for wait for
    /// the time of connecting, and get a 503 then.
    pub endpoint_connections: u32,
    /// Bytes of body that a peer may send on a stream before they are read: what a stream keeps in
    /// memory at most, in this direction (INITIAL_WINDOW_SIZE).
    pub stream_window_bytes: u32,
    /// The same for all streams of a connection together, if that is more than the windows of all the
    /// streams that it may have: those that nobody reads are to stop no other.
    pub connection_window_bytes: u32,
    /// Bytes of body that a stream keeps in memory for a peer that does not take them yet.
    pub send_buffer_bytes: u32,
    /// Bytes of memory that small frames of a connection may take besides their contents until they
    /// are passed on; more end the connection. 256 per frame, less its length.
    pub small_frames_bytes: u32,
    /// The largest frame that is taken (MAX_FRAME_SIZE), 16384 to 16777215.
    pub frame_bytes: u32,
    /// Bytes of the table of fields a peer may refer to (HEADER_TABLE_SIZE).
    pub header_table_bytes: u32,
    /// Streams of a connection that this side has reset in the last two seconds and whose late frames
    /// are ignored; to those of others it says once more that they are reset.
    pub remembered_resets: u32,
    /// Streams of a connection that the client has reset before they were served; one more ends
    /// the connection (rapid reset).
    pub unserved_resets: u32,
    /// Streams of a client connection that were reset because they broke the protocol, in all its
    /// time; one more ends the connection. With three quarters of them it is told to go.
    pub faulty_streams: u32,
    /// Of the budgets of frames that cost a client or an endpoint nothing (PING, SETTINGS, PRIORITY and
    /// the like), in percent of what is built in; who uses one up is cut off. `0`: no budgets.
    pub flood_budget_percent: u32,
}

impl Http2 {
    /// How long it is remembered that this side has reset a stream: as long as frames of it may be
    /// under way. With the number of those that are remembered it says how many may be reset in a second.
    pub(crate) const REMEMBERED: StdDuration = StdDuration::from_secs(2);

    /// The window of a connection that may have so many streams. If those that nobody reads could fill it
    /// together, they would stop all others.
    pub(crate) fn connection_window(&self, streams: u32) -> u32 {
        /// The most that a window can be (RFC 9113 section 6.9.1).
        const MOST: u32 = (1 << 31) - 1;
        let windows = self.stream_window_bytes.saturating_mul(streams);
        windows.max(self.connection_window_bytes).min(MOST)
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            client_streams: 100,
            endpoint_streams: 100,
            endpoint_connections: 512,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 1024 * 1024,
            send_buffer_bytes: 64 * 1024,
            small_frames_bytes: 4 * 1024 * 1024,
            frame_bytes: 16 * 1024,
            header_table_bytes: 4096,
            remembered_resets: 1000,
            unserved_resets: 20,
            faulty_streams: 1024,
            flood_budget_percent: 100,
        }
    }
}

/// Copies of requests for mirrors (VS-H-86..89).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirrors {
    /// Copies that a shard sends at a time; those beyond it are dropped. So many times `body_bytes` may
    /// wait for the ends of their requests.
    pub in_flight: u32,
    /// Bytes of body that are copied; a request with more is not. A mirror's reply that is longer is
    /// not read to its end.
    pub body_bytes: usize,
    /// How long sending a copy and reading the reply may take; the rule's `timeout` if shorter.
    pub timeout: Duration,
    /// Is `-shadow` appended to the name in `Host` of a copy, as Istio once did (VS-H-88)?
    pub shadow_host: bool,
}

impl Mirrors {
    /// Bytes of bodies of copies that a shard keeps while their requests are not complete.
    pub(crate) fn collected(&self) -> usize {
        (self.in_flight as usize).saturating_mul(self.body_bytes)
    }
}

impl Default for Mirrors {
    fn default() -> Self {
        Self {
            in_flight: 512,
            body_bytes: 256 * 1024,
            timeout: Duration::s(15),
            shadow_host: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        for text in ["0", "50ms", "10s", "5m", "1h", "1500ms"] {
            assert_eq!(Duration::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Duration::parse("1.5s").unwrap(), Duration::ms(1500));
        for text in ["", "10", "s", "-1s", "1d", "1e400s"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }
}
