//! Who may be connected.
use crate::admin::Admin;
use std::{
    cell::Cell,
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// The connections there are, at most [`crate::admin::Settings::max_connections`]. When all places are taken,
/// the one that has waited for a request for longest makes room: otherwise clients that send half a
/// request, or none, would keep probes out.
#[derive(Default)]
pub(crate) struct Places(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    /// Numbers connections, and how long they wait.
    next: u64,
    connections: HashMap<u64, Connection>,
}

struct Connection {
    /// Since when it waits for a whole head; `None` while it is answered.
    waits: Option<u64>,
    /// Dropped with the entry, which ends the connection.
    _end: oneshot::Sender<Infallible>,
}

/// A place; given back on drop, by a panic too.
pub(crate) struct Place {
    pub(crate) admin: Arc<Admin>,
    number: u64,
    /// The answer is known, and not out yet.
    answered: Cell<bool>,
}

/// What became of the wish for a place.
pub(crate) enum Entry {
    /// There was one, or another connection has lost it. What is received says that it is lost.
    Taken {
        place: Place,
        lost: oneshot::Receiver<Infallible>,
        instead: bool,
    },
    /// All others are being answered.
    Full,
}

impl Place {
    pub(crate) fn take(admin: &Arc<Admin>) -> Entry {
        let mut taken = admin.places.lock();
        let full = taken.connections.len() >= admin.settings.max_connections;
        if full {
            let waiting = taken.connections.iter();
            let waiting = waiting.filter_map(|(number, it)| Some((it.waits?, *number)));
            let Some((_, longest)) = waiting.min() else {
                return Entry::Full;
            };
            taken.connections.remove(&longest);
        }
        let number = taken.number();
        let (_end, lost) = oneshot::channel();
        let waits = Some(number);
        taken.connections.insert(number, Connection { waits, _end });
        let admin = admin.clone();
        Entry::Taken {
            place: Self {
                admin,
                number,
                answered: Cell::new(false),
            },
            lost,
            instead: full,
        }
    }

    /// A whole head is here.
    pub(crate) fn begin(&self) {
        let mut taken = self.admin.places.lock();
        if let Some(connection) = taken.connections.get_mut(&self.number) {
            connection.waits = None;
        }
    }

    /// The answer is known.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
    }

    /// What there was to write is written.
    pub(crate) fn flushed(&self) {
        if !self.answered.take() {
            return;
        }
        let mut taken = self.admin.places.lock();
        let number = taken.number();
        if let Some(connection) = taken.connections.get_mut(&self.number) {
            connection.waits = Some(number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admin.places.lock().connections.remove(&self.number);
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
