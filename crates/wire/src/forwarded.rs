//! What a proxy says of a request to the next one, and what it lets nobody else say: `X-Request-Id`,
//! `X-Forwarded-*`, `X-Envoy-*` (GW-80..83, PS-84).
//!
//! Done once for a request, before anything else reads its fields, so that rules match, change and
//! remove what is made here as if the client had sent it.
//!
//! ```
//! use pointsman_wire::{forwarded::*, http1::*};
//!
//! let received = b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 1.2.3.4\r\nx-envoy-retry-on: 5xx\r\n\r\n";
//! let mut slots = field_slots();
//! let head = parse_request(received, &mut slots, &HeadLimits::default())?.expect("complete");
//! let sender = Sender {
//!     side: Side::Edge { peer: "192.0.2.7" },
//!     trusted: false,
//!     hops: 0,
//!     scheme: "http",
//! };
//! let forwarded = Forwarded::new(&head, &sender, || Some(request_id(7)));
//! let mut list = FieldList::new();
//! let head = forwarded.head(&head, &sender, &mut list)?;
//! assert_eq!(head.values("x-forwarded-for").collect::<Vec<_>>(), [b"192.0.2.7"]);
//! assert_eq!(head.values("x-envoy-retry-on").count(), 0);
//! # Ok::<(), Refusal>(())
//! ```
use crate::http1::{Field, FieldSet, MAX_FIELDS, Reason, Refusal, RequestHead};
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};

/// By whom a request was sent here.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// By which side it came.
    pub side: Side<'a>,
    /// Are its `X-Request-Id` and its `X-Envoy-*` fields taken? A client whose traffic is captured
    /// always is, whatever this says (PS-84).
    pub trusted: bool,
    /// How many entries of `X-Forwarded-For`, from the last one, were put there by proxies that
    /// are believed (GW-80). 0: none, and nothing else called `X-Forwarded-*` counts either.
    pub hops: u32,
    /// `http` or `https`: how the request itself came.
    pub scheme: &'static str,
}

/// By which side a request came.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// Captured on its way out of the client. The client's own proxy says nothing of its address.
    Mesh,
    /// To a port of a gateway, from this address.
    Edge {
        /// The peer's address, without its port.
        peer: &'a str,
    },
}

/// What is to be done to the fields of one request.
#[derive(Debug)]
pub struct Forwarded {
    id: Option<[u8; 36]>,
    /// Is `X-Forwarded-Proto` made?
    proto: bool,
    /// All of `X-Forwarded-For`, where proxies in front have begun it.
    forwarded_for: Option<Vec<u8>>,
    client: Option<(IpAddr, String)>,
    scheme: &'static str,
    /// Received fields that go no further.
    drop: FieldSet,
}

impl Forwarded {
    /// Looks through the received fields once. `id` makes a request id where one is needed, or says
    /// that none is to be made. Allocates only for requests that come through trusted proxies.
    pub fn new(
        head: &RequestHead<'_>,
        sender: &Sender<'_>,
        id: impl FnOnce() -> Option<[u8; 36]>,
    ) -> Self {
        let edge = matches!(sender.side, Side::Edge { .. });
        let trusted = !edge || sender.trusted;
        let believed = !edge || sender.hops > 0;
        let mut drop = FieldSet::EMPTY;
        let mut ids = false;
        let (mut protos, mut https, mut plain) = (FieldSet::EMPTY, false, false);
        let mut chain: SmallVec<[&[u8]; 4]> = SmallVec::new();
        for (index, field) in head.fields.iter().enumerate() {
            let passes = match of_interest(field.name) {
                None => continue,
                Some(Name::RequestId) if trusted => {
                    ids = true;
                    true
                }
                Some(Name::RequestId) => false,
                Some(Name::Proto) if believed => {
                    protos.insert(index);
                    https = field.value.eq_ignore_ascii_case(b"https");
                    plain = field.value.eq_ignore_ascii_case(b"http");
                    true
                }
                // All of them become one, with the peer behind them.
                Some(Name::For) if edge => {
                    if believed {
                        chain.push(field.value);
                    }
                    false
                }
                Some(Name::Proto | Name::For | Name::Forwarded) => believed,
                // Nobody is asked for a certificate, so nobody can have proven to have one.
                Some(Name::ClientCert) => false,
                Some(Name::ExternalAddress) if edge => false,
                Some(Name::ExternalAddress | Name::Envoy) => trusted,
            };
            if !passes {
                drop.insert(index);
            }
        }
        // Said twice, or said wrong, it is not said (GW-52).
        let said = protos.len() == 1 && (https || plain);
        if edge && !said {
            drop = drop.union(protos);
        }
        let client = match sender.side {
            Side::Edge { .. } if believed => nth_from_the_last(&chain, sender.hops),
            _ => None,
        };
        Self {
            id: if ids { None } else { id() },
            proto: if edge { !said } else { protos.is_empty() },
            forwarded_for: match sender.side {
                Side::Edge { peer } if !chain.is_empty() => Some(joined(&chain, peer)),
                _ => None,
            },
            client: client.map(|client| (client, client.to_string())),
            scheme: if said && https {
                "https"
            } else {
                sender.scheme
            },
            drop,
        }
    }

    /// `http` or `https`: what the first trusted proxy was asked in, or a captured client says, else how the request came
    /// (VS-H-25).
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The address of the client that trusted proxies speak for; `None`: it is the peer's.
    pub fn client(&self) -> Option<IpAddr> {
        self.client.as_ref().map(|(address, _)| *address)
    }

