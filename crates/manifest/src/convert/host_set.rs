//! Which of many hosts takes a name.
use crate::yaml::Span;
use foldhash::HashMap;
use pointsman_model::HostPattern;

/// The hosts of one document with their places.
///
/// Looks up the suffixes of a name instead of comparing it with every pattern: comparing all pairs
/// would turn a long list into minutes.
#[derive(Default)]
pub(super) struct HostSet {
    places: HashMap<HostPattern, Span>,
    has_wildcard: bool,
}

impl HostSet {
    /// Adds a host; gives the place of the same host, if it is there already.
    pub(super) fn insert(&mut self, host: &HostPattern, span: Span) -> Option<Span> {
        self.has_wildcard |= host.is_wildcard();
        match self.places.get(host) {
            Some(&first) => Some(first),
            None => {
                self.places.insert(host.clone(), span);
                None
            }
        }
    }

    /// The most specific host that covers another one; `itself` says whether an equal one counts.
    pub(super) fn covering(&self, host: &HostPattern, itself: bool) -> Option<(HostPattern, Span)> {
        let find = |host: HostPattern| self.places.get(&host).map(|&span| (host, span));
        if itself && let Some(found) = find(host.clone()) {
            return Some(found);
        }
        let (HostPattern::Exact(name) | HostPattern::Suffix(name)) = host else {
            return None;
        };
        if !self.has_wildcard {
            return None;
        }
        name.char_indices()
            // The `*` of the wider one stands for one character at least.
            .skip(1)
            .find_map(|(at, _)| find(HostPattern::Suffix(name.get(at..)?.into())))
            .or_else(|| find(HostPattern::Any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_comparing_every_pair(
            hosts in prop::collection::vec("(\\*|\\*\\.)?([ab]{1,2}\\.){0,2}[ab]?", 1..6),
            name in "(\\*|\\*\\.)?([ab]{1,2}\\.){0,3}[ab]",
        ) {
            let name = HostPattern::new(&name);
            let hosts: Vec<HostPattern> = hosts.iter().map(|host| HostPattern::new(host)).collect();
            let mut set = HostSet::default();
            for host in &hosts {
                set.insert(host, Span::default());
            }
            prop_assert_eq!(
                set.covering(&name, true).is_some(),
                hosts.iter().any(|host| host.covers(&name))
            );
            prop_assert_eq!(
                set.covering(&name, false).is_some(),
                hosts.iter().any(|host| *host != name && host.covers(&name))
            );
        }
    }
}
