//! Looking up names when they are connected to: those of whom nobody knows the addresses yet (BE-106).
//!
//! Each name is looked up once at a time, for all who wait for it, and what came of it holds for a
//! moment: with dead DNS servers and many requests, every one of them would ask else.
use super::Map;
use std::{
    cell::RefCell,
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

/// The addresses of a name; the error is a cause for people.
pub type Found = Result<Arc<[IpAddr]>, Arc<str>>;

/// Asks for the addresses of a name, without a blocking thread: one that hangs would hold the end of
/// the process.
pub type Lookup = Rc<dyn Fn(Arc<str>) -> Pin<Box<dyn Future<Output = Found>>>>;

/// How long what came of a look-up holds, be it addresses or a failure.
const HOLDS: Duration = Duration::from_secs(1);
/// How many names a shard looks up at once; the others wait for their turn.
const AT_ONCE: usize = 16;
/// A look-up that takes longer, with its wait for its turn, has failed.
const LOOKUP: Duration = Duration::from_secs(15);

/// The look-ups of a shard.
pub(crate) struct Lookups {
    lookup: Lookup,
    turns: Rc<Semaphore>,
    known: RefCell<Map<Arc<str>, Asked>>,
}

/// A look-up: `None` while it is under way, then what came of it and when.
type Asked = watch::Receiver<Option<(Instant, Found)>>;

impl Lookups {
    pub(crate) fn new(lookup: Lookup) -> Self {
        Self {
            lookup,
            turns: Rc::new(Semaphore::new(AT_ONCE)),
            known: RefCell::default(),
        }
    }

    /// The addresses of a name.
    ///
    /// # Errors
    /// `NotFound` with the cause when it cannot be looked up.
    pub(crate) async fn addresses(&self, name: &Arc<str>) -> io::Result<Arc<[IpAddr]>> {
        // Hosts of documents may be addresses.
        if let Ok(address) = name.parse() {
            return Ok([address].into());
        }
        let mut asked = self.asked(name);
        let found = match asked.wait_for(Option::is_some).await {
            Ok(found) => found.as_ref().map(|(_, found)| found.clone()),
            Err(_) => None,
        };
        // It ends without an answer only with its shard.
        let found = found.unwrap_or_else(|| Err("it is not looked up any more".into()));
        found.map_err(|cause| {
            let words = format!("{name} cannot be looked up: {cause}");
            io::Error::new(io::ErrorKind::NotFound, words)
        })
    }

    /// The look-up that counts now: one under way, or of a moment ago, else a new one.
    fn asked(&self, name: &Arc<str>) -> Asked {
        let now = Instant::now();
        let counts = |asked: &Asked| match &*asked.borrow() {
            Some((at, _)) => now.saturating_duration_since(*at) < HOLDS,
            None => asked.has_changed().is_ok(),
        };
        let mut known = self.known.borrow_mut();
        known.retain(|_, asked| counts(asked));
        if let Some(asked) = known.get(name) {
            return asked.clone();
        }
        let (told, asked) = watch::channel(None);
        known.insert(name.clone(), asked.clone());
        let (lookup, turns, name) = (self.lookup.clone(), self.turns.clone(), name.clone());
        // A task of its own: whoever asked first may go, and the others still wait.
        actix::spawn(async move {
            let found = timeout(LOOKUP, async {
                let _turn = turns.acquire().await.map_err(|it| it.to_string())?;
                lookup(name).await
            });
            let found = found.await.unwrap_or_else(|_| {
                let words = format!("no answer within {} s", LOOKUP.as_secs());
                Err(words.into())
            });
            told.send_replace(Some((Instant::now(), found)));
        });
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future::join_all};
    use std::cell::Cell;

    const MOMENT: Duration = Duration::from_secs(10);

    /// Each look-up counts itself and takes a place of `answers`; one whose place is closed fails.
    fn lookups(answers: &Rc<Semaphore>) -> (Lookups, Rc<Cell<usize>>) {
        let asked = Rc::new(Cell::new(0));
        let (answers, count) = (answers.clone(), asked.clone());
        let lookup: Lookup = Rc::new(move |_| {
            count.set(count.get() + 1);
            let answers = answers.clone();
            Box::pin(async move {
                match answers.acquire().await {
                    Ok(it) => it.forget(),
                    Err(_) => return Err("dead".into()),
                }
                Ok([[127, 0, 0, 9].into()].into())
            })
        });
        (Lookups::new(lookup), asked)
    }

    fn on_a_shard(test: impl Future<Output = ()>) {
        actix_rt::System::new()
            .block_on(async { timeout(2 * MOMENT, test).await })
            .expect("the test ends in time");
    }

    #[test]
    fn all_who_wait_for_a_name_wait_for_one_look_up() {
        // BE-106
        on_a_shard(async {
            let answers = Rc::new(Semaphore::new(0));
            let (lookups, asked) = lookups(&answers);
            let name: Arc<str> = "shop.example".into();
            // Whoever came first goes.
            assert!(lookups.addresses(&name).now_or_never().is_none());
            let waiting = join_all((0..500).map(|_| lookups.addresses(&name)));
            let (found, ()) = tokio::join!(waiting, async {
                while asked.get() == 0 {
                    tokio::task::yield_now().await;
                }
                answers.add_permits(1);
            });
            for found in found {
                assert_eq!(*found.expect("found"), [IpAddr::from([127, 0, 0, 9])]);
            }
            assert_eq!(asked.get(), 1);
        });
    }

    #[test]
    fn a_failure_holds_for_a_moment() {
        // BE-106
        on_a_shard(async {
            let answers = Rc::new(Semaphore::new(0));
            answers.close();
            let (lookups, asked) = lookups(&answers);
            let name: Arc<str> = "shop.example".into();
            let begun = Instant::now();
            while asked.get() < 2 {
                let error = lookups.addresses(&name).await.expect_err("dead");
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                assert!(error.to_string().ends_with("dead"), "{error}");
                tokio::task::yield_now().await;
            }
            assert!(begun.elapsed() >= HOLDS);
        });
    }

    #[test]
    fn an_address_is_not_looked_up() {
        on_a_shard(async {
            let (lookups, asked) = lookups(&Rc::new(Semaphore::new(0)));
            let found = lookups.addresses(&"10.0.0.1".into()).await;
            assert_eq!(*found.expect("itself"), [IpAddr::from([10, 0, 0, 1])]);
            assert_eq!(asked.get(), 0);
        });
    }

    #[test]
    fn so_many_names_at_once() {
        on_a_shard(async {
            let answers = Rc::new(Semaphore::new(0));
            let (lookups, asked) = lookups(&answers);
            let names: Vec<Arc<str>> = (0..3 * AT_ONCE)
                .map(|it| format!("shop-{it}.example").into())
                .collect();
            let waiting = join_all(names.iter().map(|name| lookups.addresses(name)));
            let (found, ()) = tokio::join!(waiting, async {
                while asked.get() < AT_ONCE {
                    tokio::task::yield_now().await;
                }
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                    assert_eq!(asked.get(), AT_ONCE);
                }
                answers.add_permits(names.len());
            });
            assert!(found.iter().all(Result::is_ok));
            assert_eq!(asked.get(), names.len());
        });
    }
}
