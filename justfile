# What CI runs, and what a developer runs; the same lines. `just` lists them.
# Tools: just, cargo-deny 0.20, python3, what `just bench-smoke` compares with (nginx, haproxy) and
# h2load (Debian's nghttp2-client).

set positional-arguments

_list:
    @just --list --unsorted

# Everything CI checks, in its order
ci: fmt-check clippy doc deny fuzz-check test docs demo-smoke bench-smoke

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

# The fuzz targets still compile; their corpora are replayed by the tests of crates/wire
fuzz-check:
    cargo check --locked --manifest-path fuzz/Cargo.toml

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

# Each row of the side-by-side measurement runs through; the figures are not judged
bench-smoke:
    #!/usr/bin/env bash
    set -euo pipefail
    # Debug builds, which the tests have made most of: what is checked is that the rows work.
    cargo build --locked --workspace --bins
    # Not yet: h2-h1, h2-h2, grpc-unary, latency-h2.
    rows=(http-small http-realistic rules-1 rules-10 rules-100 http-1mib http-100mib upload-1mib)
    rows+=(latency-h1 idle-10k tcp-connect tcp-bulk sni hosts-100k)
    "${CARGO_TARGET_DIR:-target}"/debug/side-by-side --strict --rounds 1 --seconds 0.3 --warm-up 0.1 --hosts 2000 --idle 500 \
        "${rows[@]/#/--row=}"

# Measure side by side with the proxies found on this machine, as docs/performance.md does
bench *options:
    cargo build --locked --release -p pointsman-gateway -p pointsman-benches
    cargo run --locked --release -q -p pointsman-benches -- "$@"

# The sample shop and a gateway
demo:
    cargo run -- demo

# Fuzz one target (nightly, cargo-fuzz): just fuzz request_head -- -max_total_time=60
fuzz target *options:
    cargo +nightly fuzz run "$@"
