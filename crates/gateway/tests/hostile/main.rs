//! What must not get through: requests and responses that two parsers could read differently, heads
//! without end, peers without haste (RFC 9112).
//!
//! Most of it is data: [`cases`] reads the files in `requests/` and `responses/`, [`requests`] and [`responses`]
//! say what their lines mean and play them against a gateway on real sockets, [`clients`] ask for responses.
//! [`patience`] has what needs code: time, floods, and what comes after.
#[path = "../common/mod.rs"]
mod common;

mod cases;
mod clients;
mod patience;
mod requests;
mod responses;

use clients::Speech;
use common::{settings, written};

/// A test for each file of requests.
macro_rules! requests {
    ($($file:ident $settings:expr,)*) => {
        const REQUESTS: &[&str] = &[$(stringify!($file)),*];
        $(
            /// VS-H-135.
            #[tokio::test]
            async fn $file() {
                requests::run(stringify!($file), $settings).await;
            }
        )*
    };
}

requests! {
    chunks settings(),
    connection settings(),
    framing settings(),
    host settings(),
    limits settings(),
    line settings(),
    lines settings(),
    passing settings(),
    slow impatient(),
    undeclared settings(),
}

/// With limits of time that a test can wait for.
fn impatient() -> pointsman_gateway::Settings {
    let mut settings = settings();
    settings.timeouts.request_head = written("400ms");
    settings.timeouts.client_hello = written("400ms");
    settings.timeouts.request_body = written("400ms");
    settings
}

#[test]
fn every_file_of_requests_is_played() {
    assert_eq!(cases::files("requests"), REQUESTS);
}

/// Tests for each file of responses.
macro_rules! responses {
    ($($file:ident $http1:ident $http2:ident,)*) => {
        const RESPONSES: &[&str] = &[$(stringify!($file)),*];
        $(
            /// VS-H-130, VS-H-134.
            #[tokio::test]
            async fn $http1() {
                responses::run(stringify!($file), Speech::Http1).await;
            }

            /// A cut is RST_STREAM, never END_STREAM (RFC 9113 section 8.1).
            #[tokio::test]
            async fn $http2() {
                responses::run(stringify!($file), Speech::Http2).await;
            }
        )*
    };
}

responses! {
    ends responses_that_end_early responses_that_end_early_by_http2,
    heads response_heads response_heads_by_http2,
    passing responses_that_pass responses_that_pass_by_http2,
}

#[test]
fn every_file_of_responses_is_played() {
    assert_eq!(cases::files("responses"), RESPONSES);
}
