//! Rules for `--capture redirect`: printed for a person to read and apply, never applied.
//!
//! The gateway's own connections must not be redirected to itself. They are told apart by the user
//! or group it runs as, or by a packet mark.
use super::{
    args::{Iptables as Arguments, IptablesAction as Action},
    exit, output,
};
use std::{fmt::Write as _, process::Command, process::ExitCode};

const CHAIN: &str = "POINTSMAN";

/// The rules for one address family, as arguments of `iptables` or `ip6tables`.
fn rules(arguments: &Arguments, ipv6: bool) -> Vec<Vec<String>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let loopback = if ipv6 { "::1/128" } else { "127.0.0.0/8" };
    let mut rules = Vec::new();
    if let Some(uid) = arguments.uid {
        rules.push(words(&format!(
            "-A {CHAIN} -m owner --uid-owner {uid} -j RETURN"
        )));
    }
    if let Some(gid) = arguments.gid {
        rules.push(words(&format!(
            "-A {CHAIN} -m owner --gid-owner {gid} -j RETURN"
        )));
    }
    if let Some(mark) = arguments.mark {
        rules.push(words(&format!(
            "-A {CHAIN} -m mark --mark {mark} -j RETURN"
        )));
    }
    rules.push(words(&format!("-A {CHAIN} -d {loopback} -j RETURN")));
    rules.push(words(&format!(
        "-A {CHAIN} -p tcp -j REDIRECT --to-ports {}",
        arguments.capture_port
    )));
    let hook = if arguments.forwarded {
        "PREROUTING"
    } else {
        "OUTPUT"
    };
    rules.push(words(&format!("-A {hook} -p tcp -j {CHAIN}")));
    rules
}

/// Is anything said about which traffic is the gateway's own?
fn is_excluded(arguments: &Arguments) -> bool {
    arguments.uid.is_some() || arguments.gid.is_some() || arguments.mark.is_some()
}

/// The script that `print` prints.
fn script(arguments: &Arguments) -> String {
    let mut out = String::from("# Redirects TCP to the gateway. Read it, then run it as root.\n");
    for (tool, ipv6) in [("iptables", false), ("ip6tables", true)] {
        let _ = writeln!(out, "{tool} -t nat -N {CHAIN}");
        for rule in rules(arguments, ipv6) {
            let _ = writeln!(out, "{tool} -t nat {}", rule.join(" "));
        }
    }
    let hook = if arguments.forwarded {
        "PREROUTING"
    } else {
        "OUTPUT"
    };
    out.push_str("# To undo:\n");
    for tool in ["iptables", "ip6tables"] {
        let _ = writeln!(
            out,
            "# {tool} -t nat -D {hook} -p tcp -j {CHAIN}; {tool} -t nat -F {CHAIN}; {tool} -t nat -X {CHAIN}"
        );
    }
    out
}

/// `pointsman iptables`: prints the rules, or checks whether they are in place (exit 1 when not).
pub(super) fn command(arguments: &Arguments) -> ExitCode {
    match arguments.action {
        Action::Print if !arguments.forwarded && !is_excluded(arguments) => {
            eprintln!(
                "pointsman: name what tells the gateway's own traffic apart: --uid, --gid or --mark. \
                 Without it these rules would redirect the gateway to itself"
            );
            exit::wrong_use()
        }
        Action::Print => {
            output::print(format_args!("{}", script(arguments)));
            ExitCode::SUCCESS
        }
        Action::Check => check(arguments),
    }
}

fn check(arguments: &Arguments) -> ExitCode {
    let mut complete = true;
    for (tool, ipv6) in [("iptables", false), ("ip6tables", true)] {
        for mut rule in rules(arguments, ipv6) {
            let text = rule.join(" ");
            if let Some(verb) = rule.first_mut() {
                *verb = "-C".to_owned();
            }
            let status = Command::new(tool).args(["-t", "nat"]).args(&rule).output();
            let verdict = match &status {
                Ok(output) if output.status.success() => "ok     ",
                // 3 and 4: the kernel or a missing privilege kept iptables from looking.
                Ok(output) if !matches!(output.status.code(), Some(3 | 4) | None) => "missing",
                Ok(_) | Err(_) => "unknown",
            };
            complete &= verdict == "ok     ";
            output::say!("{verdict}  {tool} -t nat {text}");
            if let Ok(output) = &status
                && verdict == "unknown"
            {
                let why = String::from_utf8_lossy(&output.stderr);
                output::say!("         {}", why.lines().next().unwrap_or_default());
                break;
            }
            if let Err(error) = status {
                output::say!("         {tool} cannot be run: {error}");
                break;
            }
        }
    }
    if complete {
        output::say!("all rules are in place");
        ExitCode::SUCCESS
    } else {
        output::say!(
            "not all rules are in place; `pointsman iptables print` shows them (checking needs root)"
        );
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_traffic_is_left_alone_and_both_families_are_there() {
        let script = script(&Arguments {
            action: Action::Print,
            capture_port: 15001,
            uid: Some(1337),
            gid: None,
            mark: None,
            forwarded: false,
        });
        let lines: Vec<&str> = script.lines().collect();
        let at = |line: &str| {
            lines
                .iter()
                .position(|it| *it == line)
                .unwrap_or_else(|| panic!("{line}\n{script}"))
        };
        for tool in ["iptables", "ip6tables"] {
            let own = at(&format!(
                "{tool} -t nat -A POINTSMAN -m owner --uid-owner 1337 -j RETURN"
            ));
            let redirect = at(&format!(
                "{tool} -t nat -A POINTSMAN -p tcp -j REDIRECT --to-ports 15001"
            ));
            assert!(own < redirect);
        }
    }
}
