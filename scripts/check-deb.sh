#!/usr/bin/env bash
# Checks the Debian package in a new Debian system that systemd boots in a container: it installs and
# starts, restarts and upgrades under load without loss, keeps a changed setting, replaces a server
# that stands still, stops when it is removed, and leaves nothing behind when it is purged.
#
# Needs root, debootstrap, systemd-container, cargo-deb, python3 and a Debian mirror. Takes some
# minutes, most of them for the release build.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in debootstrap systemd-nspawn cargo-deb nsenter python3; do
  command -v "$tool" >/dev/null || { printf '%s is not installed\n' "$tool" >&2; exit 1; }
done

# The exposure by systemd-analyze security, from 0 (a service that can do nothing) to 10.
exposure_max=1.2
# The limit for each wait.
wait_max_s=60
drain_timeout_s=2

step() {
  printf '== %s\n' "$*"
  "$@"
}

work=$(mktemp -d)
root=$work/root
container=
init=

clean_up() {
  # The second signal ends the container without a shutdown.
  if [[ -n $container ]]; then
    kill "$container" "$container" || true
    wait "$container" || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT

wait_for() {
  local tries
  for ((tries = 0; tries < 10 * wait_max_s; tries++)); do
    "$@" && return
    sleep 0.1
  done
  printf '%s: not within %s s\n' "$*" "$wait_max_s" >&2
  return 1
}

make_packages() {
  for revision in 1 2; do
    cp "$(scripts/package-deb.sh "$revision" | tail -1)" "$work/resound-$revision.deb"
  done
}

make_root() {
  local mirror
  # One of the two places of the list may be empty.
  mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
    sed -n 's/^URIs: *//p; s/^deb [^h]*\(http[^ ]*\) .*/\1/p' | sed 1q)
  debootstrap --variant=minbase --include=systemd-sysv \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
    tail -5 "$work/debootstrap.log" >&2
    return 1
  }
  cp "$work"/resound-?.deb "$root/root"
}

in_root() {
  timeout "$wait_max_s" nsenter -t "$init" -m -p -n -i -u \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

has_booted() {
  init=$(tr -d ' ' <"/proc/$container/task/$container/children")
  [[ $(in_root systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]
}

# Without a manager of containers on this machine. By default no call of landlock is allowed.
boot() {
  local landlock='landlock_create_ruleset landlock_add_rule landlock_restrict_self'
  systemd-nspawn --quiet --directory "$root" --boot --private-network --register=no --keep-unit \
    --console=pipe --system-call-filter="$landlock" </dev/null >"$work/boot.log" 2>&1 &
  container=$!
  wait_for has_booted || { cat "$work/boot.log" >&2; return 1; }
}

install() {
  in_root dpkg -i "/root/resound-$1.deb" </dev/null
}

has_all() {
  local path
  for path in usr/bin/resound etc/default/resound usr/share/man/man1/resound-serve.1.gz \
    usr/share/bash-completion/completions/resound usr/share/zsh/vendor-completions/_resound \
    usr/share/fish/vendor_completions.d/resound.fish usr/share/doc/resound/copyright; do
    [[ -e $root/$path ]] || { printf '%s is missing\n' "$path" >&2; return 1; }
  done
}

# systemctl succeeds if one of several units is active.
is_active() {
  in_root systemctl is-active --quiet resound.service &&
    in_root systemctl is-active --quiet resound.socket
}

echoes() {
  [[ $(in_root resound send tcp://127.0.0.1:7007 hello) == hello ]]
  [[ $(in_root resound send udp://127.0.0.1:7007 hello) == hello ]]
}

# The installation has started both units, the service serves the passed sockets, and its sandbox is
# whole.
serves() {
  is_active
  echoes
  local run log
  run=$(in_root systemctl show --value -p InvocationID resound.service)
  log=$(in_root journalctl -o cat "_SYSTEMD_INVOCATION_ID=$run")
  grep 'udp://127.0.0.1:7007 was passed as descriptor' <<<"$log"
  grep 'no new privileges, landlock .*, seccomp' <<<"$log"
}

# The units as this systemd has loaded them.
is_safe() {
  local complaints
  complaints=$(in_root systemd-analyze verify --man=no resound.service resound.socket 2>&1) ||
    complaints+=" (exit $?)"
  [[ -z $complaints ]] || { printf '%s\n' "$complaints" >&2; return 1; }
  in_root systemd-analyze security --no-pager --threshold="${exposure_max/./}" resound.service |
    grep 'Overall exposure'
}

# Runs restart.py in the network of the container.
loses_nothing() {
  timeout 300 nsenter -t "$init" -n python3 -B scripts/deploy/restart.py target/release/resound \
    --systemd "$init" --drain-timeout "$drain_timeout_s" "$@"
}

set_drain_timeout() {
  echo "RESOUND_SERVE_DRAIN_TIMEOUT=${drain_timeout_s}s" >>"$root/etc/default/resound"
  in_root systemctl restart resound.service
}

upgrades_without_loss() {
  loses_nothing --restarts 1 --by "dpkg -i /root/resound-2.deb"
  in_root dpkg-query -W -f '${Version}\n' resound | grep -- '-2$'
  grep DRAIN_TIMEOUT "$root/etc/default/resound"
}

main_pid() {
  in_root systemctl show --value -p MainPID resound.service
}

has_another_pid() {
  local pid
  pid=$(main_pid)
  ((pid != 0 && pid != $1))
}

# The watchdog of the unit, with a shorter time.
is_replaced_when_it_stands_still() {
  local pid dropin=/run/systemd/system/resound.service.d
  in_root mkdir -p "$dropin"
  in_root sh -c "printf '[Service]\nWatchdogSec=2s\n' >$dropin/watchdog.conf"
  in_root systemctl daemon-reload
  in_root systemctl restart resound.service
  pid=$(main_pid)
  in_root systemctl kill --signal STOP resound.service
  wait_for has_another_pid "$pid"
  wait_for is_active
  in_root journalctl -u resound.service -o cat | grep 'Watchdog timeout'
  in_root rm -r "$dropin"
  in_root systemctl daemon-reload
  echoes
}

is_stopped_by_removal() {
  in_root dpkg --remove resound
  local states
  states=$(in_root systemctl is-active resound.service resound.socket || true)
  [[ $states == inactive$'\n'inactive ]] || { printf '%s\n' "$states" >&2; return 1; }
  [[ -e $root/etc/default/resound && ! -e $root/usr/bin/resound ]]
}

# A user that exists only while the service runs needs no entry.
leaves_nothing_behind() {
  in_root dpkg --purge resound
  local left
  left=$(find "$root" -path "$root/proc" -prune -o -name '*resound*' -print |
    grep -v -e "^$root/root/" -e "^$root/var/log/" || true)
  [[ -z $left ]] || { printf 'left behind:\n%s\n' "$left" >&2; return 1; }
  ! grep resound "$root/etc/passwd" "$root/etc/group"
}

step make_packages
step make_root
step boot
step install 1
step has_all
step in_root resound --version
step serves
step is_safe
step set_drain_timeout
step loses_nothing --restarts 3
step upgrades_without_loss
step serves
step is_replaced_when_it_stands_still
step is_stopped_by_removal
step install 2
step serves
step leaves_nothing_behind
echo 'the package installs, restarts, upgrades and leaves nothing behind'
