//! The one table of everything that can be found in documents: what `pointsman analyze
//! --list-codes` prints and what docs/findings.md is made of.
//!
//! Each crate has constants for the codes it raises; a test reads them out of the sources and holds
//! this table to them, both ways.
use crate::{
    Code,
    Level::{self, Error, Info, Warning},
};

/// What there is to know about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeEntry {
    /// The number. It never changes its meaning.
    pub code: Code,
    /// Levels it is raised with, the most frequent first.
    pub levels: &'static [Level],
    /// What was found, in one line.
    pub title: &'static str,
    /// What it does to traffic.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// Codes of Istio's own analysis that find the same or a part of it; empty where it has none.
    pub istio: &'static [&'static str],
}

/// The entry of a code.
pub fn entry(code: Code) -> Option<&'static CodeEntry> {
    CODES
        .binary_search_by_key(&code, |entry| entry.code)
        .ok()
        .and_then(|at| CODES.get(at))
}

const fn row(
    code: u16,
    levels: &'static [Level],
    istio: &'static [&'static str],
    title: &'static str,
    meaning: &'static str,
    advice: &'static str,
) -> CodeEntry {
    CodeEntry {
        code: Code(code),
        levels,
        title,
        meaning,
        advice,
        istio,
    }
}

/// What every error of 00xx does.
const SET_ASIDE: &str = "The document is set aside as a whole; its last good version keeps serving";
/// What Istio's analysis says to everything its own validation refuses.
const SCHEMA: &[&str] = &["IST0106"];
/// The same with what it only warns of.
const SCHEMA_BOTH: &[&str] = &["IST0106", "IST0133"];
const NOT_FOUND: &[&str] = &["IST0101"];

