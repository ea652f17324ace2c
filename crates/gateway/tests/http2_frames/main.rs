//! HTTP/2 frame by frame: what no library would send, from clients and from upstreams.
//!
//! [`case`] says what a case is; [`framing`] and [`messages`] are tables of what a client may say
//! wrongly, in the order of RFC 9113; [`floods`] is what it may say too often, [`stalls`] what it may
//! leave unsaid; [`upstreams`] is the other side, and [`upstream_floods`] what that may say too often.
#[path = "../common/mod.rs"]
mod common;

mod case;
mod floods;
mod framing;
mod limits;
mod messages;
mod stalls;
mod upstream_floods;
mod upstreams;

use case::Case;
use common::{Gateway, http, settings};
use pointsman_gateway::Settings;
use pointsman_testkit::{
    HttpUpstream,
    frames::{Frame, FrameClient, FrameError, code},
    free_port, fresh_ip,
};
use std::net::SocketAddr;

/// A gateway in front of this HTTP/1 upstream, and where clients reach it.
async fn web(settings: Settings, upstream: &HttpUpstream) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr());
    let gateway = Gateway::serve_with(settings, &text).await;
    (gateway, (vip, port).into())
}

async fn all(cases: Vec<Case>) {
    let upstream = HttpUpstream::named("web").start().await;
    let (_gateway, web) = web(settings(), &upstream).await;
    case::run(&cases, web, &upstream).await;
}

#[tokio::test]
async fn prefaces() {
    all(framing::prefaces()).await;
}

#[tokio::test]
async fn frames_of_the_connection() {
    all(framing::connection()).await;
}

#[tokio::test]
async fn frames_of_streams() {
    all(framing::streams()).await;
}

#[tokio::test]
async fn field_blocks_and_padding() {
    all(framing::blocks()).await;
}

#[tokio::test]
async fn tables_and_codes_of_field_blocks() {
    all(framing::hpack()).await;
}

#[tokio::test]
async fn flow_control() {
    all(framing::windows()).await;
}

#[tokio::test]
async fn pseudo_fields() {
    all(messages::pseudo_fields()).await;
}

#[tokio::test]
async fn nothing_reaches_an_upstream_that_its_request_line_could_not_hold() {
    all(messages::targets()).await;
}

#[tokio::test]
async fn fields() {
    all(messages::fields()).await;
}

#[tokio::test]
async fn bodies_and_their_lengths() {
    all(messages::bodies()).await;
}

/// Whoever breaks the protocol hears why, though more was sent behind the mistake: a reset would overtake
/// what is said, and on some systems throw it away.
#[tokio::test]
async fn a_mistake_is_told_though_more_is_sent_behind_it() {
    let upstream = HttpUpstream::named("web").start().await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let more = vec![Frame::ping([0; 8]); 8_000];
    for mistake in [Frame::data(0, *b"x"), Frame::window_update(0, 0)] {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        client.send(&[&[mistake], &more[..]].concat()).await;
        assert!(client.to_end().await, "{:?}", client.heard);
        assert_eq!(client.heard.error(), Some(code::PROTOCOL_ERROR));
        let closed = FrameError::Closed.to_string();
        assert_eq!(client.heard.end, Some(closed), "not a reset");
    }
}
