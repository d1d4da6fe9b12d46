#!/usr/bin/env bash
# Checks the files for running the service: systemd accepts the units and rates their exposure as
# low, the program works and enters its sandbox under the unit's filter, and a static program runs
# in an empty root and in the container image. The Kubernetes manifests are valid, the parts of the
# job make one result, and the probes of the server and its prober succeed.
set -euo pipefail
cd "$(dirname "$0")/.."

# The exposure by systemd-analyze security, from 0 (a service that can do nothing) to 10.
exposure_max=1.2

# The limit for each test program, which takes about a second.
wait_max=5m

step() {
  printf '== %s\n' "$*"
  "$@"
}

# Some developers lack these tools; in the project's checks they are required.
for tool in systemd-analyze strace readelf; do
  if ! command -v "$tool" >/dev/null; then
    printf '%s is not installed: the files for service managers are not checked\n' "$tool" >&2
    [[ -z ${RESOUND_REQUIRE_TOOLS:-} ]]
    exit
  fi
done

# Built as in scripts/container/Containerfile, but without optimisation.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS='-C target-feature=+crt-static'
step cargo build --locked --target "$host" --target-dir target/static
unset RUSTFLAGS
program=$PWD/target/static/$host/debug/resound

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# systemd-analyze exits with 0 after warnings, so any output is a failure. A missing program is an
# error.
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

# The program needs no interpreter and no library.
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
if command -v buildah >/dev/null; then
  step timeout "$wait_max" scripts/container/check.sh "$program"
else
  printf 'buildah is not installed: the image is not checked\n' >&2
  [[ -z ${RESOUND_REQUIRE_TOOLS:-} ]]
fi
if python3 -c 'import kubernetes_validate, yaml' 2>/dev/null; then
  step timeout "$wait_max" python3 -B scripts/deploy/check_manifest.py "$program"
else
  printf 'the Python module kubernetes_validate is missing: the manifest is not checked\n' >&2
  [[ -z ${RESOUND_REQUIRE_TOOLS:-} ]]
fi
