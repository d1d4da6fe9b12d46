#!/usr/bin/env bash
# Makes the container image of a static program and runs it with buildah: check.sh PROGRAM. Its
# command serves in its sandbox as a user without rights, its health check succeeds, and it drains on
# SIGTERM. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

wait_max_s=60

# The parts of the image's configuration, a word per line.
configured() {
  buildah inspect --type image --format "{{range $1}}{{println .}}{{end}}" resound | sed '/^$/d'
}

in_image() {
  timeout "$wait_max_s" buildah run --isolation chroot "$container" -- "$@"
}

answers() {
  [[ $("$program" send tcp://127.0.0.1:7007 hello 2>/dev/null) == hello ]]
}

# Runs in namespaces of its own, in which the port is free and this shell has the number 1.
serve() {
  local command check tries server pid
  ip link set lo up
  mapfile -t command < <(configured .Docker.Config.Entrypoint; configured .Docker.Config.Cmd)
  mapfile -t check < <(configured .Docker.Config.Healthcheck.Test | sed 1d)
  printf 'command: %s\nhealth check: %s\n' "${command[*]}" "${check[*]}"
  in_image "${command[@]}" >"$work/out" 2>"$work/log" &
  server=$!
  for ((tries = 0; tries < 10 * wait_max_s; tries++)); do
    answers && break
    sleep 0.1
  done
  answers
  [[ $("$program" send udp://127.0.0.1:7007 hello) == hello ]]
  in_image "${check[@]}" | grep '1 received'
  pid=$(pgrep -f '^/resound serve')
  grep -E '^(Uid|Gid|CapEff|Seccomp):' "/proc/$pid/status"
  grep -qE '^Uid:.65534.65534.65534.65534' "/proc/$pid/status"
  kill -TERM "$pid"
  wait "$server"
  grep '^stats .*tcp_messages_in=' "$work/log"
}

program=$(realpath "$1")
if [[ ${2:-} == --in-namespaces ]]; then
  trap '(($? == 0)) || cat "$work/log" >&2' EXIT
  serve
  exit
fi

work=$(mktemp -d)
export work container
# A storage of its own, which needs no file system in layers.
export CONTAINERS_STORAGE_CONF=$work/storage.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' \
  "$work/images" "$work/run" >"$CONTAINERS_STORAGE_CONF"
trap 'rm -rf "$work"' EXIT
scripts/container/build.sh "$program" >/dev/null
container=$(buildah from resound)
unshare --net --pid --fork --kill-child --mount-proc "$0" "$program" --in-namespaces
