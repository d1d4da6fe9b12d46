#!/usr/bin/env bash
# Applies a small wrong change to a copy of the loop, and shows which test catches it: see --help.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONDONTWRITEBYTECODE=1 exec python3 scripts/measure/break_it.py "$@"
