#!/usr/bin/env bash
# Checks the Debian package in a new Debian system: it installs, the program runs as the unit starts
# it, it upgrades and keeps a changed setting, and it leaves nothing behind when it is purged.
#
# Needs root, debootstrap, cargo-deb and a Debian mirror. Takes some minutes, most of them for the
# release build.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in debootstrap cargo-deb systemd-analyze systemd-socket-activate; do
  command -v "$tool" >/dev/null || { printf '%s is not installed\n' "$tool" >&2; exit 1; }
done

step() {
  printf '== %s\n' "$*"
  "$@"
}

work=$(mktemp -d)
root=$work/root
trap 'rm -rf "$work"' EXIT

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
  debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
    "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
    tail -5 "$work/debootstrap.log" >&2
    return 1
  }
}

in_root() {
  chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

install() {
  cp "$work/resound-$1.deb" "$root/tmp/"
  in_root dpkg -i "/tmp/resound-$1.deb"
}

has_all() {
  local path
  for path in usr/bin/resound etc/default/resound usr/share/man/man1/resound-serve.1.gz \
    usr/share/bash-completion/completions/resound usr/share/zsh/vendor-completions/_resound \
    usr/share/fish/vendor_completions.d/resound.fish usr/share/doc/resound/copyright; do
    [[ -e $root/$path ]] || { printf '%s is missing\n' "$path" >&2; return 1; }
  done
  [[ -n $(find "$root" -name resound.service) && -n $(find "$root" -name resound.socket) ]]
}

# The units as installed, by the rules of this machine's systemd: the new system has none.
verify() {
  local complaints unit
  for unit in resound.service resound.socket; do
    sed "s#^ExecStart=/#ExecStart=$root/#" "$(find "$root" -name "$unit" | head -1)" >"$work/$unit"
  done
  complaints=$(systemd-analyze verify "$work/resound.service" "$work/resound.socket" 2>&1) ||
    complaints+=" (exit $?)"
  [[ -z $complaints ]] || { printf '%s\n' "$complaints" >&2; return 1; }
}

# The unit's command, with the sockets of the socket unit and as a user without rights.
serves() {
  local port=$((20000 + RANDOM % 20000)) manager
  local command
  command=$(sed -n 's/^ExecStart=//p' "$(find "$root" -name resound.service | head -1)")
  # shellcheck disable=SC2086
  systemd-socket-activate -l "127.0.0.1:$port" \
    chroot --userspec=65534:65534 "$root" $command >"$work/listening" 2>"$work/log" &
  manager=$!
  for _ in $(seq 100); do
    if [[ $(in_root resound send "tcp://127.0.0.1:$port" hello 2>/dev/null) == hello ]]; then
      kill "$manager"
      wait "$manager"
      return
    fi
    sleep 0.1
  done
  cat "$work/log" >&2
  kill "$manager"
  return 1
}

keeps_a_changed_setting() {
  echo 'RESOUND_SERVE_QUIET=1' >>"$root/etc/default/resound"
  install 2 </dev/null
  grep -q QUIET "$root/etc/default/resound"
  in_root dpkg-query -W -f '${Version}\n' resound | grep -- -2
}

is_removed() {
  in_root dpkg --purge resound
  local left
  left=$(find "$root" -path "$root/proc" -prune -o -name '*resound*' -print |
    grep -v -e "^$root/tmp/" -e "^$root/var/log/" || true)
  [[ -z $left ]] || { printf 'left behind:\n%s\n' "$left" >&2; return 1; }
}

step make_packages
step make_root
step install 1
step has_all
step in_root resound --version
step verify
step serves
step keeps_a_changed_setting
step serves
step is_removed
echo 'the package installs, serves, upgrades and leaves nothing behind'