    /// The head as everybody sees it from here on, its fields in `list`.
    ///
    /// # Errors
    /// 431 when there are more than [`MAX_FIELDS`] with those that are made here.
    pub fn head<'s, 'h: 's>(
        &'h self,
        head: &RequestHead<'h>,
        sender: &Sender<'h>,
        list: &'s mut FieldList<'h>,
    ) -> Result<RequestHead<'s>, Refusal> {
        let mut drop = head.drop;
        if self.drop.is_empty() {
            list.extend_from_slice(head.fields);
        } else {
            drop = FieldSet::EMPTY;
            for (index, field) in head.fields.iter().enumerate() {
                if !self.drop.contains(index) {
                    if head.drop.contains(index) {
                        drop.insert(list.len());
                    }
                    list.push(*field);
                }
            }
        }
        let mut add = |name, value| list.push(Field { name, value });
        if let Side::Edge { peer } = sender.side {
            let whole = self.forwarded_for.as_deref();
            add("x-forwarded-for", whole.unwrap_or(peer.as_bytes()));
            let client = self.client.as_ref().map_or(peer, |(_, text)| text);
            add("x-envoy-external-address", client.as_bytes());
        }
        if self.proto {
            add("x-forwarded-proto", sender.scheme.as_bytes());
        }
        if let Some(id) = &self.id {
            add("x-request-id", id);
        }
        if list.len() > MAX_FIELDS {
            return Err(Refusal::request(Reason::TooManyFields));
        }
        Ok(RequestHead {
            fields: list,
            drop,
            ..*head
        })
    }
}

/// The fields of a request with those that are made here; of most requests without an allocation.
pub type FieldList<'h> = SmallVec<[Field<'h>; 32]>;

enum Name {
    RequestId,
    For,
    Proto,
    ClientCert,
    /// Another `X-Forwarded-*`, or `Forwarded` (RFC 7239).
    Forwarded,
    ExternalAddress,
    /// Another `X-Envoy-*`.
    Envoy,
}

/// Most names are none of these, which the first bytes tell.
#[inline]
fn of_interest(name: &str) -> Option<Name> {
    let is = |word: &str| name.eq_ignore_ascii_case(word);
    match name.as_bytes() {
        [b'x' | b'X', b'-', b'r' | b'R', ..] if is("x-request-id") => Some(Name::RequestId),
        [b'x' | b'X', b'-', b'f' | b'F', ..] if starts(name, "x-forwarded-") => {
            Some(match name.len() {
                15 if is("x-forwarded-for") => Name::For,
                17 if is("x-forwarded-proto") => Name::Proto,
                23 if is("x-forwarded-client-cert") => Name::ClientCert,
                _ => Name::Forwarded,
            })
        }
        [b'x' | b'X', b'-', b'e' | b'E', ..] if starts(name, "x-envoy-") => {
            Some(match is("x-envoy-external-address") {
                true => Name::ExternalAddress,
                false => Name::Envoy,
            })
        }
        [b'f' | b'F', ..] if is("forwarded") => Some(Name::Forwarded),
        _ => None,
    }
}

fn starts(name: &str, prefix: &str) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The address that the outermost of `hops` proxies saw: the entry so many from the last one, as
/// each proxy appends whom it got the request from. `None` where there are fewer, or it is no
/// address.
fn nth_from_the_last(chain: &[&[u8]], hops: u32) -> Option<IpAddr> {
    let back = usize::try_from(hops).ok()?.checked_sub(1)?;
    let mut entries = chain
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(|&byte| byte == b','));
    let text = std::str::from_utf8(entries.nth(back)?).ok()?;
    address(text.trim_matches([' ', '\t']))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse().ok();
    let with_port = || text.parse().ok().map(|it: SocketAddr| it.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare()
        .or_else(with_port)
        .or_else(bracketed)
        .map(|it: IpAddr| it.to_canonical())
}

fn joined(chain: &[&[u8]], peer: &str) -> Vec<u8> {
    let length: usize = chain.iter().map(|value| value.len() + 2).sum();
    let mut whole = Vec::with_capacity(length + peer.len());
    for value in chain.iter().filter(|value| !value.is_empty()) {
        whole.extend_from_slice(value);
        whole.extend_from_slice(b", ");
    }
    whole.extend_from_slice(peer.as_bytes());
    whole
}

/// A request id made of random bits: a UUID of version 4 (RFC 9562 section 5.4).
pub fn request_id(random: u128) -> [u8; 36] {
    let version = 0x0000_0000_0000_4000_8000_0000_0000_0000;
    let bits = random & 0xffff_ffff_ffff_0fff_3fff_ffff_ffff_ffff | version;
    let [a, b, c, d] = [96, 64, 32, 0].map(|shift| hexadecimal((bits >> shift) as u32));
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&a);
    text[9..13].copy_from_slice(&b[..4]);
    text[14..18].copy_from_slice(&b[4..]);
    text[19..23].copy_from_slice(&c[..4]);
    text[24..28].copy_from_slice(&c[4..]);
    text[28..].copy_from_slice(&d);
    text
}

/// Eight digits at once, as an id is made for every request: digit by digit that takes 85
/// instructions more.
fn hexadecimal(number: u32) -> [u8; 8] {
    // One digit in each byte.
    let mut digits = u64::from(number);
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    let each = 0x0101_0101_0101_0101;
    // 10 and more carry into the upper half of their byte.
    let letters = (digits + 6 * each) >> 4 & each;
    let text = digits + u64::from(b'0') * each + u64::from(b'a' - b'0' - 10) * letters;
    text.to_be_bytes()
}
