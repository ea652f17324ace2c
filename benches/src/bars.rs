//! What this project asks of itself: the most a row may cost, as a share of another proxy's cost in
//! the same run.

use crate::measure::Outcome;
use crate::proxies::Kind;
use crate::rows::Row;

/// What a row is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// A proxy of this kind.
    Proxy(Kind),
    /// The cheapest of the peers.
    BestPeer,
    /// The row's floor: the bare relay, or the smaller of two configurations.
    Floor,
    /// Nothing: the figure itself.
    Itself,
}

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Held against what.
    pub against: Against,
    /// A ratio, or a figure of the row's unit.
    pub at_most: f64,
}

/// Whether a promise is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The promise.
    pub bar: Bar,
    /// The ratio or figure measured; `None` when one side is missing.
    pub here: Option<f64>,
}

impl Row {
    /// What is promised for it.
    #[must_use]
    pub fn bars(self) -> &'static [Bar] {
        const HAPROXY: Against = Against::Proxy(Kind::Haproxy);
        const SAME: Against = Against::Proxy(Kind::HaproxySame);
        const HTTP1: [Bar; 3] = [
            bar(HAPROXY, 0.80),
            bar(SAME, 0.80),
            bar(Against::Floor, 1.30),
        ];
        const LARGE: [Bar; 1] = [bar(Against::BestPeer, 1.0)];
        const HTTP2: [Bar; 2] = [bar(HAPROXY, 0.90), bar(SAME, 0.90)];
        const TAIL: [Bar; 1] = [bar(Against::BestPeer, 1.0)];
        const IDLE: [Bar; 1] = [bar(Against::Itself, 4.0)];
        const CONNECT: [Bar; 1] = [bar(Against::Proxy(Kind::Nginx), 1.05)];
        const PASSED_ON: [Bar; 1] = [bar(HAPROXY, 1.0)];
        const HOSTS: [Bar; 1] = [bar(Against::Floor, 1.1)];
        match self {
            Row::HttpSmall | Row::HttpRealistic | Row::Rules1 | Row::Rules10 | Row::Rules100 => {
                &HTTP1
            }
            Row::Http1Mib | Row::Http100Mib | Row::Upload1Mib => &LARGE,
            Row::H2H1 | Row::H2Realistic | Row::H2H2 | Row::GrpcUnary => &HTTP2,
            Row::LatencyH1 | Row::LatencyH2 => &TAIL,
            Row::Idle10k => &IDLE,
            Row::TcpConnect => &CONNECT,
            Row::TcpBulk | Row::Sni => &PASSED_ON,
            Row::Hosts100k => &HOSTS,
        }
    }
}

const fn bar(against: Against, at_most: f64) -> Bar {
    Bar { against, at_most }
}

impl Bar {
    /// The promise in words; `unit` is the row's.
    #[must_use]
    pub fn text(&self, unit: &str) -> String {
        let at_most = self.at_most;
        match self.against {
            Against::Proxy(kind) => format!("{at_most:.2} × {}", kind.name()),
            Against::BestPeer => format!("{at_most:.2} × best peer"),
            Against::Floor => format!("{at_most:.2} × floor"),
            Against::Itself => format!("{at_most:.2} {unit}"),
        }
    }
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn text(&self) -> &'static str {
        match self.here {
            None => "not measured",
            // As precise as it is shown.
            Some(here) if (here * 100.0).round() <= self.bar.at_most * 100.0 => "met",
            Some(_) => "missed",
        }
    }
}

/// The cheapest of the peers.
#[must_use]
pub fn best_peer(outcomes: &[Outcome]) -> Option<&Outcome> {
    let peers = outcomes.iter().filter(|outcome| outcome.kind.is_peer());
    let costs = peers.filter_map(|it| Some((it, it.median(|sample| sample.cost)?)));
    let best = costs.min_by(|(_, one), (_, other)| one.total_cmp(other));
    best.map(|(outcome, _)| outcome)
}

/// What the row's other figures are compared with as the least that is possible.
#[must_use]
pub fn floor(outcomes: &[Outcome]) -> Option<&Outcome> {
    outcomes.iter().find(|outcome| outcome.is_floor)
}

/// Judges this project's figures of a row; nothing when it took no part.
#[must_use]
pub fn judge(row: Row, outcomes: &[Outcome]) -> Vec<Verdict> {
    let ours = |it: &&Outcome| it.kind == Kind::Pointsman && !it.is_floor;
    let Some(ours) = outcomes.iter().find(ours) else {
        return Vec::new();
    };
    let here = |against| match against {
        Against::Proxy(kind) => ours.against(outcomes.iter().find(|it| it.kind == kind)?),
        Against::BestPeer => ours.against(best_peer(outcomes)?),
        Against::Floor => ours.against(floor(outcomes)?),
        Against::Itself => ours.median(|sample| sample.cost),
    };
    let bars = row.bars().iter();
    bars.map(|bar| Verdict {
        bar: *bar,
        here: here(bar.against),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;

    fn outcome(kind: Kind, is_floor: bool, cost: f64) -> Outcome {
        let sample = Sample {
            cost,
            rate: 0.0,
            busy: 0.0,
            others: 0.0,
        };
        Outcome {
            kind,
            name: kind.name().into(),
            is_floor,
            samples: vec![sample],
            failure: None,
        }
    }

    fn texts(row: Row, outcomes: &[Outcome]) -> Vec<&'static str> {
        judge(row, outcomes).iter().map(Verdict::text).collect()
    }

    #[test]
    fn ratios_are_judged() {
        let outcomes = [
            outcome(Kind::Pointsman, false, 8.04),
            outcome(Kind::Haproxy, false, 10.0),
            outcome(Kind::HaproxySame, false, 9.0),
            outcome(Kind::Relay, true, 6.0),
        ];
        assert_eq!(
            texts(Row::HttpSmall, &outcomes),
            ["met", "missed", "missed"]
        );
        assert_eq!(texts(Row::H2H1, &outcomes), ["met", "met"]);
        assert_eq!(texts(Row::Http1Mib, &outcomes), ["met"]);
        assert_eq!(texts(Row::TcpConnect, &outcomes), ["not measured"]);
        assert_eq!(texts(Row::HttpSmall, &outcomes[1..]), [""; 0]);
    }

    #[test]
    fn figures_are_judged() {
        assert_eq!(
            texts(Row::Idle10k, &[outcome(Kind::Pointsman, false, 3.9)]),
            ["met"]
        );
        let hosts = [
            outcome(Kind::Pointsman, true, 10.0),
            outcome(Kind::Pointsman, false, 11.2),
        ];
        assert_eq!(texts(Row::Hosts100k, &hosts), ["missed"]);
    }
}
