//! When which name is looked up. Pure: the clock is an argument.
use super::Answer;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Settings of looking up names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesSettings {
    /// A name is looked up again after this, however short its records live: a record without a
    /// lifetime must not be a flood of queries. 5 s.
    pub refresh_min: Duration,
    /// And after this, however long they live. 5 min.
    pub refresh_max: Duration,
    /// A name that cannot be looked up is tried again after 1 s, then after twice as long each
    /// time, at most after this. 1 min.
    pub retry_max: Duration,
    /// How many names are looked up at once. 16.
    pub at_once: usize,
}

impl Default for NamesSettings {
    fn default() -> Self {
        Self {
            refresh_min: Duration::from_secs(5),
            refresh_max: Duration::from_secs(300),
            retry_max: Duration::from_secs(60),
            at_once: 16,
        }
    }
}

const FIRST_RETRY: Duration = Duration::from_secs(1);

/// All names that are wanted.
#[derive(Debug)]
pub(super) struct Schedule {
    settings: NamesSettings,
    names: BTreeMap<Arc<str>, Entry>,
    running: usize,
}

#[derive(Debug)]
struct Entry {
    /// `None`: being looked up.
    due: Option<Instant>,
    failures: u32,
    addresses: Option<Arc<[IpAddr]>>,
    failure: Option<Arc<str>>,
}

/// What a look-up changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The addresses are others.
    Addresses(Arc<[IpAddr]>),
    /// It cannot be looked up, for another reason than before; what was known still is.
    Failing(Arc<str>),
    /// It can be looked up again.
    Recovered,
}

impl Schedule {
    pub(super) fn new(settings: NamesSettings) -> Self {
        Self {
            settings,
            names: BTreeMap::new(),
            running: 0,
        }
    }

    /// These names are wanted from now on, and no others.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Arc<str>>, now: Instant) {
        self.names.retain(|name, _| wanted.contains(name));
        for name in wanted {
            self.names.entry(Arc::clone(name)).or_insert(Entry {
                due: Some(now),
                failures: 0,
                addresses: None,
                failure: None,
            });
        }
    }

    /// The names to look up now; each must be [`Schedule::answered`].
    pub(super) fn start(&mut self, now: Instant) -> Vec<Arc<str>> {
        let room = self.settings.at_once.saturating_sub(self.running);
        let mut due: Vec<(Instant, Arc<str>)> = self
            .names
            .iter()
            .filter_map(|(name, entry)| Some((entry.due?, Arc::clone(name))))
            .filter(|(due, _)| *due <= now)
            .collect();
        // Whoever has waited longest: with more names than can be looked up at once, all get their
        // turn.
        due.sort_unstable();
        due.truncate(room);
        for (_, name) in &due {
            if let Some(entry) = self.names.get_mut(name) {
                entry.due = None;
            }
        }
        self.running += due.len();
        due.into_iter().map(|(_, name)| name).collect()
    }

    /// A look-up has ended.
    pub(super) fn answered(
        &mut self,
        name: &str,
        answer: Result<Answer, Arc<str>>,
        now: Instant,
    ) -> Option<Change> {
        self.running = self.running.saturating_sub(1);
        // It may not be wanted any more.
        let entry = self.names.get_mut(name)?;
        match answer {
            Ok(answer) => {
                let NamesSettings {
                    refresh_min,
                    refresh_max,
                    ..
                } = self.settings;
                // A little before the records end, so that a slow server is no gap.
                let after = answer.valid_for.mul_f32(0.8);
                entry.due = Some(now + after.max(refresh_min).min(refresh_max));
                entry.failures = 0;
                let recovered = entry.failure.take().is_some();
                // Servers rotate their answers: another order of the same addresses is no change.
                let known = entry.addresses.as_deref();
                if known.is_some_and(|known| same_set(known, &answer.addresses)) {
                    return recovered.then_some(Change::Recovered);
                }
                entry.addresses = Some(Arc::clone(&answer.addresses));
                Some(Change::Addresses(answer.addresses))
            }
            Err(cause) => {
                let after = FIRST_RETRY.saturating_mul(1 << entry.failures.min(16));
                entry.due = Some(now + after.min(self.settings.retry_max));
                entry.failures = entry.failures.saturating_add(1);
                let told = entry.failure.as_ref() == Some(&cause);
                entry.failure = Some(Arc::clone(&cause));
                (!told).then_some(Change::Failing(cause))
            }
        }
    }

    /// When there is something to start; `None`: not before an answer or another wish.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.running >= self.settings.at_once {
            return None;
        }
        self.names.values().filter_map(|entry| entry.due).min()
    }

    /// Names that cannot be looked up, with the cause, and whether an earlier answer is used.
    pub(super) fn failing(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, bool)> {
        self.names.iter().filter_map(|(name, entry)| {
            let cause = entry.failure.as_ref()?;
            Some((name, cause, entry.addresses.is_some()))
        })
    }
}

