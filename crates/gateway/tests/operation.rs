//! What an operator relies on: health, metrics, edits of files, an end without broken requests,
//! exit codes.
mod common;

use common::*;
use pointsman_gateway::Gateway as Facade;
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, TcpUpstream, eventually, free_port, fresh_ip,
    message::MessageError,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

/// The labels of Istio's HTTP metrics for a known service and a client in `default`.
fn labels(different: &[(&str, &str)]) -> BTreeMap<String, String> {
    let known = [
        ("reporter", "source"),
        ("source_workload", "unknown"),
        ("source_canonical_service", "unknown"),
        ("source_canonical_revision", "latest"),
        ("source_workload_namespace", "default"),
        ("source_principal", "unknown"),
        ("source_app", "unknown"),
        ("source_version", "unknown"),
        ("source_cluster", "unknown"),
        ("destination_workload", "unknown"),
        ("destination_workload_namespace", "unknown"),
        ("destination_principal", "unknown"),
        ("destination_app", "unknown"),
        ("destination_version", "unknown"),
        ("destination_canonical_service", "unknown"),
        ("destination_canonical_revision", "latest"),
        ("destination_service_namespace", "default"),
        ("destination_cluster", "unknown"),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ];
    known
        .iter()
        .chain(different)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn istio_s_metrics_have_istio_s_names_and_labels() {
    let upstream = HttpUpstream::named("web")
        .on("/bad", Reply::text(503, "no"))
        .start()
        .await;
    let echo = TcpUpstream::echo().await;
    let (vip, port, tcp_port) = (fresh_ip(), free_port(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &service("db", vip, tcp_port, "tcp", &plain(&[echo.addr()]));
    let gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    for _ in 0..3 {
        client
            .request("POST", "web", "/", &[], Some(b"12345"))
            .await
            .expect("an answer");
    }
    client.get("web", "/bad").await.expect("an answer");
    let mut tunnel = connect((vip, tcp_port).into()).await;
    tunnel.send("1234567").await.expect("sent");
    tunnel.read_exact(7).await.expect("echoed");

    let scrape = gateway
        .metrics_until(|it| {
            // Both shards have said everything; a scrape may come between two series.
            [
                ("istio_requests_total", 4.0),
                ("istio_request_duration_milliseconds_count", 4.0),
                ("istio_request_bytes_sum", 15.0),
                ("istio_tcp_connections_opened_total", 1.0),
                ("istio_tcp_received_bytes_total", 7.0),
                ("istio_tcp_sent_bytes_total", 7.0),
            ]
            .iter()
            .all(|(family, sum)| it.sum(family, &[]) == *sum)
                && it.sum("istio_response_bytes_sum", &[("response_code", "503")]) == 2.0
        })
        .await;
    let of = |name: &str| -> Vec<(BTreeMap<String, String>, f64)> {
        let mut series: Vec<_> = scrape
            .select(name, &[])
            .map(|(labels, value)| (labels.clone(), value))
            .collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        series
    };
    let web = |code| {
        labels(&[
            ("destination_service", "web.default.svc.cluster.local"),
            ("destination_service_name", "web"),
            ("request_protocol", "http"),
            ("response_code", code),
            ("grpc_response_status", ""),
        ])
    };
    let db = labels(&[
        ("destination_service", "db.default.svc.cluster.local"),
        ("destination_service_name", "db"),
        ("request_protocol", "tcp"),
    ]);
    assert_eq!(
        of("istio_requests_total"),
        [(web("200"), 3.0), (web("503"), 1.0)]
    );
    assert_eq!(
        of("istio_tcp_connections_opened_total"),
        [(db.clone(), 1.0)]
    );
    assert_eq!(of("istio_tcp_received_bytes_total"), [(db.clone(), 7.0)]);
    assert_eq!(of("istio_tcp_sent_bytes_total"), [(db, 7.0)]);
    assert_eq!(
        of("istio_request_duration_milliseconds_count"),
        [(web("200"), 3.0), (web("503"), 1.0)]
    );
    assert_eq!(
        of("istio_request_bytes_sum"),
        [(web("200"), 15.0), (web("503"), 0.0)]
    );
    assert_eq!(
        scrape.sum("istio_response_bytes_sum", &[("response_code", "503")]),
        2.0
    );
    for (name, kind) in [
        ("istio_requests_total", "counter"),
        ("istio_request_duration_milliseconds", "histogram"),
        ("istio_tcp_connections_opened_total", "counter"),
        ("pointsman_config_generation", "gauge"),
        ("pointsman_connections_open", "gauge"),
    ] {
        assert_eq!(
            scrape.types.get(name).map(String::as_str),
            Some(kind),
            "{name}"
        );
    }
    let generation = gateway.progress.borrow().active as f64;
    assert_eq!(scrape.sum("pointsman_config_generation", &[]), generation);
    assert_eq!(scrape.sum("pointsman_connections_open", &[]), 2.0);
    drop((client, tunnel));
    gateway
        .metrics_until(|it| {
            it.sum("pointsman_connections_open", &[]) == 0.0
                && it.sum("istio_tcp_connections_closed_total", &[]) == 1.0
        })
        .await;
}

#[tokio::test]
async fn health_pages_and_the_list_of_pages_answer() {
    let gateway = Gateway::serve("").await;
    for (path, status, says) in [
        ("/ready", 200, "LIVE"),
        ("/healthz/ready", 200, "LIVE"),
        ("/healthz/live", 200, "LIVE"),
        ("/server_info", 200, "\"state\""),
        ("/help", 200, "/metrics"),
        ("/stats/prometheus", 200, "pointsman_config_generation"),
        ("/api/v1/findings", 200, "[]"),
        ("/nothing/here", 404, ""),
    ] {
        let (got, text) = gateway.page(path).await;
        assert_eq!(got, status, "{path}: {text}");
        assert!(text.contains(says), "{path}: {text}");
    }
}

#[tokio::test]
async fn readiness_waits_for_every_source() {
    let mut settings = settings();
    settings.process.admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let admin = settings.process.admin;
    let (say, heard) = tokio::sync::watch::channel(false);
    let builder = Facade::builder().settings(settings).extend(|host| {
        host.source("late", move |outlet| {
            let mut heard = heard.clone();
            async move {
                heard.wait_for(|it| *it).await.expect("the test lives");
                let synced = pointsman_sdk::SourceChange {
                    source: "late".into(),
                    synced: true,
                    ..Default::default()
                };
                pointsman_sdk::offer(&outlet, synced).expect("room");
                std::future::pending::<()>().await;
            }
        });
    });
    let page = |path: &'static str| async move {
        let mut client = RawHttp::connect(admin).await.ok()?;
        Some(client.get("admin", path).await.ok()?.status)
    };
    let starting = tokio::spawn(async { Gateway::start(None, builder).await });
    eventually(SOON, || async { page("/healthz/live").await.is_some() }).await;
    let host = admin.to_string();
    let mut client = connect(admin).await;
    assert_eq!(
        client.get(&host, "/ready").await.expect("an answer").status,
        503
    );
    assert_eq!(
        client
            .get(&host, "/healthz/live")
            .await
            .expect("an answer")
            .status,
        200
    );
    assert!(!starting.is_finished());
    say.send(true).expect("the source waits");
    let gateway = starting.await.expect("no panic");
    assert_eq!(gateway.page("/ready").await.0, 200);
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_it_began_and_takes_nothing_new() {
    const LONG: Duration = Duration::from_secs(3);
    let slow = Reply::text(200, "done").after(LONG);
    let upstream = HttpUpstream::named("web").on("/slow", slow).start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = http("web", web.ip(), web.port(), upstream.addr());
    let mut process = Process::start(&text, &["--drain-time", "15s"]).await;
    let mut idle = connect(web).await;
    assert_eq!(idle.get("web", "/").await.expect("an answer").status, 200);
    let mut silent = connect(web).await;
    let mut busy = connect(web).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { upstream.requests() == 2 }).await;

    let told = Instant::now();
    process.signal("TERM");
    // Whoever balances over gateways sees at once that this one wants no more.
    eventually(SOON, || async { process.page("/ready").await == Some(503) }).await;
    eventually(SOON, || async {
        let refused = tokio::net::TcpStream::connect(web).await;
        refused.is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionRefused)
    })
    .await;
    assert_eq!(process.page("/healthz/live").await, Some(200));
    // A connection between two requests is closed in order, and need not wait for the others.
    assert_eq!(idle.read_to_end().await.expect("closed in order"), b"");
    let took = told.elapsed();
    assert!(took < LONG * 9 / 10, "{took:?}");
    let reply = busy.read_response().await.expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (200, "done"));
    assert!(
        !reply.keeps_alive(),
        "the client is told not to ask again here"
    );
    // One that has not said a word has nothing to lose.
    let end = silent.read_to_end().await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    let status = process.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
}

