//! What the gateway says of each request in its access log, by the client that sent it.
use super::{Gateway, SOON};
use pointsman_gateway::{Gateway as Facade, Settings};
use pointsman_sdk::{AccessRecord, Sink};
use pointsman_testkit::within;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::{TcpSocket, TcpStream};

/// Dials from an address of its own, by which its records are known: ports are soon used again.
pub async fn dial(to: SocketAddr) -> (TcpStream, IpAddr) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let own = IpAddr::V4(Ipv4Addr::from(0x7f01_0000 + number));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((own, 0).into()).expect("a free port");
    let stream = within(SOON, socket.connect(to)).await.expect("connects");
    stream.set_nodelay(true).expect("a socket");
    (stream, own)
}

/// Keeps every record.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<AccessRecord>>>);

impl Sink for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        self.records_now().extend_from_slice(batch);
    }
}

impl Notes {
    /// A gateway that tells them everything.
    pub async fn serve(&self, settings: Settings, documents: &str) -> Gateway {
        let notes = self.clone();
        let builder = Facade::builder()
            .settings(settings)
            .extend(move |host| host.sink("notes", move || notes.clone()));
        Gateway::start(Some(documents), builder).await
    }

    /// Status, details and flags of each request of a client, in order, once there are so many.
    pub async fn of(&self, client: IpAddr, count: usize) -> Vec<Told> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let told = self.now_of(client);
            if told.len() >= count || Instant::now() > end {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The same of now.
    pub fn now_of(&self, client: IpAddr) -> Vec<Told> {
        self.records_now()
            .iter()
            .filter(|record| record.downstream_remote.is_some_and(|it| it.ip() == client))
            .map(|record| Told {
                status: record.response_code,
                details: match &*record.details {
                    "" => "-".into(),
                    details => details.to_owned(),
                },
                flags: record.flags.to_string(),
                failure: record.transport_failure.to_string(),
            })
            .collect()
    }

    /// The records of a client, once there are so many.
    pub async fn records(&self, client: IpAddr, count: usize) -> Vec<AccessRecord> {
        self.of(client, count).await;
        let of_client =
            |it: &&AccessRecord| it.downstream_remote.is_some_and(|it| it.ip() == client);
        self.records_now()
            .iter()
            .filter(of_client)
            .cloned()
            .collect()
    }

    /// Whose each record of now is, in their order.
    pub fn clients(&self) -> Vec<IpAddr> {
        let records = self.records_now();
        let clients = records.iter().filter_map(|it| it.downstream_remote);
        clients.map(|it| it.ip()).collect()
    }

    fn records_now(&self) -> MutexGuard<'_, Vec<AccessRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the log says of one request or connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub status: u16,
    pub details: String,
    pub flags: String,
    /// What was wrong with the response, a word of docs/refusals.md; else empty.
    pub failure: String,
}
