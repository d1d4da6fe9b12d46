#!/usr/bin/env bash
# Echo servers side by side, or (--generators) load generators. Markdown on stdout.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: scripts/compare.sh [--rounds N] [--seconds T] [--transport tcp|udp|both] [--generators]

Builds resound and benches/peers, then runs one after the other, N rounds (5) of T seconds (3) each,
interleaved: A B C, A B C, ... The server is pinned to one CPU, the generator to another.

  --transport   of the servers: tcp, udp or both (both)
  --generators  compare generators on one server in place of servers by one generator
TEXT
}

rounds=5 seconds=3 transports=(tcp udp) mode=servers
while (($#)); do
  case $1 in
    --rounds) rounds=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    --transport)
      case ${2-} in
        tcp | udp) transports=("$2") ;;
        both) ;;
        *) usage >&2 && exit 2 ;;
      esac
      shift
      ;;
    --generators) mode=generators ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
if ! [[ $rounds =~ ^[1-9][0-9]*$ && $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
  usage >&2
  exit 2
fi

bytes=64 held_connections=1000 warm_seconds=0.5
resound=target/release/resound peers=target/peers/release c_peers=target/peers/c
work=$(mktemp -d)
server_pid='' server_addr=''
notes=() failures=0

cleanup() {
  stop_server
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >&2; }

note() {
  say "$*"
  notes+=("$*")
}

build() {
  say 'building'
  cargo build --quiet --release --locked --bin resound --target-dir target
  # In its folder, for its own lock file and settings.
  (cd benches/peers && cargo build --quiet --release --locked --target-dir ../../target/peers)
  if ! command -v cc >/dev/null; then
    note 'left out: the C peers (no C compiler here)'
    rm -rf "$c_peers"
    return
  fi
  mkdir -p "$c_peers"
  local name
  for name in echo_epoll generator_epoll; do
    cc -std=gnu11 -O2 -Wall -Wextra -o "$c_peers/$name" "benches/peers/c/$name.c"
  done
}

# The version of a dependency of the peers, from their lock file.
version() {
  grep -A1 "^name = \"$1\"" benches/peers/Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p'
}

# COMMAND...: on the server's CPU where there are two.
start_server() {
  # Here, for the background job may not have come to it when the file is first read.
  : >"$work/server.out"
  "${on_server_cpu[@]}" "$@" >"$work/server.out" 2>"$work/server.err" &
  server_pid=$!
  local line tries
  for ((tries = 0; tries < 250; tries++)); do
    if read -r line <"$work/server.out"; then
      server_addr=${line#listening *://}
      return
    fi
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.02
  done
  cp "$work/server.err" "$work/error"
  stop_server
  return 1
}

stop_server() {
  [[ $server_pid ]] || return 0
  kill "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=''
}

# Starts the server called $1 for the transport $2.
serve() {
  case $1 in
    resound*) start_server "$resound" serve "$2://127.0.0.1:0" ;;
    C*) start_server "$c_peers/echo_epoll" "$2" 127.0.0.1:0 ;;
    *) start_server "$peers/peer-${1%% *}" "$2" 127.0.0.1:0 ;;
  esac
}

# CPU time of the server's threads so far, in nanoseconds.
server_cpu_ns() {
  # The echoes of its last events, and the ends of the generator's connections.
  sleep 0.1
  cat "/proc/$server_pid/task/"*/schedstat | awk '{ sum += $1 } END { printf "%d", sum }'
}

# COMMAND...: a generator on its CPU; its CPU time goes to $work/times, its output to
# $work/generated.
generate() {
  local TIMEFORMAT='%3U %3S'
  { time "${on_generator_cpu[@]}" "$@" >"$work/generated" 2>"$work/error"; } \
    2>"$work/times"
}

# SECONDS TRANSPORT [OPTION...]: a run of resound bench, which ends as key=value in $work/result.
bench() {
  local seconds=$1 transport=$2
  shift 2
  if ! generate "$resound" bench "$transport://$server_addr" "${bench_options[@]}" \
    -t "${seconds}s" "$@"; then
    # What went wrong is on stderr, or in the document.
    [[ -s $work/error ]] || python3 scripts/compare.py bench "$work/generated" 2>"$work/error" || :
    return 1
  fi
  python3 scripts/compare.py bench "$work/generated" >"$work/result" 2>"$work/error"
}

# Adds what $work/result says to the table: ROUND ROW.
record_result() {
  local pair
  for pair in $(<"$work/result"); do
    record "$1" "$2" "${pair%%=*}" "${pair#*=}"
  done
}

record() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$work/table"; }

result() { tr ' ' '\n' <"$work/result" | sed -n "s/^$1=//p"; }

# WHO WHAT: with the last line that was said about it.
failed() {
  note "$1: $2: $(tail -n 1 "$work/error" 2>/dev/null)"
  failures=$((failures + 1))
}

# ROUND SERVER TRANSPORT, as the two below.
measure_server() {
  say "$3, round $1 of $rounds: $2"
  [[ $3 != tcp ]] || measure_resident "$1" "$2" || failed "$2, round $1" 'resident memory'
  stop_server
  measure_echoes "$@" || failed "$2, $3, round $1" 'echoes'
  stop_server
}