#[tokio::test]
async fn who_was_connected_when_it_was_told_to_stop_is_served() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = http("web", web.ip(), web.port(), upstream.addr());
    for _ in 0..3 {
        let mut process = Process::start(&text, &["--drain-time", "15s"]).await;
        // As if it had no processor for a while, and all of it came meanwhile.
        process.signal("STOP");
        let mut clients = Vec::new();
        for _ in 0..40 {
            let mut client = connect(web).await;
            client
                .send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
                .await
                .expect("sent");
            clients.push(client);
        }
        process.signal("TERM");
        process.signal("CONT");
        for mut client in clients {
            let reply = client.read_response().await.expect("an answer");
            assert_eq!(reply.status, 200);
        }
        let status = process.ended(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(0), "{}", process.log());
    }
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_and_the_exit_is_still_in_order() {
    let endless = Reply::endless(b"tick", Duration::from_millis(20));
    let upstream = HttpUpstream::named("web")
        .on("/endless", endless)
        .start()
        .await;
    let echo = TcpUpstream::echo().await;
    let (vip, port, tcp_port) = (fresh_ip(), free_port(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &service("db", vip, tcp_port, "tcp", &plain(&[echo.addr()]));
    let mut process = Process::start(&text, &["--drain-time", "3s"]).await;
    let mut client = connect((vip, port).into()).await;
    client
        .send("GET /endless HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    client.read_head().await.expect("a head");
    let mut tunnel = connect((vip, tcp_port).into()).await;
    let told = Instant::now();
    process.signal("TERM");
    // Both go on until the time is over.
    while told.elapsed() < Duration::from_millis(1500) {
        assert_eq!(
            client.read_chunk().await.expect("a chunk"),
            Some(b"tick".to_vec())
        );
        tunnel.send("x").await.expect("sent");
        assert_eq!(tunnel.read_exact(1).await.expect("echoed"), b"x");
    }
    let cut = loop {
        match client.read_chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut answer looks whole"),
            Err(error) => break error,
        }
    };
    assert!(!matches!(cut, MessageError::TimedOut), "{cut}");
    let status = process.ended(Duration::from_secs(10)).await;
    let took = told.elapsed();
    assert_eq!(status.code(), Some(0), "{}", process.log());
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert!(process.log().contains("cut"), "{}", process.log());
}

#[tokio::test]
async fn told_twice_it_ends_at_once() {
    let upstream = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .start()
        .await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = http("web", web.ip(), web.port(), upstream.addr());
    let mut process = Process::start(&text, &["--drain-time", "60s"]).await;
    let mut client = connect(web).await;
    client
        .send("GET /hang HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { upstream.requests() == 1 }).await;
    process.signal("INT");
    eventually(SOON, || async { process.page("/ready").await == Some(503) }).await;
    // At once it is the same wish: whoever stops a process group sends two.
    process.signal("TERM");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(process.page("/ready").await, Some(503), "still draining");
    process.signal("TERM");
    let status = process.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(1), "{}", process.log());
}

#[tokio::test]
async fn one_bad_document_takes_no_other_down_and_is_pointed_at() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let good = http("web", web.ip(), web.port(), upstream.addr());
    let bad = "---\napiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: ninety}]}\n";
    let torn = "---\nkind: [Service\n";
    let process = Process::start(&[bad, &good, torn].concat(), &[]).await;
    assert_eq!(get(web, "web", "/").await.0, 200);
    let log = process.log();
    assert!(
        log.contains("mesh.yaml:5"),
        "the line of the mistake:\n{log}"
    );
    assert!(log.contains("ninety"), "{log}");
}

#[tokio::test]
async fn an_edit_moves_traffic_in_under_a_second_however_the_editor_writes() {
    let (v1, v2) = (
        HttpUpstream::named("v1").at((fresh_ip(), 0)).start().await,
        HttpUpstream::named("v2").at((fresh_ip(), 0)).start().await,
    );
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = |version: &str| {
        service(
            "web",
            web.ip(),
            web.port(),
            "http",
            &[(v1.addr(), "v1"), (v2.addr(), "v2")],
        ) + &subsets("web", &["v1", "v2"], "null")
            + &rules(
                "web",
                &format!("- route: [{{destination: {{host: web, subset: {version}}}}}]"),
            )
    };
    let process = Process::start(&text("v1"), &[]).await;
    let file = process.document();
    let rename = |text: String| {
        let fresh = file.with_extension("fresh");
        std::fs::write(&fresh, text).expect("a file");
        std::fs::rename(fresh, &file).expect("renamed");
    };
    let in_place = |text: String| std::fs::write(&file, text).expect("a file");
    let anew = |text: String| {
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, text).expect("a file");
    };
    let mut client = connect(web).await;
    let edits: [(&str, &dyn Fn(String)); 6] = [
        ("v2", &in_place),
        ("v1", &rename),
        ("v2", &rename),
        ("v1", &in_place),
        ("v2", &anew),
        ("v1", &anew),
    ];
    for (number, (version, edit)) in edits.into_iter().enumerate() {
        let started = Instant::now();
        edit(text(version));
        loop {
            let reply = client.get("web", "/").await.expect("an answer");
            // Never an error in between, not even while the file was gone.
            assert_eq!(reply.status, 200, "edit {number}");
            if reply.answered_by().as_deref() == Some(version) {
                break;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "edit {number} never arrived"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(1), "edit {number} took {took:?}");
    }
    // A mistake changes nothing, and the next right version is taken up again.
    in_place(text("v2").replace("subset: v2", "subset: [v2"));
    rename(text("v2"));
    eventually(SOON, || async {
        get(web, "web", "/").await.1.contains("\"v2\"")
    })
    .await;
}

#[tokio::test]
async fn without_descriptors_it_waits_and_goes_on_when_there_are_some() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = http("web", web.ip(), web.port(), upstream.addr());
    let mut limited = Command::new("sh");
    limited.args([
        "-c",
        "ulimit -n 96 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_pointsman"),
    ]);
    let process = Process::start_as(limited, &text, &[]).await;
    let mut kept = connect(web).await;
    assert_eq!(kept.get("web", "/").await.expect("an answer").status, 200);
    let mut crowd = Vec::new();
    for _ in 0..200 {
        // The kernel's queue takes them; the gateway cannot.
        crowd.push(tokio::net::TcpStream::connect(web).await.expect("queued"));
    }
    eventually(SOON, || async {
        process.log().contains("out of descriptors")
    })
    .await;
    assert_eq!(
        kept.get("web", "/").await.expect("an answer").status,
        200,
        "what is open goes on"
    );
    drop(crowd);
    let mut client = connect(web).await;
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
}

