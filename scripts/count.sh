#!/usr/bin/env bash
# The server's hot path counted: user instructions and system calls an echo. Markdown on stdout.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONDONTWRITEBYTECODE=1 exec python3 scripts/measure/count.py "$@"
