#!/usr/bin/env bash
# Is this project's server different from one on tokio, for short messages over TCP? `resound
# compare` answers: 11 rounds, each with a run of A (resound serve), of B (tokio's current-thread
# runtime, benches/peers) and of A again, with 64 bytes in flight on each of 64 connections. The
# server runs on one CPU and the generator on another, if there are two. Builds what is missing, then
# takes about a minute.
#
# scripts/measure/tokio.sh [FLAG OF compare]...     such as -o docs/examples/tokio.html
#
# RESOUND and TOKIO name other builds.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ -z ${RESOUND:-} ]]; then
  cargo build --quiet --release --locked
  RESOUND=target/release/resound
fi
if [[ -z ${TOKIO:-} ]]; then
  cargo build --quiet --release --locked --manifest-path benches/peers/Cargo.toml --target-dir target/peers
  TOKIO=target/peers/release/peer-tokio
fi
addr=127.0.0.1:7107
server=() generator=()
# The CPUs that this process may use, such as 0-1 or 0,2.
cpus=$(taskset -cp $$ | sed 's/.*: //')
if [[ $cpus == *[,-]* ]]; then
  server=(taskset -c "${cpus%%[,-]*}")
  generator=(-A "${cpus##*[,-]}")
fi
# A run takes 1.3 s, and 33 of them less than this even if servers start slowly.
timeout --foreground 110 "$RESOUND" compare "tcp://$addr" \
  --serve-a "exec ${server[*]} $(printf %q "$RESOUND") serve -q tcp://$addr" \
  --serve-b "exec ${server[*]} $(printf %q "$TOKIO") tcp $addr" \
  --control "${generator[@]}" -c 64 -d 1 -l 64 "$@"
