//! The numbers of the findings this crate raises.
use pointsman_model::Code;

/// The text is not YAML, or a key is written twice.
pub const SYNTAX: Code = Code(1);
/// The text asks for more than the [`Limits`](crate::Limits).
pub const BUDGET: Code = Code(2);
/// A value has another type than its field.
pub const TYPE: Code = Code(3);
/// The published schema has no such field.
pub const UNKNOWN_FIELD: Code = Code(4);
/// The field is known, but nothing acts on it yet.
pub const NOT_SUPPORTED: Code = Code(5);
/// Documents of this kind are not read.
pub const KIND: Code = Code(6);
/// A document cannot be told from others: `kind` or `metadata.name` is missing or malformed.
pub const IDENTITY: Code = Code(7);
/// A plain word or number means something else than it looks like (YAML 1.1 octal).
pub const SURPRISE: Code = Code(8);
/// A required field is missing.
pub const REQUIRED: Code = Code(10);
/// A value is out of its range or form: port, duration, address, name, enumeration.
pub const VALUE: Code = Code(11);
/// A rule needs exactly one action (VS-H-36, VS-H-160).
pub const ACTION: Code = Code(12);
/// Fields that exclude or require each other (VS-H-37, VS-H-38, VS-H-166, VS-H-167).
pub const COMBINATION: Code = Code(13);
/// Hosts that overlap, repeat or are not allowed here (VSB-18, VS-H-162, BE-102).
pub const HOSTS: Code = Code(14);
/// A condition that cannot be compiled or is empty (VS-H-19, VS-H-163).
pub const CONDITION: Code = Code(15);
/// Weights (VS-H-61, VS-H-165).
pub const WEIGHT: Code = Code(16);
/// Header names (VS-H-165).
pub const HEADER_NAME: Code = Code(17);
/// An SNI name outside the hosts of its VirtualService (VS-S-5).
pub const SNI_HOST: Code = Code(18);
/// Ports that repeat, or whose protocol is not known (PS-34, BE-100, BE-102).
pub const PORTS: Code = Code(19);
/// Resolution, hosts, addresses and endpoints of a ServiceEntry do not fit (BE-92..BE-101).
pub const RESOLUTION: Code = Code(20);
/// A word of `retryOn` or a CORS method is not known (VS-H-164, VS-H-168).
pub const WORD: Code = Code(21);
/// A VirtualService without rules or without hosts (VS-H-161).
pub const EMPTY: Code = Code(22);
/// A field whose successor should be used.
pub const DEPRECATED: Code = Code(30);
/// A match names a gateway the VirtualService is not bound to (VS-H-169).
pub const MATCH_GATEWAY: Code = Code(23);
/// `tls` of a Gateway's server does not fit its protocol or mode (GW-7, GW-14, GW-18).
pub const SERVER_TLS: Code = Code(24);
