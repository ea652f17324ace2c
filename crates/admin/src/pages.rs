//! The built-in pages.
use crate::{
    admin::Admin,
    exposition::Exposition,
    health::Health,
    page::{Reply, Request},
};
use hyper::{Method, StatusCode};
use pointsman_telemetry::names;
use serde_json::json;
use std::{sync::Arc, time::Instant};

/// The type of the Prometheus text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn install(admin: &mut Admin, health: Arc<Health>) {
    let started = Instant::now();
    let page =
        |text: &'static str| move |_: Request| async move { Reply::text(StatusCode::OK, text) };

    admin.route(
        Method::GET,
        "/",
        "what this is",
        page("Pointsman: a gateway and transparent proxy. GET /help lists the pages there are.\n"),
    );

    let exposition = Exposition::new(admin.recorder.clone());
    for path in ["/stats/prometheus", "/metrics"] {
        let scrapes = admin.recorder.counter(&names::SCRAPES, []);
        let exposition = exposition.clone();
        let handler = move |_: Request| {
            scrapes.increment(1);
            let text = exposition.clone().text();
            async move {
                match text.await {
                    Some(text) => Reply::new(StatusCode::OK, EXPOSITION, text),
                    None => Reply::text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "The metrics cannot be rendered.\n",
                    ),
                }
            }
        };
        admin.public_route(
            Method::GET,
            path,
            "metrics in the Prometheus format",
            handler,
        );
    }

    for path in ["/ready", "/healthz/ready"] {
        let health = health.clone();
        let handler = move |_: Request| {
            let state = health.state();
            let status = if health.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            async move { Reply::text(status, format!("{}\n", state.as_str())) }
        };
        admin.public_route(
            Method::GET,
            path,
            "200 while new traffic is wanted",
            handler,
        );
    }

    // Answering at all is the proof; a process that drains is alive.
    admin.public_route(
        Method::GET,
        "/healthz/live",
        "200 while the process answers",
        page("LIVE\n"),
    );

    admin.route(
        Method::GET,
        "/server_info",
        "version, state and uptime",
        move |_: Request| {
            let uptime = started.elapsed().as_secs();
            let info = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "state": health.state().as_str(),
                "uptime_current_epoch": format!("{uptime}s"),
                "uptime_all_epochs": format!("{uptime}s"),
            });
            async move { Reply::json(&info) }
        },
    );
}
