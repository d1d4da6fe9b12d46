#!/usr/bin/env bash
# Makes the container image with buildah, without a base image: build.sh [PROGRAM]. The image is the
# last stage of Containerfile, around a static program, which is built here if none is given.
# Needs root, or the set-up of buildah for users.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:-}
if [[ -z $program ]]; then
  host=$(rustc -vV | sed -n 's/^host: //p')
  RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --bin resound \
    --target "$host" --target-dir target/static
  program=target/static/$host/release/resound
fi

# Only the program, under the name that Containerfile gives it.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$program" "$context/resound"
# The format of OCI has no health check.
sed -n '/^FROM scratch/,$p' scripts/container/Containerfile |
  buildah build --quiet --format docker --isolation chroot --build-context "build=$context" \
    --tag resound --file - "$context"
