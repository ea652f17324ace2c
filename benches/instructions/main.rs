//! How many instructions the pure part of a request takes, held against `baseline.txt`.
//!
//! Counts do not drift with the machine as times do, so a few percent mean something even where
//! nothing is quiet. Valgrind counts: `callgrind`, for each case in a process of its own, and only
//! what lies between the first call and the last. It also shows every program the same processor,
//! so that glibc and memchr choose the same routines everywhere; what is left is the compiler and
//! the C library, and the keys of hash tables: now and then they make a lookup probe once more, so
//! the least of several runs counts.
//!
//! | option | |
//! | --- | --- |
//! | none | measure, compare, fail when a case has grown by more than [`TOLERANCE`] |
//! | `--update` | write the baseline anew |
//! | `--run CASE` | what is counted: run one case |
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output")]

mod cases;
#[path = "../micro/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use cases::{CASES, Case};

/// The product's allocator, which has a share in these figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Growth that fails, percent. Most runs agree to the instruction, but another C library or a patch
/// of the compiler may be worth some.
const TOLERANCE: f64 = 4.0;
/// Runs of which the least counts: all for the baseline, as many as it takes for a comparison.
const RUNS: usize = 6;
/// Calls counted. More of them only take longer: the count is exact.
const CALLS: u64 = 100;
/// Calls before them, which allocate and fill what is kept.
const FIRST_CALLS: u64 = 3;

fn main() -> anyhow::Result<()> {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let baseline = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions/baseline.txt");
    match options.as_slice() {
        [] => compare(&baseline),
        ["--update"] => update(&baseline),
        ["--run", name] => {
            let case = CASES.iter().find(|case| case.name == *name);
            let mut call = (case.context("no such case")?.prepare)();
            repeat(FIRST_CALLS, &mut *call);
            counted::calls(CALLS, &mut *call);
            Ok(())
        }
        _ => bail!("usage: instructions [--update]"),
    }
}

/// Found by its name: counting begins and ends with it.
mod counted {
    #[inline(never)]
    pub(super) fn calls(number: u64, call: &mut dyn FnMut()) {
        super::repeat(number, call);
        // What comes after a call in tail position would be counted too.
        std::hint::black_box(number);
    }
}

fn repeat(number: u64, call: &mut dyn FnMut()) {
    for _ in 0..number {
        call();
    }
}

/// Instructions of one call.
fn count(case: &Case) -> anyhow::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=*counted::calls*",
    ]);
    valgrind
        .arg(std::env::current_exe()?)
        .args(["--run", case.name]);
    let output = valgrind
        .output()
        .context("valgrind is not installed: it is in the Debian package of that name")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let total = said
        .lines()
        .find_map(|line| {
            line.split_once("Collected : ")?
                .1
                .trim()
                .parse::<u64>()
                .ok()
        })
        .filter(|total| output.status.success() && *total > 0);
    let total =
        total.with_context(|| format!("{}: callgrind counted nothing:\n{said}", case.name))?;
    Ok(total / CALLS)
}

/// The least of [`RUNS`] runs, or the first that is good enough.
fn least(case: &Case, enough: impl Fn(u64) -> bool) -> anyhow::Result<u64> {
    let mut least = u64::MAX;
    for _ in 0..RUNS {
        least = least.min(count(case)?);
        if enough(least) {
            break;
        }
    }
    Ok(least)
}

fn compare(path: &PathBuf) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut baseline = parse(&text)?;
    let mut grown = Vec::new();
    println!("{:24} {:>9} {:>9} {:>8}", "", "baseline", "here", "");
    for case in CASES {
        let Some(before) = baseline.remove(case.name) else {
            bail!("{} is not in the baseline; {HOW}", case.name);
        };
        // Counts stay far below 2^53.
        #[expect(clippy::cast_precision_loss)]
        let growth = |here: u64| (here as f64 / before as f64 - 1.0) * 100.0;
        let here = least(case, |here| growth(here) <= TOLERANCE)?;
        let percent = growth(here);
        println!("{:24} {before:>9} {here:>9} {percent:>+7.1}%", case.name);
        if percent > TOLERANCE {
            grown.push(case.name);
        }
    }
    if let Some(name) = baseline.keys().next() {
        bail!("{name} is in the baseline and no case; {HOW}");
    }
    if !grown.is_empty() {
        let (grown, tools, of) = (grown.join(", "), tools(), made_with(&text));
        bail!(
            "more than {TOLERANCE} % more instructions: {grown}\nThe baseline was made with {of}; \
             here is {tools}. If the growth is worth it, {HOW}"
        );
    }
    Ok(())
}

const HOW: &str = "`just instructions --update` writes the baseline anew";

fn update(path: &PathBuf) -> anyhow::Result<()> {
    let mut text = format!(
        "# Instructions of one call, as `just instructions` counts them.\n# Made with {}.\n",
        tools()
    );
    for case in CASES {
        let line = format!("{:24} {}\n", case.name, least(case, |_| false)?);
        print!("{line}");
        text.push_str(&line);
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<&str, u64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let figures = lines.map(|line| {
        let (name, count) = line.split_once(' ').context("a name and a count")?;
        let count = count.trim().parse().with_context(|| line.to_owned())?;
        ensure!(count > 0, "{name} costs nothing");
        Ok((name, count))
    });
    figures.collect()
}

fn made_with(baseline: &str) -> &str {
    let mut lines = baseline.lines();
    let line = lines.find_map(|line| line.strip_prefix("# Made with "));
    line.map_or("?", |line| line.trim_end_matches('.'))
}

/// What the counts depend on beside the code.
fn tools() -> String {
    let said = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        let text = text.unwrap_or_default();
        text.split('(').next().unwrap_or_default().trim().to_owned()
    };
    format!(
        "{}, {}, {}",
        said("rustc"),
        said("valgrind"),
        std::env::consts::ARCH
    )
}
