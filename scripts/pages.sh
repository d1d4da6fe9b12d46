#!/usr/bin/env bash
# Makes the example pages in docs/examples from real runs on this machine, with a release build.
# Takes about two minutes. RESOUND names another build.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z ${RESOUND:-} ]]; then
  cargo build --release --locked
  RESOUND=target/release/resound
fi
folder=docs/examples
mkdir -p "$folder"
echo_at=$(mktemp -d)
"$RESOUND" serve -q "unix:$echo_at/socket" tcp://127.0.0.1:0 >"$echo_at/bound" &
server=$!
trap 'kill "$server"; rm -r "$echo_at"' EXIT
until grep -q '^listening tcp' "$echo_at/bound"; do
  kill -0 "$server"
  sleep 0.05
done
endpoint=$(sed -n 's/^listening \(tcp.*\)/\1/p' "$echo_at/bound")

run() {
  printf '== %s\n' "$*"
  local code=0
  "$RESOUND" "$@" >/dev/null || code=$?
  # 1 and 99: the answer is no. The page says so.
  ((code == 0 || code == 1 || code == 99)) || exit "$code"
}

run bench "$endpoint" -c 20 -r 5k -t 20s --label 'an open loop' -o "$folder/bench.html"
run sweep "$endpoint" -c 20 --rate 1k..100k --steps 9 -t 2s -o "$folder/sweep.html"
run compare "$endpoint" --a '--depth 1' --b '--depth 2' -c 8 -o "$folder/compare.html"
