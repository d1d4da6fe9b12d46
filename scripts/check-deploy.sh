#!/usr/bin/env bash
# What ships for running the service: that systemd takes the units and finds them tight, that their
# filter lets the program work and enter its sandbox, and that a static program runs where there is
# nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

# Of 10, by systemd-analyze security: 0 is a service that can do nothing.
exposure_max=2.0

# For each of the programs that speak to the service, which take a second.
wait_max=5m

step() {
  printf '== %s\n' "$*"
  "$@"
}

# Not every developer has these; in the project's checks they have to be there.
for tool in systemd-analyze strace readelf; do
  if ! command -v "$tool" >/dev/null; then
    printf '%s is not installed: what ships for service managers is not checked\n' "$tool" >&2
    [[ -z ${RESOUND_REQUIRE_TOOLS:-} ]]
    exit
  fi
done

# As scripts/container/Containerfile builds it, but without optimisation.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS='-C target-feature=+crt-static'
step cargo build --locked --target "$host" --target-dir target/static
unset RUSTFLAGS
program=$PWD/target/static/$host/debug/resound

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Complaints do not make it fail, and a program that is not there does.
verify() {
  local complaints
  sed "s#^ExecStart=/usr/local/bin/resound#ExecStart=$program#" \
    scripts/systemd/resound.service >"$work/resound.service"
  cp scripts/systemd/resound.socket "$work"
  complaints=$(systemd-analyze verify "$work/resound.service" "$work/resound.socket" 2>&1) ||
    complaints+=" (exit $?)"
  if [[ -n $complaints ]]; then
    printf '%s\n' "$complaints" >&2
    return 1
  fi
}

secure() {
  systemd-analyze security --offline=true --no-pager --threshold="${exposure_max/./}" \
    "$work/resound.service" >"$work/security" || {
    cat "$work/security" >&2
    return 1
  }
  grep 'Overall exposure' "$work/security"
}

# No interpreter and no library: nothing is loaded but itself.
is_static() {
  local needs
  needs=$(readelf --wide --program-headers --dynamic "$program" | grep -E 'INTERP|NEEDED') || return 0
  printf '%s\n' "$needs" >&2
  return 1
}

step verify
step secure
step timeout "$wait_max" python3 -B scripts/deploy/under_filter.py "$program" scripts/systemd/resound.service
step is_static
step timeout "$wait_max" python3 -B scripts/deploy/in_empty_root.py "$program"
step timeout "$wait_max" python3 -B scripts/deploy/in_empty_root.py "$program" --sandbox
