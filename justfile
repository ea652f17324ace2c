# What CI runs, and what a developer runs; the same lines. `just` lists them.
# Tools: just, cargo-deny 0.20, python3, what `just bench-smoke` compares with (nginx, haproxy) and
# h2load (Debian's nghttp2-client); valgrind for `just instructions`; llvm-profdata (llvm-22) for `just guided`.

set positional-arguments

_list:
    @just --list --unsorted

# Everything CI checks, in its order
ci: fmt-check clippy doc deny fuzz-smoke test docs demo-smoke interop bench-smoke guided-smoke instructions

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

# The build that is guided by a profile works: made with settings that compile fast, as nobody runs it
guided-smoke:
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/guided-smoke" CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
        just guided 0.3

# No step of a request takes more instructions than its baseline (--update writes it anew)
instructions *options:
    cargo run --locked --release -q -p pointsman-benches --example instructions -- "$@"

# Measure side by side with the proxies found on this machine, as docs/performance.md does
bench *options:
    cargo build --locked --release -p pointsman-gateway -p pointsman-benches
    cargo run --locked --release -q -p pointsman-benches -- "$@"

# Build target/guided/pointsman, which the compiler has laid out for what the gateway does under load
guided seconds="2":
    #!/usr/bin/env bash
    set -euo pipefail
    host=$(rustc -vV | sed -n 's/^host: //p')
    llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    profdata=${LLVM_PROFDATA:-$(command -v "llvm-profdata-$llvm" ||
        ls "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" 2>/dev/null)} || {
        echo "llvm-profdata of LLVM $llvm is missing: apt install llvm-$llvm, or rustup component add llvm-tools" >&2
        exit 1
    }
    folder=$PWD/${CARGO_TARGET_DIR:-target}/guided
    case ${CARGO_TARGET_DIR:-} in /*) folder=$CARGO_TARGET_DIR/guided ;; esac
    # From the start: crates that were compiled for an older profile would be taken for up to date.
    rm -rf "$folder"
    mkdir -p "$folder"
    # With --target, so that build scripts and macros are left alone. Encoded, as folders may have blanks.
    build() {
        CARGO_ENCODED_RUSTFLAGS="$(tr ' ' '\037' <<<"${RUSTFLAGS:+$RUSTFLAGS }" | tr -d '\n')$1" cargo build --locked --release --target "$host" --target-dir "$folder" -p pointsman-gateway
        cp "$folder/$host/release/pointsman" "$folder/pointsman$2"
    }
    build "-Cprofile-generate=$folder/raw" -instrumented
    # Every kind of traffic for a moment; the runner stops the gateway as an operator would, which writes the profile.
    rows=(http-small http-realistic rules-10 http-1mib upload-1mib http-100mib h2-h1 h2-realistic h2-h2 grpc-unary tcp-connect tcp-bulk sni)
    LLVM_PROFILE_FILE="$folder/raw/%p.profraw" cargo run --locked --release -q -p pointsman-benches -- \
        --pointsman "$folder/pointsman-instrumented" --proxy pointsman --strict \
        --rounds 1 --seconds {{seconds}} --warm-up 0.2 $(printf -- '--row %s ' "${rows[@]}")
    "$profdata" merge -o "$folder/profile" "$folder"/raw/*.profraw
    # `--version` writes a profile too; the one of the load has functions that ran a million times.
    "$profdata" show "$folder/profile" | awk '/^Maximum function count/ { seen = $4 >= 10000 } END { exit !seen }' || {
        echo "the gateway left no profile of the load" >&2
        exit 1
    }
    build "-Cprofile-use=$folder/profile" ""
    "$folder/pointsman" --version

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