#[test]
fn analyze_says_by_its_exit_code_whether_documents_are_right() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let endpoint = SocketAddr::from(([127, 0, 0, 1], 1));
    let fine = http("web", fresh_ip(), 80, endpoint);
    let good = write("good.yaml", &fine);
    let dangling = rules("web", "- route: [{destination: {host: nobody}}]");
    let warns = write("warns.yaml", &(fine + &dangling));
    let bad = write(
        "bad.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: x}]}\n",
    );
    for (arguments, code) in [
        (vec!["analyze", "-f", &good], 0),
        (vec!["analyze", "-f", &bad], 1),
        (vec!["analyze", "-f", &bad, "--fail-on", "never"], 0),
        (vec!["analyze", "-f", &good, "-f", &bad], 1),
        (vec!["analyze", "-f", &warns, "--fail-on", "warning"], 1),
        (vec!["analyze", "-f", "/nowhere/at/all"], 1),
        (vec!["analyze", "-f", &warns], 1),
        (vec!["validate", "-f", &warns, "--fail-on", "warning"], 0),
        (vec!["validate", "-f", &bad], 1),
        (vec!["analyze", "--list-codes"], 0),
        (vec!["analyze"], 2),
        (vec!["analyze", "-f", &good, "--fail-on", "sometimes"], 2),
        (vec!["no-such-command"], 2),
        (vec!["version"], 0),
    ] {
        let output = pointsman(&arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = pointsman(&["analyze", "-f", &warns]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.ends_with("1 error, 0 warnings in 1 file (4 objects, 1 rule)\n"),
        "{said}"
    );
    let output = pointsman(&["analyze", "--list-codes", "-o", "json"]);
    let codes = String::from_utf8_lossy(&output.stdout).into_owned();
    let codes: Vec<serde_json::Value> = codes
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let shadowed = codes.iter().find(|it| it["code"] == "PM0207");
    assert_eq!(shadowed.expect("listed")["istio"][0], "IST0130");
    let output = pointsman(&["analyze", "--json", "-f", &bad]);
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    assert!(
        lines
            .iter()
            .any(|it| it["level"] == "error" && it["line"] == 4),
        "{lines:?}"
    );
}

/// The demo is how documents are meant to be, and nothing worse than "worth knowing" is said of it.
#[test]
fn analyze_has_no_false_alarm_about_the_demo() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("shop").to_string_lossy().into_owned();
    assert!(pointsman(&["demo", "--write", &folder]).status.success());
    for command in ["analyze", "validate"] {
        let output = pointsman(&[command, "-f", &folder, "--fail-on", "warning"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.starts_with("0 errors, 0 warnings in "), "{said}");
    }
}

#[tokio::test]
async fn an_admin_address_that_is_taken_or_a_wrong_setting_is_a_sentence_and_an_exit_code() {
    let holder = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("binds");
    let taken = holder.local_addr().expect("bound").to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().to_string_lossy().into_owned();
    let output = pointsman(&["run", "-f", &folder, "--admin", &taken]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--admin"), "{said}");
    let output = pointsman(&["run", "-f", &folder, "--drain-time", "soon"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("soon"), "{said}");
}

#[tokio::test]
async fn nobody_reading_the_log_is_nobody_s_loss() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = http("web", web.ip(), web.port(), upstream.addr());
    // A full disk behind the log.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"]);
    shell.arg(env!("CARGO_BIN_EXE_pointsman"));
    let mut process = Process::start_as(shell, &text, &[]).await;
    assert_eq!(get(web, "web", "/").await.0, 200);
    // A change that is logged still takes effect, and what other servers do on a hangup does not
    // end this one.
    let moved = HttpUpstream::named("moved").start().await;
    std::fs::write(
        process.document(),
        http("web", web.ip(), web.port(), moved.addr()),
    )
    .expect("written");
    process.signal("HUP");
    process.signal("USR1");
    eventually(SOON, || async {
        get(web, "web", "/").await.1.contains("moved")
    })
    .await;
    process.signal("TERM");
    let status = process.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
}

/// Neither the start nor the end waits for whoever should be reading standard error.
#[tokio::test]
async fn findings_that_nobody_reads_hold_up_nothing() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let good = http("web", web.ip(), web.port(), upstream.addr());
    let bad = "---\napiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: ninety}]}\n";
    // A pipe that is full, and whose other end the process itself keeps open.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "f=$(mktemp -u) && mkfifo $f && exec 3<>$f && rm $f && head -c 65536 /dev/zero >&3 && exec \"$0\" \"$@\" 2>&3",
    ]);
    shell.arg(env!("CARGO_BIN_EXE_pointsman"));
    let mut process = Process::start_as(shell, &[bad, &good].concat(), &[]).await;
    assert_eq!(get(web, "web", "/").await.0, 200);
    // By now it would be written.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(process.page("/ready").await, Some(200));
    process.signal("TERM");
    let status = process.ended(SOON).await;
    assert_eq!(status.code(), Some(0));
}

