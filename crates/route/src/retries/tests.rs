//! What is tried again, case by case, and that nothing else is.
use super::*;
use Happened::{ConnectFailed, Refused, Reset, ResetUnsent, TryTimeout};
use proptest::{collection::vec, option, prelude::*, sample::select};

fn rule(attempts: u32, retry_on: Option<&str>) -> RetriesInForce {
    let written = Retries {
        attempts,
        retry_on: retry_on.map(Into::into),
        ..Retries::default()
    };
    RetriesInForce::new(written, RetriesFrom::Rule)
}

fn status(status: u16) -> Happened {
    Happened::Replied(Replied {
        status,
        ..Replied::default()
    })
}

fn grpc(number: u8) -> Happened {
    Happened::Replied(Replied {
        status: 200,
        grpc_status: Some(number),
        ..Replied::default()
    })
}

/// Everything that can happen, for exhaustive checks.
fn everything() -> Vec<Happened> {
    let mut all = vec![ConnectFailed, Refused, ResetUnsent, Reset, TryTimeout];
    all.extend((100..=599).map(status));
    all.extend((0..=17).map(grpc));
    all.push(Happened::Replied(Replied {
        status: 503,
        rate_limited: true,
        ..Replied::default()
    }));
    all
}

#[test]
fn each_word_holds_for_what_it_names_and_nothing_else() {
    // VS-H-79c, VS-H-74, VS-H-75 (the end of a try is in three of them).
    let statuses = |range: std::ops::RangeInclusive<u16>| range.map(status).collect::<Vec<_>>();
    let none = vec![ConnectFailed, Refused, ResetUnsent, Reset, TryTimeout];
    let limited = Happened::Replied(Replied {
        status: 503,
        rate_limited: true,
        ..Replied::default()
    });
    let cases: [(&str, Vec<Happened>); 19] = [
        ("5xx", [none.clone(), statuses(500..=599)].concat()),
        (
            "gateway-error",
            [none.clone(), statuses(502..=504)].concat(),
        ),
        ("reset", none),
        ("reset-before-request", vec![ConnectFailed, ResetUnsent]),
        ("connect-failure", vec![ConnectFailed]),
        ("refused-stream", vec![Refused]),
        ("retriable-4xx", vec![status(409)]),
        ("retriable-status-codes", vec![]),
        ("retriable-headers", vec![]),
        ("http3-post-connect-failure", vec![]),
        ("envoy-ratelimited", vec![limited]),
        ("cancelled", vec![grpc(1)]),
        ("deadline-exceeded", vec![grpc(4)]),
        ("resource-exhausted", vec![grpc(8)]),
        ("internal", vec![grpc(13)]),
        ("unavailable", vec![grpc(14)]),
        ("503", vec![status(503)]),
        (
            "200,retriable-status-codes,429",
            vec![status(200), status(429)],
        ),
        ("100,599,599", vec![status(100), status(599)]),
    ];
    for (words, holds) in cases {
        let policy = rule(3, Some(words));
        for happened in everything() {
            let mut expected = holds.contains(&happened);
            // A 200 is one whatever grpc-status it has.
            if let Happened::Replied(reply) = happened {
                expected |= words.starts_with("200") && reply.status == 200;
            }
            assert_eq!(policy.repeats(&happened), expected, "{words}: {happened:?}");
        }
    }
}

#[test]
fn without_a_word_from_anybody_nothing_that_may_have_been_done_is_done_twice() {
    // VS-H-70: a plain 503 is not tried again, what never arrived is.
    let built_in = RetriesInForce::built_in();
    assert_eq!(
        (built_in.attempts(), built_in.from),
        (2, RetriesFrom::BuiltIn)
    );
    // VS-H-74: no words are the built-in ones.
    for policy in [built_in, &rule(2, None), &rule(2, Some(""))] {
        assert_eq!(policy.retry_on(), DEFAULT_RETRY_ON);
        for happened in everything() {
            let harmless = matches!(happened, ConnectFailed | Refused);
            assert_eq!(policy.repeats(&happened), harmless, "{happened:?}");
        }
        assert!(!policy.heeds_responses() && !policy.repeats_sent());
        assert_eq!(policy.repeats_refused(), policy.attempts() > 0);
    }
}

#[test]
fn no_attempts_are_none() {
    // VS-H-72
    for policy in [rule(0, None), rule(0, Some("5xx,connect-failure,503"))] {
        assert!(!policy.heeds_responses());
        for happened in everything() {
            assert!(!policy.repeats(&happened), "{happened:?}");
        }
    }
}

