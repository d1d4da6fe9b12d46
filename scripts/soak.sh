#!/usr/bin/env bash
# Long runs of the server in release mode, with the report of each.
#
# scripts/soak.sh [--minutes M] [--seed N] [--datagrams N] [--scene chaos|deaf|flood] [-- FLAGS...]
#
# chaos  everything that peers do, for M minutes (tests/chaos); FLAGS are for `resound serve`
# deaf   5,000 peers that send and never read: memory, and the latency of another peer
# flood  N UDP datagrams from forged sources (default 10000000), as root
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0"
}

minutes=10
seed=7007
datagrams=10000000
scene=chaos

wrong() {
  echo "soak.sh: $1" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --minutes | --seed | --datagrams | --scene)
      (($# > 1)) || wrong "'$1' needs a value, as in '--minutes 10' or '--scene flood'"
      declare "${1#--}=$2"
      shift 2
      ;;
    --) shift; break ;;
    -h | --help) usage; exit 0 ;;
    *)
      usage >&2
      wrong "unexpected '$1'"
      ;;
  esac
done
for number in "$minutes" "$seed" "$datagrams"; do
  [[ $number =~ ^(0|[1-9][0-9]*)$ ]] || wrong "'$number' is not a whole number, such as 10"
done

case $scene in
  chaos)
    ((minutes > 0)) || wrong "expected at least one minute"
    test=every_byte_comes_back_unchanged_whatever_the_peers_do
    arguments=()
    # Much longer than the last scenes and the drain may take.
    limit_s=$((minutes * 60 + 300))
    export RESOUND_CHAOS_SECONDS=$((minutes * 60)) RESOUND_CHAOS_SEED=$seed RESOUND_CHAOS_FLAGS="$*"
    ;;
  deaf)
    test=deaf::peers_that_never_read_cost_one_buffer_each_and_delay_no_other_peer
    arguments=(--ignored)
    limit_s=600
    ;;
  flood)
    # Without root, the test would skip and pass.
    ((EUID == 0)) || wrong "only root may forge sources"
    test=flood::a_flood_of_forged_sources_is_counted_takes_no_memory_and_delays_no_client
    arguments=()
    limit_s=3600
    export RESOUND_FLOOD_DATAGRAMS=$datagrams
    ;;
  *)
    wrong "no scene '$scene': expected chaos, deaf or flood"
    ;;
esac

cargo test --locked --release --test chaos --no-run
# With a name that no test has, no test would run, and cargo would report success.
cargo test --locked --quiet --release --test chaos -- --list | grep -x "$test: test" >/dev/null ||
  { echo "soak.sh: no test '$test'" >&2; exit 1; }
# The test runs in its own session, with its own folder for sockets. However this script ends, the
# test, the server and its clients end too, and leave no files.
TMPDIR=$(mktemp -d)
export TMPDIR
setsid --wait timeout --signal=KILL "$limit_s" \
  cargo test --locked --quiet --release --test chaos -- --nocapture --exact "$test" \
  "${arguments[@]}" &
run=$!
end() {
  kill -KILL -- "-$run" 2>/dev/null || true
  wait "$run" 2>/dev/null || true
  rm -rf "$TMPDIR"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
wait "$run"