fn same_set(known: &[IpAddr], answer: &[IpAddr]) -> bool {
    let set = |list: &[IpAddr]| list.iter().copied().collect::<BTreeSet<_>>();
    set(known) == set(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn addresses(list: &[&str]) -> Arc<[IpAddr]> {
        list.iter().map(|it| it.parse().expect("ip")).collect()
    }

    fn answer(list: &[&str], seconds: u64) -> Result<Answer, Arc<str>> {
        Ok(Answer {
            addresses: addresses(list),
            valid_for: Duration::from_secs(seconds),
        })
    }

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn a_name_is_looked_up_again_before_its_records_end() {
        let now = Instant::now();
        let mut schedule = Schedule::new(NamesSettings::default());
        schedule.want(&set(&["a"]), now);
        assert_eq!(schedule.start(now), [Arc::from("a")]);
        assert!(schedule.start(now).is_empty(), "it is under way");
        assert_eq!(schedule.next(), None);
        let change = schedule.answered("a", answer(&["10.0.0.1"], 100), now);
        assert_eq!(change, Some(Change::Addresses(addresses(&["10.0.0.1"]))));
        let next = schedule.next().expect("again");
        assert!(next > after(now, 79) && next < after(now, 81));
        assert_eq!(schedule.start(after(now, 81)), [Arc::from("a")]);
        // The same addresses in another order, and then others.
        assert_eq!(
            schedule.answered("a", answer(&["10.0.0.1", "10.0.0.2"], 0), now),
            Some(Change::Addresses(addresses(&["10.0.0.1", "10.0.0.2"])))
        );
        assert_eq!(schedule.next(), Some(after(now, 5)), "not at once");
        schedule.start(after(now, 5));
        let rotated = answer(&["10.0.0.2", "10.0.0.1"], 100_000);
        assert_eq!(schedule.answered("a", rotated, now), None);
        assert_eq!(schedule.next(), Some(after(now, 300)), "not never");
    }

    /// BE-106: a failing refresh keeps what is known.
    #[test]
    fn failures_are_told_once_and_tried_again_ever_later() {
        let now = Instant::now();
        let mut schedule = Schedule::new(NamesSettings::default());
        schedule.want(&set(&["a"]), now);
        let mut time = now;
        let mut waits = Vec::new();
        for round in 0..9 {
            schedule.start(time);
            let change = schedule.answered("a", Err("no such name".into()), time);
            let told = change == Some(Change::Failing("no such name".into()));
            assert_eq!(told, round == 0, "round {round}: {change:?}");
            let next = schedule.next().expect("again");
            waits.push((next - time).as_secs());
            time = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(schedule.failing().count(), 1);
        schedule.start(time);
        assert!(matches!(
            schedule.answered("a", answer(&["10.0.0.1"], 60), time),
            Some(Change::Addresses(_))
        ));
        assert_eq!(schedule.failing().count(), 0);
        let time = after(time, 60);
        schedule.start(time);
        schedule.answered("a", Err("timed out".into()), time);
        let (_, _, known) = schedule.failing().next().expect("failing");
        assert!(known);
        let time = after(time, 60);
        schedule.start(time);
        let back = schedule.answered("a", answer(&["10.0.0.1"], 60), time);
        assert_eq!(back, Some(Change::Recovered));
    }

    #[test]
    fn only_so_many_at_once_and_whoever_waited_longest_first() {
        let now = Instant::now();
        let settings = NamesSettings {
            at_once: 2,
            ..NamesSettings::default()
        };
        let mut schedule = Schedule::new(settings);
        schedule.want(&set(&["a", "b", "c"]), now);
        assert_eq!(schedule.start(now), [Arc::from("a"), Arc::from("b")]);
        assert!(schedule.start(now).is_empty());
        schedule.answered("a", answer(&[], 10), now);
        assert_eq!(schedule.start(after(now, 60)), [Arc::from("c")]);
        // One that nobody wants any more changes nothing when it is answered, and makes room.
        schedule.want(&set(&["a", "c"]), now);
        assert_eq!(schedule.answered("b", answer(&["10.0.0.1"], 10), now), None);
        assert_eq!(schedule.start(after(now, 60)), [Arc::from("a")]);
    }
}
