#!/usr/bin/env bash
# Runs the property tests with many cases, target by target, and prints how many passed.
#
# It uses release code with debug assertions (`[profile.fuzz]`), and rounds of a known number of
# cases with a new seed each. A round that fails or does not end stops its target.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/fuzz.sh [--minutes M] [--cases N] [TARGET...]

Runs each TARGET for M minutes (default 10) or N cases (default 10000000), whichever comes first:
  endpoints  texts of endpoints
  arguments  numbers, expressions and whole command lines
  streams    the byte mover, copying and splicing
  packets    the packet mover, its held replies, and the queue of trains
  generator  the load generator's matching of echoes
  control    control messages of sockets
  program    random bytes to the running program, 256 MiB per round
Without a TARGET, runs all. Exits with 0 if all passed, 1 if a case failed, and 2 for a wrong
command line.
END
}

# Refuses a wrong command line: one line, exit code 2.
refuse() {
  printf 'fuzz.sh: %s; try scripts/fuzz.sh --help\n' "$1" >&2
  exit 2
}

# Prints the tests of a target: the test binary and the filter of each, one per line.
tests_of() {
  case $1 in
  endpoints) echo 'lib endpoint::properties' ;;
  arguments)
    echo 'lib units::properties'
    echo 'lib measured::assert::properties'
    echo 'lib measured::distribution::percentile::properties'
    echo 'bin cli::properties'
    ;;
  streams) echo 'lib echo::stream::tests::properties' ;;
  packets)
    echo 'lib echo::datagram::tests::properties'
    echo 'lib echo::datagram::tests::pressure::properties'
    echo 'lib socket::batch::queue::tests::properties'
    ;;
  generator)
    echo 'lib load::datagram::tests::properties'
    echo 'lib load::stream::tests::properties'
    ;;
  control) echo 'lib socket::sys::control::tests::properties' ;;
  program) echo 'it random_bytes::' ;;
  *) return 1 ;;
  esac
}

minutes=10 cases_max=10000000 targets=()
while (($#)); do
  case $1 in
  --minutes | --cases)
    [[ ${2-} =~ ^[1-9][0-9]{0,11}$ ]] || refuse "expected a whole number after $1, such as $1 10"
    if [[ $1 == --minutes ]]; then minutes=$2; else cases_max=$2; fi
    shift
    ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    tests_of "$1" >/dev/null || refuse "no target '$1'; expected endpoints, arguments, streams, \
packets, generator, control or program"
    targets+=("$1")
    ;;
  esac
  shift
done
((${#targets[@]})) || targets=(endpoints arguments streams packets generator control program)

# The test binaries, from the output of cargo after the build.
declare -A binaries
built=$(cargo test --locked --profile fuzz --lib --bin resound --test it --no-run 2>&1) || {
  printf '%s\n' "$built" >&2
  exit 1
}
for pair in 'lib=src/lib.rs' 'bin=src/main.rs' 'it=tests/it/main.rs'; do
  path=$(sed -n "s|^ *Executable .*${pair#*=} (\(.*\))$|\1|p" <<<"$built")
  [[ -x $path ]] || refuse "cargo names no test binary of ${pair#*=}"
  binaries[${pair%%=*}]=$path
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs one round. Arguments: the binary, the filter, the cases of each property, the seed. Leaves
# the output in the log, sets `ran` (cases) and `failed`, and adds to `mib`.
run_round() {
  local status=0 passed
  ran=0 failed=0
  PROPTEST_CASES=$3 PROPTEST_RNG_SEED=$4 RESOUND_FUZZ_MIB=256 \
    timeout -k 10 $((minutes * 60 + 600)) "${binaries[$1]}" "$2" --nocapture >"$log" 2>&1 ||
    status=$?
  passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$log")
  if ((status == 0 && ${passed:-0} > 0)); then
    ran=$((passed * $3))
    # The tests of the program print the number of their cases and bytes.
    if [[ $1 == it ]]; then
      ran=$(($(sed -n 's/^.*: \([0-9]*\) cases, .*/\1/p' "$log" | paste -sd+)))
      mib=$((mib + $(sed -n 's/^.* cases, \([0-9]*\) MiB$/\1/p' "$log" | paste -sd+)))
    fi
    return
  fi
  failed=1
  printf '\n%s %s failed (exit status %d) with %d cases per property; to repeat:\n' "$1" "$2" \
    "$status" "$3"
  printf '  PROPTEST_CASES=%d PROPTEST_RNG_SEED=%s RESOUND_FUZZ_MIB=256 cargo test --profile fuzz' \
    "$3" "$4"
  case $1 in lib) printf ' --lib' ;; bin) printf ' --bin resound' ;; it) printf ' --test it' ;; esac
  printf ' %s\n' "$2"
  grep -aE 'panicked|minimal failing input|Test failed' "$log" | cut -c1-2000 || true
  ((status < 124)) || echo '  it did not end'
}

table='' is_failed=0
for target in "${targets[@]}"; do
  mapfile -t tests < <(tests_of "$target")
  start=$SECONDS cases=0 failures=0 mib=0 round_cases=1000
  while ((failures == 0 && cases < cases_max && SECONDS - start < minutes * 60)); do
    round_start=$SECONDS
    for test in "${tests[@]}"; do
      read -r binary filter <<<"$test"
      seed=$(od -An -N8 -tu8 /dev/urandom | tr -d ' ')
      run_round "$binary" "$filter" "$round_cases" "$seed"
      cases=$((cases + ran)) failures=$((failures + failed))
    done
    # A round takes some seconds: long enough to make the start negligible, short enough to end on
    # time.
    if ((SECONDS - round_start < 8)); then round_cases=$((round_cases * 2)); fi
  done
  printf '%s: %d cases in %d s, %d failures' "$target" $cases $((SECONDS - start)) $failures
  if ((mib > 0)); then printf ', %d MiB of random bytes' $mib; fi
  echo
  table+=$(printf '%-10s %12d %9d %9d' "$target" $cases $((SECONDS - start)) $failures)$'\n'
  ((failures == 0)) || is_failed=1
done
printf '\n%-10s %12s %9s %9s\n%s' target cases seconds failures "$table"
exit $is_failed
