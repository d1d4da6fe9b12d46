#!/usr/bin/env bash
# Makes the Debian package: scripts/package-deb.sh [REVISION]. It needs cargo-deb, and prints the
# path of the package.
set -euo pipefail
cd "$(dirname "$0")/.."

revision=${1:-1}
made=target/package
program=target/release/resound

cargo build --locked --release >&2
rm -rf "$made"
mkdir -p "$made/systemd"
"$program" man --to "$made/man"
for shell in bash zsh fish; do
  "$program" completions "$shell" >"$made/resound.$shell"
done
# A package installs into /usr, not /usr/local.
for unit in scripts/systemd/resound.*; do
  sed 's#/usr/local/bin/resound#/usr/bin/resound#' "$unit" >"$made/systemd/${unit##*/}"
done
cat >"$made/default" <<'DEFAULT'
# Flags of the echo service, by name: --metrics is RESOUND_SERVE_METRICS. `systemctl restart resound`
# applies a change. The sockets are in resound.socket (`systemctl edit resound.socket`).
#RESOUND_SERVE_METRICS=127.0.0.1:9100
#RESOUND_SERVE_ACCESS_LOG=1
DEFAULT
cargo deb --quiet --no-build --no-strip --deb-revision "$revision" --output target/package/
ls "$made"/*.deb