/// A pipe has no second writer whom the excerpts could wait for.
#[tokio::test]
async fn findings_about_what_came_by_a_pipe_are_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipe = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: ninety}]}\n";
    let (path, written) = (pipe.clone(), bad.to_owned());
    let writer = std::thread::spawn(move || std::fs::write(path, written));
    let pipe = pipe.to_string_lossy().into_owned();
    let process = Process::start("", &["-f", &pipe]).await;
    writer.join().expect("ends").expect("written");
    let shown = "= effect: the document is set aside";
    eventually(SOON, || async { process.log().contains(shown) }).await;
}

/// A process whose standard output is a pipe that holds less than it has logged, and what is read from
/// that once it is told to.
async fn behind_a_pipe(
    drain_time: &str,
) -> (
    Process,
    std::sync::mpsc::Sender<()>,
    std::thread::JoinHandle<usize>,
) {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = http("web", web.ip(), web.port(), upstream.addr());
    let dir = tempfile::tempdir().expect("a folder");
    let pipe = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let mut shell = Command::new("sh");
    shell.args(["-c", "pipe=$1; shift; exec \"$0\" \"$@\" >$pipe"]);
    shell.arg(env!("CARGO_BIN_EXE_pointsman")).arg(&pipe);
    let (go, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(pipe).expect("a pipe");
        drop(dir);
        let _ = told.recv();
        let mut log = String::new();
        std::io::Read::read_to_string(&mut pipe, &mut log).expect("a log");
        log.lines().count()
    });
    let options = ["--access-log", "text", "--drain-time", drain_time];
    let process = Process::start_as(shell, &text, &options).await;
    let mut client = connect(web).await;
    for _ in 0..LOGGED {
        let answer = client.get("web", "/").await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
    (process, go, reader)
}

