//! How a request or connection ended when it did not end well: Envoy's response flags.
use std::{fmt, ops};

/// A set of response flags (VS-H-125..150). Empty for traffic that went well.
///
/// Prints as Envoy does: the short names in its order, joined by commas, `-` when empty.
/// A flag is only ever set with the meaning Envoy gives it, since log parsers and alerts know it;
/// longer reasons belong in the response code details.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal,)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Every flag with its short name, in Envoy's order.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

// The bits follow the order of the printed names. Envoy prints flags as they were set: what a fault did
// first, then that tries are used up, which is known before why the last one failed. The rest are in the
// order of its own list.
flags! {
    /// A delay was injected (VS-H-139).
    DI = 0,
    /// An abort was injected (VS-H-139).
    FI = 1,
    /// Retries or connection attempts used up (VS-H-138).
    URX = 2,
    /// Local health check failed.
    LH = 3,
    /// No healthy upstream (VS-H-127).
    UH = 4,
    /// Upstream request timeout, 504 (VS-H-133).
    UT = 5,
    /// Connection reset locally.
    LR = 6,
    /// Reset by the upstream (VS-H-131).
    UR = 7,
    /// Connecting to the upstream failed (VS-H-128, VS-H-129).
    UF = 8,
    /// The upstream closed its connection before the response (VS-H-130).
    UC = 9,
    /// A circuit breaker refused: connections, pending or requests (VS-H-132).
    UO = 10,
    /// No route (VS-H-125).
    NR = 11,
    /// Rate limited.
    RL = 12,
    /// Denied by external authorization.
    UAEX = 13,
    /// The rate limit service failed.
    RLSE = 14,
    /// The client went away (VS-H-136).
    DC = 15,
    /// The stream was idle for too long (VS-H-137).
    SI = 16,
    /// A strictly checked header was invalid.
    IH = 17,
    /// The client broke the protocol (VS-H-135).
    DPE = 18,
    /// The maximum duration of an upstream stream was reached (VS-H-143).
    UMSDR = 19,
    /// Answered from a cache.
    RFCF = 20,
    /// A filter's configuration was missing.
    NFCF = 21,
    /// The maximum duration of a connection or stream was reached (VS-H-143).
    DT = 22,
    /// The upstream broke the protocol (VS-H-134).
    UPE = 23,
    /// The cluster is not known (VS-H-126).
    NC = 24,
    /// The overload manager ended the request.
    OM = 25,
    /// The upstream's name could not be resolved.
    DF = 26,
    /// Dropped to shed load.
    DO = 27,
    /// A stream was reset by the client (VS-H-136).
    DR = 28,
    /// Dropped unconditionally.
    UDO = 29,
}

impl Flags {
    /// No flag.
    pub const EMPTY: Self = Self(0);

    /// Nothing to report?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Are all flags of `other` set?
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together; the `const` form of `|`.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl ops::BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut separator = "";
        for (flag, name) in Self::ALL {
            if self.contains(*flag) {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_in_envoys_order_whatever_the_order_of_setting() {
        assert_eq!(Flags::EMPTY.to_string(), "-");
        assert_eq!(Flags::UH.to_string(), "UH");
        assert_eq!((Flags::URX | Flags::UF).to_string(), "URX,UF");
        let mut flags = Flags::UF;
        flags |= Flags::URX;
        flags |= Flags::DI;
        assert_eq!(flags.to_string(), "DI,URX,UF");
    }

    #[test]
    fn every_flag_has_its_own_bit() {
        let mut seen = Flags::EMPTY;
        for (flag, name) in Flags::ALL {
            assert_eq!(flag.0.count_ones(), 1, "{name}");
            assert!(!seen.contains(*flag), "{name} shares a bit");
            assert_eq!(flag.to_string(), *name);
            seen |= *flag;
        }
    }
}