# On a server of its own: what a load leaves behind is not what connections cost.
measure_resident() {
  local resident_kib
  serve "$2" tcp || return
  resident_kib=$(python3 scripts/compare.py hold "$server_addr" "$server_pid" \
    "$held_connections" 2>"$work/error") || return
  record "$1" "$2" resident_kib "$resident_kib"
}

measure_echoes() {
  local before_ns after_ns
  serve "$2" "$3" && bench "$warm_seconds" "$3" || return
  before_ns=$(server_cpu_ns)
  bench "$seconds" "$3" || return
  after_ns=$(server_cpu_ns)
  record_result "$1" "$2"
  record "$1" "$2" server_cpu_ns $(((after_ns - before_ns) / $(result messages)))
}

measure_generator() {
  local round=$1 generator=$2
  local load=("$server_addr" "$connections" "$bytes" "$seconds")
  say "round $round of $rounds: $generator"
  case $generator in
    'resound bench') bench "$seconds" tcp ;;
    'resound bench --no-verify') bench "$seconds" tcp --no-verify ;;
    blocking*) generate "$peers/blocking-generator" "${load[@]}" ;;
    C*) generate "$c_peers/generator_epoll" "${load[@]}" ;;
  esac || { failed "$generator, round $round" 'run failed' && return; }
  [[ $generator == resound* ]] || cp "$work/generated" "$work/result"
  record_result "$round" "$generator"
  record "$round" "$generator" generator_cpu_ns "$(awk -v messages="$(result messages)" \
    '{ printf "%d", ($1 + $2) * 1e9 / messages }' "$work/times")"
}

# TRANSPORT: sets how many peers there are, and what resound bench is asked for.
set_load() {
  connections=64
  [[ $1 == tcp ]] || connections=16
  bench_options=(-c "$connections" -l "$bytes" -d 1 --warmup 0s -J)
}

pin() {
  local cpus
  read -r -a cpus < <(python3 scripts/compare.py cpus)
  on_server_cpu=() on_generator_cpu=()
  pinning='not pinned'
  if ((${#cpus[@]} < 2)); then
    note 'one CPU only: server and generator share it, and the figures are of the pair'
  elif ! command -v taskset >/dev/null; then
    note 'not pinned: no taskset here'
  else
    on_server_cpu=(taskset -c "${cpus[0]}") on_generator_cpu=(taskset -c "${cpus[1]}")
    pinning="server on CPU ${cpus[0]}, generator on CPU ${cpus[1]}"
  fi
}

heading() {
  local model
  model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
  printf '%s, %s, Linux %s, %s CPUs, %s, load %s; resound %s, %s: %s\n' "$(date -u +%F)" \
    "${model:-$(uname -m)}" "$(uname -r)" "$(nproc)" "$pinning" "$(cut -d ' ' -f 1 /proc/loadavg)" \
    "$(git describe --always --dirty 2>/dev/null || echo unknown)" "$(rustc --version)" \
    "\`$command\`"
}

# LINE: the table of what was recorded, below the line.
print_table() {
  printf '\n%s\n\n' "$1"
  python3 scripts/compare.py table "$work/table"
}

print_notes() {
  local line
  echo
  echo "Cells: median (lowest–highest) of $rounds rounds, × the median of the rounds' ratios" \
    'to the first row.'
  [[ $mode == generators ]] ||
    echo "Server CPU: of all its threads, over the run and the ends of its connections."
  for line in ${notes[@]+"${notes[@]}"}; do
    echo "- $line"
  done
}

# Those that run here, to $servers.
find_servers() {
  local server
  servers=()
  for server in resound "tokio $(version tokio)" "smol $(version smol)" \
    "monoio $(version monoio) (io_uring)" 'C (epoll, recvmmsg)'; do
    [[ $server != C* || -x $c_peers/echo_epoll ]] || continue
    if serve "$server" tcp; then
      servers+=("$server")
      stop_server
    else
      note "left out: $server ($(tail -n 1 "$work/server.err"))"
    fi
  done
}

compare_servers() {
  local transport round server
  find_servers
  heading
  for transport in "${transports[@]}"; do
    set_load "$transport"
    : >"$work/table"
    for ((round = 1; round <= rounds; round++)); do
      for server in "${servers[@]}"; do
        measure_server "$round" "$server" "$transport"
      done
    done
    print_table "${transport^^}, by \`resound bench ${bench_options[*]} -t ${seconds}s\`:"
  done
  print_notes
}

compare_generators() {
  local round generator server=resound
  local generators=('resound bench' 'resound bench --no-verify' 'blocking threads, std')
  if [[ -x $c_peers/generator_epoll ]]; then
    generators+=('C, epoll, input and output alone')
    server='C (epoll)'
  fi
  set_load tcp
  serve "$server" tcp
  "$peers/blocking-generator" "$server_addr" "$connections" "$bytes" "$warm_seconds" >/dev/null
  heading
  : >"$work/table"
  for ((round = 1; round <= rounds; round++)); do
    for generator in "${generators[@]}"; do
      measure_generator "$round" "$generator"
    done
  done
  print_table "TCP, $connections connections × $bytes B, one in flight each, server $server:"
  print_notes
}

command="scripts/compare.sh --rounds $rounds --seconds $seconds"
ulimit -n "$(ulimit -H -n)"
pin
build
if [[ $mode == generators ]]; then
  command+=' --generators'
  compare_generators
else
  ((${#transports[@]} == 2)) || command+=" --transport ${transports[0]}"
  compare_servers
fi
((failures == 0))
