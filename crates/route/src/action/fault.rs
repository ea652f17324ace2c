//! Faults a rule injects (VS-H-80..85).
use pointsman_model::action::{Abort, Fault, PartsPerMillion};
use std::time::Duration;

/// What was drawn for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected<'a> {
    /// Wait this long first.
    pub delay: Option<Duration>,
    /// Then answer with this instead of asking the destination.
    pub abort: Option<&'a Abort>,
}

/// The answer to a request that is aborted (VS-H-83).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Status of the response.
    pub status: u16,
    /// Its fields.
    pub fields: &'static [(&'static str, &'static str)],
    /// Its body.
    pub body: &'static str,
}

/// The body of an HTTP abort and the `grpc-message` of a gRPC one.
const BODY: &str = "fault filter abort";

/// Draws delay and abort, independently of each other (VS-H-82). `draw` gives uniformly random
/// numbers.
pub fn inject(fault: &Fault, mut draw: impl FnMut() -> u32) -> Injected<'_> {
    let (delay, abort) = (&fault.delay, &fault.abort);
    Injected {
        delay: delay
            .filter(|&(_, share)| drawn(share, &mut draw))
            .map(|(delay, _)| delay),
        abort: abort
            .as_ref()
            .filter(|(_, share)| drawn(*share, &mut draw))
            .map(|(abort, _)| abort),
    }
}

/// Is a request one of this share of all requests? `draw` is asked only where that is open.
pub fn drawn(share: PartsPerMillion, mut draw: impl FnMut() -> u32) -> bool {
    const ALL: u32 = 1_000_000;
    match share {
        0 => false,
        ALL.. => true,
        _ => (u64::from(draw()) * u64::from(ALL)) >> 32 < u64::from(share),
    }
}

/// The answer of an abort, to a `call` of gRPC or to another request. A gRPC abort is HTTP 200 to both: a
/// call reads its status in a field, as in a response of trailers only, others see the body alone.
pub fn aborted(abort: &Abort, call: bool) -> Aborted {
    let text = |status| Aborted {
        status,
        fields: &[("content-type", "text/plain")],
        body: BODY,
    };
    match abort {
        Abort::Http(status) => text(*status),
        Abort::Grpc(_) if !call => text(200),
        Abort::Grpc(number) => Aborted {
            status: 200,
            fields: GRPC.get(usize::from(*number)).unwrap_or(&GRPC[2]),
            body: "",
        },
    }
}

macro_rules! grpc {
    ($($number:literal)*) => {
        [$([
            ("content-type", "application/grpc"),
            ("grpc-status", $number),
            ("grpc-message", BODY),
        ],)*]
    };
}

/// The fields of gRPC aborts, by status number.
static GRPC: [[(&str, &str); 3]; 17] = grpc! {
    "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11" "12" "13" "14" "15" "16"
};

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(delay: PartsPerMillion, abort: PartsPerMillion) -> Fault {
        Fault {
            delay: Some((Duration::from_secs(2), delay)),
            abort: Some((Abort::Http(503), abort)),
        }
    }

    /// VS-H-80, T-H-126: the resolution is a millionth, and every millionth counts.
    #[test]
    fn shares_are_exact() {
        let never = || -> u32 { panic!("nothing to draw") };
        assert!(drawn(1_000_000, never));
        assert!(!drawn(0, never));
        let steps = 1_000_000_u64;
        for share in [1, 1000, 500_000, 999_999] {
            let hits = (0..steps)
                .filter(|step| drawn(share, || (((step << 32) + (1 << 31)) / steps) as u32))
                .count();
            assert_eq!(hits, share as usize);
        }
        assert!(drawn(1, || 0));
        assert!(!drawn(999_999, || u32::MAX));
    }

    /// VS-H-82: neither draw depends on the other's outcome.
    #[test]
    fn delay_and_abort_are_drawn_apart() {
        let half = fault(500_000, 500_000);
        for (draws, delayed, aborted) in [
            ([0, 0], true, true),
            ([0, u32::MAX], true, false),
            ([u32::MAX, 0], false, true),
            ([u32::MAX, u32::MAX], false, false),
        ] {
            let mut draws = draws.into_iter();
            let injected = inject(&half, || draws.next().expect("two draws"));
            assert_eq!(injected.delay.is_some(), delayed);
            assert_eq!(injected.abort.is_some(), aborted);
        }
        assert_eq!(inject(&fault(0, 0), || 0), Injected::default()); // VS-H-81, T-H-121
    }

    /// VS-H-83, T-H-120, T-H-124.
    #[test]
    fn aborts_are_answered_as_asked() {
        let http = aborted(&Abort::Http(418), true);
        assert_eq!((http.status, http.body), (418, "fault filter abort"));
        let plain = aborted(&Abort::Grpc(14), false);
        assert_eq!((plain.status, plain.body), (200, "fault filter abort"));
        assert_eq!(plain.fields, [("content-type", "text/plain")]);
        let grpc = aborted(&Abort::Grpc(14), true);
        assert_eq!((grpc.status, grpc.body), (200, ""));
        assert!(grpc.fields.contains(&("grpc-status", "14")));
        assert!(
            grpc.fields
                .contains(&("grpc-message", "fault filter abort"))
        );
        assert!(
            aborted(&Abort::Grpc(99), true)
                .fields
                .contains(&("grpc-status", "2"))
        );
    }
}
