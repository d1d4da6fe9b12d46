#!/usr/bin/env bash
# Echo servers side by side, load generators, or ways to run them. Markdown on stdout.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONDONTWRITEBYTECODE=1 exec python3 scripts/measure/compare.py "$@"
