//! The servers, asked directly. Every test has a network of its own, so that they run side by side
//! with each other and with a running demo.
use super::*;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream as Client,
    thread,
};

const SOON: Duration = Duration::from_secs(10);

fn connect(address: &str) -> Client {
    let client = Client::connect(address).expect("the shop is open");
    client.set_read_timeout(Some(SOON)).expect("a socket");
    client
}

/// Sends bytes that end with a closing request, and reads everything.
fn exchange(address: &str, request: &str) -> String {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).expect("open");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("text");
    answer
}

fn get(address: &str, host: &str, path: &str, more: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
    exchange(address, &request)
}

/// A stand-in for the gateway: whoever dials `from` talks to `to`.
fn forward(from: &str, to: &'static str) {
    let listener = StdListener::bind(from).expect("a loopback address");
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("accepted");
            let mut server = Client::connect(to).expect("the shop is open");
            let mut back = (
                server.try_clone().expect("a socket"),
                client.try_clone().expect("a socket"),
            );
            thread::spawn(move || std::io::copy(&mut client, &mut server));
            thread::spawn(move || {
                let _ = std::io::copy(&mut back.0, &mut back.1);
                let _ = back.1.shutdown(std::net::Shutdown::Write);
            });
        }
    });
}

#[test]
fn every_http_server_names_itself_and_the_host_it_saw() {
    let _shop = Shop::start_in(78).expect("loopback addresses");
    for member in MEMBERS {
        if matches!(member.role, Role::Mysql | Role::Vault) {
            continue;
        }
        let answer = get(&member.address(78).to_string(), "some.host:1", "/x", "");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains(&format!("X-Served-By: {}\r\n", member.pod)),
            "{answer}"
        );
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(
            body.contains(member.pod) && body.contains("some.host:1"),
            "{answer}"
        );
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let _shop = Shop::start_in(79).expect("loopback addresses");
    let answers = exchange(
        "127.79.2.11:18080",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
         HEAD /b HTTP/1.1\r\nHost: h\r\n\r\n\
         BREW /c HTTP/1.1\r\nHost: h\r\n\r\n\
         GET /d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(
        answers.matches("HTTP/1.1 200 OK\r\n").count(),
        3,
        "{answers}"
    );
    assert_eq!(answers.matches("HTTP/1.1 405 ").count(), 1, "{answers}");
    let bodies = |path: &str| answers.matches(&format!("\"path\":\"{path}\"")).count();
    assert_eq!(
        (bodies("/a"), bodies("/b"), bodies("/d")),
        (1, 0, 1),
        "{answers}"
    );
}

#[test]
fn nonsense_is_refused_and_closed() {
    let _shop = Shop::start_in(80).expect("loopback addresses");
    let answer = exchange("127.80.2.11:18080", "nonsense\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // A head without end is not read for ever.
    let mut client = connect("127.80.2.11:18080");
    let _ = client.write_all(&vec![b'x'; 64 * 1024]);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(rest.is_empty());
}

#[test]
fn details_can_be_slow_and_endless() {
    let _shop = Shop::start_in(81).expect("loopback addresses");
    let before = std::time::Instant::now();
    assert!(get("127.81.2.11:18080", "details", "/slow", "").contains("details-v1"));
    assert!(before.elapsed() >= Duration::from_secs(1));

    let mut client = connect("127.81.2.11:18080");
    client
        .write_all(b"GET /stream HTTP/1.1\r\nHost: details\r\n\r\n")
        .expect("open");
    let mut lines = BufReader::new(client).lines();
    let mut next = |wanted: &str| {
        assert!(
            lines.any(|line| line.expect("it ticks") == wanted),
            "{wanted}"
        );
    };
    next("Transfer-Encoding: chunked");
    next("details-v1 tick 1");
    next("details-v1 tick 2");
}

#[test]
fn mysql_speaks_first_and_repeats_lines() {
    let _shop = Shop::start_in(82).expect("loopback addresses");
    let mut client = connect("127.82.2.20:13307");
    let mut head = [0; 12];
    client.read_exact(&mut head).expect("a greeting, unasked");
    assert_eq!(&head[3..], b"\x00\x0a8.0.36-");
    client.write_all(b"hello\r\nagain\n").expect("open");
    client.shutdown(std::net::Shutdown::Write).expect("open");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the rest");
    assert!(rest.ends_with(b"mysql-0 heard: hello\nmysql-0 heard: again\n"));

    let mut client = connect("127.82.2.20:13307");
    client.write_all(b"bye\nquit\n").expect("open");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("closed by the server");
    assert!(rest.ends_with(b"mysql-0 heard: bye\n"));
}

#[test]
fn the_page_asks_through_the_cluster_ips() {
    let _shop = Shop::start_in(83).expect("loopback addresses");
    let page = get("127.83.2.10:18080", "shop", "/", "");
    assert!(
        page.contains("details: details:9080 did not answer"),
        "{page}"
    );

    forward("127.83.0.11:9080", "127.83.2.11:18080");
    forward("127.83.0.12:9080", "127.83.2.14:18080");
    forward("127.83.0.13:9080", "127.83.2.15:18080");
    let page = get("127.83.2.10:18080", "shop", "/", "");
    for wanted in [
        "productpage-v1 was asked for shop",
        "details-v1",
        "4 red stars",
        "reviews-v3",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    let review = get("127.83.2.13:18080", "reviews", "/reviews/1", "");
    for wanted in ["\"stars\":4", "black", "\"rated_by\":\"ratings-v1\""] {
        assert!(review.contains(wanted), "{wanted}: {review}");
    }
}

#[test]
fn dropping_closes_everything() {
    let shop = Shop::start_in(84).expect("loopback addresses");
    let mut open = connect("127.84.2.20:13307");
    // A connection in the accept queue would be reset, which is not what is asked here.
    open.read_exact(&mut [0; 4]).expect("a greeting");
    drop(shop);
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).expect("closed, not reset");
    assert!(Client::connect("127.84.2.11:18080").is_err());
    drop(Shop::start_in(84).expect("the addresses are free again"));
}

#[test]
fn a_taken_address_is_explained() {
    let _shop = Shop::start_in(85).expect("loopback addresses");
    let error = Shop::start_in(85).expect_err("taken").to_string();
    assert!(
        error.contains("127.85.2.10:18080") && error.contains("pointsman demo"),
        "{error}"
    );
}

#[test]
fn a_missing_address_comes_with_the_command_that_adds_it() {
    let error = ShopError::Bind {
        address: "127.77.2.10:18080".parse().expect("an address"),
        source: std::io::ErrorKind::AddrNotAvailable.into(),
    };
    let text = error.to_string();
    assert!(text.contains("ifconfig lo0 alias"), "{text}");
    for file in crate::demo::files() {
        let words = file.1.split(|c: char| !(c.is_ascii_digit() || c == '.'));
        for address in words.filter(|word| word.starts_with("127.77.")) {
            assert!(text.contains(&format!(" {address}")), "{address}: {text}");
        }
    }
}
