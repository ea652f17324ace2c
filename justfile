# What CI runs, and what a developer runs; the same lines. `just` lists them.
# Tools: just, cargo-deny 0.20, python3, what `just bench-smoke` compares with (nginx, haproxy) and
# h2load (Debian's nghttp2-client); valgrind for `just instructions`.

set positional-arguments

_list:
    @just --list --unsorted

# Everything CI checks, in its order
ci: fmt-check clippy doc deny fuzz-smoke test docs demo-smoke interop bench-smoke instructions

# Format all code
fmt:
    cargo fmt --all

# Is all code formatted?
fmt-check:
    cargo fmt --all --check

# Lints; a warning is an error
clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# The API documentation builds without a warning
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# Licences, duplicate and banned crates, sources
deny:
    cargo deny --locked check licenses bans sources

# Every fuzz target a fixed number of times, beginning with its corpus
fuzz-smoke: _fuzz-build
    #!/usr/bin/env bash
    set -euo pipefail
    # Nothing found before: the same inputs on every run, so that a failure can be repeated.
    export FOUND=$(mktemp -d)
    trap 'rm -rf "$FOUND"' EXIT
    for source in fuzz/fuzz_targets/*.rs; do
        target=$(basename "$source" .rs)
        if ! just _fuzz-run "$target" -runs=100000 -seed=1 -max_len=2048 -timeout=60 >"$FOUND/log" 2>&1; then
            tail -n 40 "$FOUND/log"
            exit 1
        fi
        echo "$target: $(grep DONE "$FOUND/log")"
    done

# All tests, by the command that README.md gives
test:
    #!/usr/bin/env bash
    set -euo pipefail
    command=$(sed -n '/<!-- test -->/,/<!-- \/test -->/{/^[^`<]/p}' README.md)
    [ -n "$command" ] || { echo "README.md names no test command" >&2; exit 1; }
    echo "+ $command"
    eval "$command"

# Every command in the documents prints what stands beside it, and their lists are complete
docs:
    cargo build --locked
    python3 docs/check.py --tables
    python3 docs/check.py --rules
    python3 docs/check.py README.md docs/*.md

# The demo starts, and every command it prints works
demo-smoke:
    cargo build --locked
    python3 docs/check.py --demo

# Clients and servers that others wrote, through the gateway
interop:
    cargo build --locked
    python3 interop/run.py

# Each row of the side-by-side measurement runs through; the figures are not judged
bench-smoke:
    #!/usr/bin/env bash
    set -euo pipefail
    # Debug builds, which the tests have made most of: what is checked is that the rows work.
    cargo build --locked --workspace --bins
    "${CARGO_TARGET_DIR:-target}"/debug/side-by-side --strict --rounds 1 --seconds 0.3 --warm-up 0.1 --hosts 2000 --idle 500

# No step of a request takes more instructions than its baseline (--update writes it anew)
instructions *options:
    cargo run --locked --release -q -p pointsman-benches --example instructions -- "$@"

# Measure side by side with the proxies found on this machine, as docs/performance.md does
bench *options:
    cargo build --locked --release -p pointsman-gateway -p pointsman-benches
    cargo run --locked --release -q -p pointsman-benches -- "$@"

# The sample shop and a gateway
demo:
    cargo run -- demo

# Fuzz one target until it fails: just fuzz request_head -max_total_time=60
fuzz target *options: _fuzz-build
    just _fuzz-run "$@"

# Keeps the smallest part of what was found that reaches as much; into the corpus, if it is worth it
fuzz-minimize target: _fuzz-build
    mkdir -p fuzz/target/minimal/{{target}}
    just _fuzz-run {{target}} -merge=1 fuzz/target/minimal/{{target}}

# What cargo-fuzz would ask of a nightly compiler, a stable one does too: LLVM's pass for coverage, which
# libFuzzer follows. (Its sanitizers would need nightly; there is no unsafe code to look after.)
_fuzz-build:
    #!/usr/bin/env bash
    set -euo pipefail
    host=$(rustc -vV | sed -n 's/^host: //p')
    level="-Cllvm-args=-sanitizer-coverage"
    # With --target, so that build scripts and macros are left alone.
    RUSTFLAGS="-Cpasses=sancov-module $level-level=4 $level-inline-8bit-counters $level-pc-table $level-trace-compares" \
        cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir fuzz/target

# Found inputs go to $FOUND, which is no part of the repository; those of the corpus are read only
_fuzz-run target *options:
    #!/usr/bin/env bash
    set -euo pipefail
    host=$(rustc -vV | sed -n 's/^host: //p')
    target=$1
    shift
    found=${FOUND:-fuzz/target/found}/$target
    mkdir -p "$found" fuzz/artifacts
    "fuzz/target/$host/release/$target" -artifact_prefix="fuzz/artifacts/$target-" "$@" \
        "$found" "fuzz/corpus/$target"