/// All codes, by number.
pub const CODES: &[CodeEntry] = &[
    row(
        1,
        &[Error],
        SCHEMA,
        "Not YAML, or a key is written twice",
        SET_ASIDE,
        "Correct the text at the place shown",
    ),
    row(
        2,
        &[Error, Warning],
        &[],
        "The text asks for more than the limits: size, depth, aliases, number of findings",
        SET_ASIDE,
        "Split the file",
    ),
    row(
        3,
        &[Error],
        SCHEMA,
        "A value has another type than its field",
        SET_ASIDE,
        "Write the type that is expected; quotes make a number text",
    ),
    row(
        4,
        &[Warning, Error],
        SCHEMA,
        "The published schema has no such field",
        "The field is ignored; in a condition the document is set aside, for a condition that is dropped takes more than was meant",
        "Correct the spelling, or move the field to where it belongs",
    ),
    row(
        5,
        &[Info, Warning],
        &[],
        "The field is known, but nothing acts on it yet",
        "As if it were not there; a warning where traffic goes wrong meanwhile",
        "Do not rely on it",
    ),
    row(
        6,
        &[Info, Error],
        &[],
        "Documents of this kind are not read",
        "The document is ignored; an error where `kind` looks like a slip of the pen",
        "Correct `kind` or `apiVersion`, if it was meant to be read",
    ),
    row(
        7,
        &[Error],
        SCHEMA,
        "`kind` or `metadata.name` is missing or malformed",
        SET_ASIDE,
        "Name the document",
    ),
    row(
        8,
        &[Warning],
        &[],
        "A plain word or number means something else than it looks like",
        "It is read as YAML says: a leading zero is octal",
        "Write what is meant, or quote it",
    ),
    row(
        10,
        &[Error, Warning],
        SCHEMA,
        "A required field is missing",
        SET_ASIDE,
        "Add the field",
    ),
    row(
        11,
        &[Error, Warning],
        SCHEMA_BOTH,
        "A value is out of its range or form: port, duration, address, name, enumeration",
        SET_ASIDE,
        "Write a value of the form shown",
    ),
    row(
        12,
        &[Error],
        SCHEMA,
        "A rule needs exactly one action",
        SET_ASIDE,
        "Keep one of route, redirect, directResponse and delegate",
    ),
    row(
        13,
        &[Error, Warning],
        SCHEMA_BOTH,
        "Fields that exclude or require each other",
        SET_ASIDE,
        "Keep one of them, or add the one that is missing",
    ),
    row(
        14,
        &[Error],
        SCHEMA,
        "Hosts that overlap, repeat or are not allowed here",
        SET_ASIDE,
        "List each host once, the widest one alone",
    ),
    row(
        15,
        &[Error],
        &["IST0106", "IST0122"],
        "A condition that is empty or cannot be compiled",
        SET_ASIDE,
        "Correct the pattern (RE2), or leave the condition out",
    ),
    row(
        16,
        &[Error],
        SCHEMA,
        "Weights",
        SET_ASIDE,
        "Give at least one destination a weight above 0",
    ),
    row(
        17,
        &[Error],
        SCHEMA,
        "Header names",
        SET_ASIDE,
        "Letters, digits and - (RFC 9110 section 5.6.2)",
    ),
    row(
        18,
        &[Error, Warning],
        SCHEMA_BOTH,
        "A server name outside the hosts of its VirtualService, or one no client sends",
        SET_ASIDE,
        "Add the name to `hosts`",
    ),
    row(
        19,
        &[Error],
        SCHEMA,
        "Ports that repeat, or whose protocol is not known",
        SET_ASIDE,
        "Each number and name once",
    ),
    row(
        20,
        &[Error, Warning],
        SCHEMA_BOTH,
        "Resolution, hosts, addresses and endpoints of a ServiceEntry do not fit",
        SET_ASIDE,
        "Choose the resolution that fits what is known of the service",
    ),
    row(
        21,
        &[Error],
        SCHEMA,
        "A word of `retryOn`, a CORS method or a gRPC status is not known",
        SET_ASIDE,
        "Use the words that are listed",
    ),
    row(
        22,
        &[Error],
        SCHEMA,
        "A VirtualService without rules or without hosts, a Gateway without servers",
        SET_ASIDE,
        "Add what is missing",
    ),
    row(
        23,
        &[Warning],
        &[],
        "A match names a gateway that the VirtualService is not bound to",
        "The match never holds",
        "Add the gateway to the list at the top",
    ),
    row(
        24,
        &[Error, Warning],
        SCHEMA_BOTH,
        "`tls` of a Gateway's server does not fit its protocol or mode",
        SET_ASIDE,
        "Give a server for HTTPS or TLS its `tls`, and no other",
    ),
    row(
        30,
        &[Info],
        &["IST0002", "IST0133"],
        "A field whose successor should be used",
        "None yet",
        "Write the successor",
    ),
    row(
        31,
        &[Error],
        &[],
        "A file or folder cannot be read",
        "What it said before keeps serving",
        "Check its permissions",
    ),
    row(
        32,
        &[Error, Warning],
        &[],
        "A path leads to nothing",
        "Nothing is read from there",
        "Check the path",
    ),
    row(
        33,
        &[Warning],
        &[],
        "The same document is brought twice; the first serves",
        "The second one is ignored",
        "Remove one of them",
    ),
    row(
        101,
        &[Error],
        NOT_FOUND,
        "A destination names a subset that no DestinationRule defines",
        "Requests that match the rule are answered 503 NC, connections are closed",
        "Define the subset in the DestinationRule in force, or correct the name",
    ),
    row(
        102,
        &[Error],
        NOT_FOUND,
        "A destination names a host that is no service",
        "Requests that match the rule are answered 503 NC, connections are closed",
        "Write the full name of a Service or ServiceEntry that the client sees",
    ),
    row(
        103,
        &[Error],
        &["IST0101", "IST0112"],
        "A destination names a port that the service does not have",
        "Requests that match the rule are answered 503 NC, connections are closed",
        "Name one of its ports",
    ),
    row(
        206,
        &[Error],
        &["IST0122"],
        "A pattern cannot be used",
        "The condition never holds",
        "Correct the pattern",
    ),
    row(
        207,
        &[Warning],
        &["IST0130"],
        "A rule can never match: an earlier one takes everything it would",
        "The first rule that matches is taken; this one has no traffic",
        "Move it before the other, or remove it",
    ),
    row(
        208,
        &[Warning],
        &["IST0109"],
        "Two VirtualServices want one host; the older one has it",
        "The http rules of the younger one are never asked for this host",
        "Put the rules into one VirtualService",
    ),
    row(
        209,
        &[Error],
        NOT_FOUND,
        "A delegate is missing, hidden, has hosts of its own, or asks for more than its root",
        "That rule contributes nothing; the rules after it are asked",
        "Create the delegate, export it, or narrow its matches",
    ),
    row(
        310,
        &[Warning],
        &["IST0134"],
        "A ServiceEntry without addresses is guarded, or takes a whole port",
        "Only known addresses go to it; with `--serviceentry-capture port` every connection to the port does",
        "List the addresses",
    ),
    row(
        311,
        &[Warning],
        &[],
        "An address and port are already taken by another service",
        "The first one keeps it, the other does not get those connections",
        "Give one of them another port or address",
    ),
    row(
        312,
        &[Warning],
        &[],
        "Pods are more kinds of clients than are told apart",
        "The rest are served as clients of whom only the settings tell",
        "Raise `client.known_clients`, or read fewer Pods",
    ),
    row(
        313,
        &[Warning],
        &[],
        "A name in a document cannot be looked up in DNS",
        "The addresses of its last answer are used; without one, what needs its address does not work",
        "Check the name, and the DNS servers of this machine",
    ),
    row(
        320,
        &[Warning],
        &[],
        "An address cannot be bound; binding is tried again every 2 s",
        "Connections to it are refused meanwhile",
        "Free the address, or give the process the right to bind it",
    ),
    row(
        321,
        &[Warning],
        &[],
        "A Gateway wants an address that is wanted for capture too",
        "The Gateway has it; what was to be captured there is served as the Gateway says",
        "Give one of them another port or address, or capture with `redirect`",
    ),
    row(
        901,
        &[Error],
        &[],
        "Our own code failed on these documents",
        "What served before keeps serving",
        "Please report it with the documents",
    ),
    row(
        902,
        &[Warning],
        &[],
        "A source has not yet said everything it knows",
        "Compiling waits for it for a while",
        "Look why the source is slow",
    ),
];
