#!/usr/bin/env bash
# Everything that must pass before a change lands: formatting, lints, docs, tests, and benches as
# smoke tests.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  printf '== %s\n' "$*"
  "$@"
}

# The published crate has all that its program, its library and its pages need, and nothing that
# needs the repository.
packaged() {
  local list file
  list=$(cargo package --locked --allow-dirty --list --quiet)
  for file in Cargo.toml Cargo.lock build.rs README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE \
    src/lib.rs src/main.rs src/report/schema.json docs/serve.md scripts/many-hosts.sh \
    scripts/systemd/resound.service scripts/kubernetes/serve.yaml; do
    grep -qxF "$file" <<<"$list" || { printf '%s is not packaged\n' "$file" >&2; return 1; }
  done
  if grep -E '^(tests|scripts/(deploy|measure)|benches/peers|proptest-regressions|target|\.ci)/' <<<"$list"; then
    printf 'these files need the repository, and are packaged\n' >&2
    return 1
  fi
}

step cargo fmt --all --check
step packaged
step cargo clippy --locked --all-targets -- -D warnings
step cargo clippy --locked --lib --examples --no-default-features -- -D warnings
step cargo fmt --manifest-path benches/peers/Cargo.toml --check
step cargo clippy --locked --manifest-path benches/peers/Cargo.toml --target-dir target/peers -- -D warnings
step cc -std=gnu11 -fsyntax-only -Wall -Wextra -Werror benches/peers/c/*.c
# The imports and the command lines of the measuring scripts.
step scripts/compare.sh --help >/dev/null
step scripts/count.sh --help >/dev/null
step scripts/fuzz.sh --help >/dev/null
step env RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
step env RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --no-default-features --lib
step cargo test --locked
# Clients must not notice the sandbox.
step env RESOUND_TEST_SERVE_FLAGS=--sandbox cargo test --locked --test it -- \
  interop:: accept:: life:: metrics:: supervised:: trains:: --skip bench:: --skip ping::
step cargo test --locked --benches
# The first command of the README.
step cargo run --release -- bench -t 2s
# A comparison with another server, with few messages.
step cargo build --locked --manifest-path benches/peers/Cargo.toml --target-dir target/peers --bin peer-tokio
step env TOKIO=target/peers/debug/peer-tokio \
  scripts/measure/tokio.sh --rounds 1 -n 2000 --warmup 0 --timeout 50s
step scripts/check-deploy.sh