#[test]
fn pauses_double_up_to_ten_times_the_base() {
    // VS-H-76
    let most = |policy: &RetriesInForce, number| {
        let mut asked = 0;
        let longest = policy.pause(number, |below| {
            asked = below;
            below - 1
        });
        assert!(longest < Duration::from_micros(asked));
        assert_eq!(policy.pause(number, |_| 0), Duration::ZERO);
        asked
    };
    let built_in = RetriesInForce::built_in();
    let asked = [1, 2, 3, 4, 5, 31, 32, u32::MAX].map(|number| most(built_in, number));
    let [one, rest] = [25_000, 250_000];
    assert_eq!(asked, [one, 75_000, 175_000, rest, rest, rest, rest, rest]);
    let mut own = rule(3, None);
    own.written.backoff = Some(Duration::from_secs(1));
    assert_eq!(
        [1, 2, 9].map(|number| most(&own, number)),
        [1_000_000, 3_000_000, 10_000_000]
    );
    own.written.backoff = Some(Duration::ZERO);
    assert_eq!(
        own.pause(3, |_| unreachable!("nothing to draw")),
        Duration::ZERO
    );
    own.written.backoff = Some(Duration::MAX);
    assert_eq!(own.pause(3, |below| below), Duration::from_micros(u64::MAX));
}

#[test]
fn a_believed_client_may_ask_for_more() {
    // What it asks for is added to the rule's (VS-H-64).
    let none = RetryWishes::default();
    let on = |words| RetryWishes {
        retry_on: Some(words),
        ..none
    };
    let often = |attempts| RetryWishes {
        attempts: Some(attempts),
        ..none
    };
    let timed = |per_try| RetryWishes {
        per_try: Some(per_try),
        ..none
    };
    let own = rule(3, Some("reset"));
    assert_eq!(own.asked(&none), own);
    let asked = own.asked(&on("503,nonsense"));
    assert_eq!(asked.attempts(), 3);
    assert!(asked.repeats(&Reset) && asked.repeats(&status(503)));
    assert!(!asked.repeats(&status(500)));
    assert_eq!(own.asked(&often(9)).attempts(), 9);
    assert_eq!(rule(0, None).asked(&on("5xx")).attempts(), 1);
    let never = RetryWishes {
        attempts: Some(0),
        ..on("5xx")
    };
    assert!(!own.asked(&never).repeats(&Reset));
    let asked = own.asked(&timed(Duration::from_millis(7)));
    assert_eq!(asked.per_try_timeout(), Some(Duration::from_millis(7)));
    let asked = asked.asked(&timed(Duration::ZERO));
    assert_eq!(asked.per_try_timeout(), None);
    // How often says nothing of what: a repetition nobody asked for is still none.
    let often = RetriesInForce::built_in().asked(&often(9));
    assert!(!often.repeats(&grpc(14)) && often.repeats(&ConnectFailed));
}

/// VS-H-64, VS-H-72: as Envoy has no policy where there are no attempts.
#[test]
fn what_a_client_asks_for_is_all_that_it_gets_where_there_is_nothing() {
    let wishes = |retry_on, attempts| RetryWishes {
        retry_on: Some(retry_on),
        attempts,
        ..RetryWishes::default()
    };
    let none = rule(0, None);
    for attempts in [None, Some(5)] {
        assert!(
            !none
                .asked(&wishes("bogus,", attempts))
                .repeats(&ConnectFailed)
        );
        let asked = none.asked(&wishes("bogus,409,retriable-4xx", attempts));
        assert_eq!(asked.attempts(), attempts.unwrap_or(1));
        let taken: Vec<_> = everything()
            .into_iter()
            .filter(|it| asked.repeats(it))
            .collect();
        assert_eq!(taken, [status(409)]);
    }
    // Words nobody wrote are still said by nobody.
    let more = RetriesInForce::built_in().asked(&wishes("retriable-4xx", None));
    for (happened, repeated) in [
        (status(409), true),
        (ConnectFailed, true),
        (Refused, true),
        (grpc(14), false),
        (grpc(1), false),
    ] {
        assert_eq!(more.repeats(&happened), repeated, "{happened:?}");
    }
    assert_eq!(more.attempts(), 2);
    let nothing = RetriesInForce::built_in().asked(&wishes("bogus", None));
    assert_eq!(&nothing, RetriesInForce::built_in());
}