/// Lines of the access log, of more than 64 KiB in all.
const LOGGED: usize = 1_000;

/// A reader of the access log has the whole of the drain time.
#[tokio::test]
async fn a_slow_reader_of_the_access_log_gets_all_of_it() {
    let (mut process, go, reader) = behind_a_pipe("30s").await;
    process.signal("TERM");
    // The pause is the test: much longer than an end takes where nobody is waited for.
    tokio::time::sleep(Duration::from_secs(4)).await;
    go.send(()).expect("a reader");
    let status = process.ended(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
    assert_eq!(reader.join().expect("read"), LOGGED);
    assert!(!process.log().contains("unclean"), "{}", process.log());
}

/// It is said how much of it was lost, and nothing worse.
#[tokio::test]
async fn an_access_log_that_nobody_reads_is_lost_at_the_end() {
    let (mut process, go, reader) = behind_a_pipe("1s").await;
    process.signal("TERM");
    let status = process.ended(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
    let log = process.log();
    assert!(log.contains("that were not taken are lost"), "{log}");
    assert!(!log.contains("records=0 "), "{log}");
    assert!(!log.contains("unclean"), "{log}");
    drop(go);
    assert!(reader.join().expect("read") < LOGGED);
}

/// Who stops reading has not been told that all is well.
#[test]
fn a_command_whose_reader_is_gone_says_so_by_its_exit_code() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    for arguments in [
        &["analyze", "--list-codes"][..],
        &["completion", "bash"],
        &["version"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(arguments)
            .stdout(writer.try_clone().expect("a pipe"))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(141), "{arguments:?}: {said}");
        assert_eq!(said, "", "{arguments:?}");
    }
}
