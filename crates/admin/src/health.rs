//! Is the process ready for traffic?
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Where the process is in its life. The words are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// The process has begun; nothing is known yet. `PRE_INITIALIZING`.
    Starting = 0,
    /// Manifests are being read and compiled, listeners opened. `INITIALIZING`.
    Initializing = 1,
    /// Serving. `LIVE`.
    Live = 2,
    /// No new traffic is wanted; what runs is finished. `DRAINING`.
    Draining = 3,
}

impl State {
    /// Envoy's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }
}

/// The state, shared by whoever moves it and the pages that report it.
#[derive(Debug, Default)]
pub struct Health {
    state: AtomicU8,
    failed: AtomicBool,
}

impl Health {
    /// A process that has just begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves on to `state`. Never backwards: a listener that comes up late must not make a
    /// draining process look ready again.
    pub fn advance(&self, state: State) {
        self.state.fetch_max(state as u8, Ordering::AcqRel);
    }

    /// Reports `DRAINING` while `failed`, whatever the state: an operator takes the process out of
    /// rotation and may put it back.
    pub fn fail(&self, failed: bool) {
        self.failed.store(failed, Ordering::Release);
    }

    /// What to report.
    pub fn state(&self) -> State {
        if self.failed.load(Ordering::Acquire) {
            return State::Draining;
        }
        match self.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Initializing,
            2 => State::Live,
            _ => State::Draining,
        }
    }

    /// Should new traffic be sent here?
    pub fn is_ready(&self) -> bool {
        self.state() == State::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_forwards_only() {
        let health = Health::new();
        assert_eq!(health.state(), State::Starting);
        health.advance(State::Live);
        health.advance(State::Initializing);
        assert_eq!(health.state(), State::Live);
        health.advance(State::Draining);
        health.advance(State::Live);
        assert_eq!(health.state(), State::Draining);
    }

    #[test]
    fn a_failed_check_can_be_taken_back() {
        let health = Health::new();
        health.advance(State::Live);
        health.fail(true);
        assert!(!health.is_ready());
        health.fail(false);
        assert!(health.is_ready());
    }
}