#[test]
fn a_believed_client_may_ask_for_statuses() {
    // VS-H-64
    let calls = |words| RetryWishes {
        retry_grpc_on: Some(words),
        ..RetryWishes::default()
    };
    let statuses = |list| RetryWishes {
        statuses: Some(list),
        ..RetryWishes::default()
    };
    let own = rule(1, Some("reset"));
    let asked = own.asked(&calls("internal, 5xx,nonsense"));
    assert_eq!(asked.attempts(), 1);
    assert!(asked.repeats(&grpc(13)) && asked.repeats(&Reset));
    assert!(!asked.repeats(&grpc(14)) && !asked.repeats(&status(500)));
    assert_eq!(own.asked(&calls("5xx")), own, "no word of gRPC");
    // Statuses count where a condition speaks of listed ones.
    assert_eq!(own.asked(&statuses("503")), own);
    for words in [
        "retriable-status-codes",
        "503",
        "reset,retriable-status-codes",
    ] {
        let asked = rule(1, Some(words)).asked(&statuses("418, 5xx,, 99,500"));
        assert!(asked.repeats(&status(418)) && asked.repeats(&status(500)));
        assert!(!asked.repeats(&status(501)) && !asked.repeats(&status(99)));
    }
    let both = RetryWishes {
        retry_on: Some("retriable-status-codes"),
        ..statuses("418")
    };
    assert!(own.asked(&both).repeats(&status(418)));
    // The built-in conditions have it, with an empty list (VS-H-70).
    assert!(
        RetriesInForce::built_in()
            .asked(&statuses("418"))
            .repeats(&status(418))
    );
}

#[test]
fn what_counts_of_a_head() {
    let read = |fields: &[(&str, &str)]| {
        Replied::new(
            503,
            fields.iter().map(|(name, value)| (*name, value.as_bytes())),
        )
    };
    assert_eq!(
        read(&[("x-other-name", "1"), ("server", "x")]),
        Replied {
            status: 503,
            ..Replied::default()
        }
    );
    assert_eq!(read(&[("Grpc-Status", " 14 ")]).grpc_status, Some(14));
    for wrong in ["", "x", "-1", "256", "1 4"] {
        assert_eq!(read(&[("grpc-status", wrong)]).grpc_status, None, "{wrong}");
    }
    assert!(read(&[("X-Envoy-RateLimited", "")]).rate_limited);
}

/// What the words say, read as a person would.
fn model(words: &[String], happened: &Happened) -> bool {
    let said = |word: &str| words.iter().any(|it| it == word);
    let none = said("5xx") || said("gateway-error") || said("reset");
    let reply = match happened {
        ConnectFailed => return none || said("connect-failure") || said("reset-before-request"),
        Refused => return none || said("refused-stream"),
        ResetUnsent => return none || said("reset-before-request"),
        Reset | TryTimeout => return none,
        Happened::Replied(reply) => reply,
    };
    if reply.rate_limited {
        return said("envoy-ratelimited");
    }
    let name = match reply.grpc_status {
        Some(1) => "cancelled",
        Some(4) => "deadline-exceeded",
        Some(8) => "resource-exhausted",
        Some(13) => "internal",
        Some(14) => "unavailable",
        _ => "",
    };
    said(&reply.status.to_string())
        || said(name)
        || (reply.status == 409 && said("retriable-4xx"))
        || (reply.status >= 500 && said("5xx"))
        || ((502..=504).contains(&reply.status) && said("gateway-error"))
}

fn happened() -> impl Strategy<Value = Happened> {
    let replied = (
        prop_oneof![
            select(vec![200, 409, 429, 500, 502, 503, 504]),
            100_u16..600
        ],
        option::of(0_u8..20),
        prop::bool::weighted(0.1),
    );
    let replied = replied.prop_map(|(status, grpc_status, rate_limited)| {
        Happened::Replied(Replied {
            status,
            grpc_status,
            rate_limited,
        })
    });
    let others = select(vec![ConnectFailed, Refused, ResetUnsent, Reset, TryTimeout]);
    prop_oneof![others, replied]
}

proptest! {
    #[test]
    fn the_bits_say_what_the_words_say(
        words in vec(prop_oneof![
            select(vec![
                "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure",
                "refused-stream", "retriable-4xx", "retriable-status-codes", "retriable-headers",
                "envoy-ratelimited", "http3-post-connect-failure", "cancelled",
                "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
                "200", "409", "503",
            ]).prop_map(str::to_owned),
            (100_u16..600).prop_map(|status| status.to_string()),
        ], 1..8),
        happened in happened(),
        attempts in 1_u32..5,
    ) {
        let policy = rule(attempts, Some(&words.join(",")));
        let repeats = policy.repeats(&happened);
        prop_assert_eq!(repeats, model(&words, &happened));
        // What is not looked at cannot be a reason.
        if matches!(happened, Happened::Replied(_)) && repeats {
            prop_assert!(policy.heeds_responses());
        }
        prop_assert!(!rule(0, Some(&words.join(","))).repeats(&happened));
    }

    #[test]
    fn a_pause_is_below_ten_times_the_base(
        base in 0_u64..10_000_000, number: u32, draw: u64,
    ) {
        let mut policy = rule(1, None);
        policy.written.backoff = Some(Duration::from_micros(base));
        let pause = policy.pause(number, |below| draw % below);
        prop_assert!(base == 0 || pause < Duration::from_micros(base * 10));
        prop_assert!(number > 0 || pause.is_zero());
    }
}
