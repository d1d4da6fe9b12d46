#!/usr/bin/env bash
# Makes the example pages in docs/examples from real runs on this machine, with a release build, and
# prints how long each took and how large it is. Takes about two minutes after the build. RESOUND
# names another build.
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

# The page of one run has at most 200 KiB (docs/report.md); those of many runs are kept as small.
page_kib_max=200
run() {
  local name=$1 began=$SECONDS code=0 kib
  shift
  printf '== resound %s\n' "$*"
  "$RESOUND" "$@" -o "$folder/$name.html" >/dev/null || code=$?
  # 1 and 99: the answer is no. The page says so.
  ((code == 0 || code == 1 || code == 99)) || exit "$code"
  kib=$((($(stat -c %s "$folder/$name.html") + 1023) / 1024))
  printf '%s/%s.html: %s KiB in %s s\n' "$folder" "$name" "$kib" "$((SECONDS - began))"
  ((kib <= page_kib_max)) || { printf 'more than %s KiB\n' "$page_kib_max" >&2; exit 1; }
}

SECONDS=0
run bench bench "$endpoint" -c 20 -r 5k -t 20s --label 'an open loop'
run sweep sweep "$endpoint" -c 20 --rate 1k..100k --steps 9 -t 2s
run compare compare "$endpoint" --a '--depth 1' --b '--depth 2' -c 8
printf 'all pages: %s s\n' "$SECONDS"
