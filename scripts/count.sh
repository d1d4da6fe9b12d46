#!/usr/bin/env bash
# Counts user instructions and system calls per echo on the server's hot path. Prints Markdown.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONDONTWRITEBYTECODE=1 exec python3 scripts/measure/count.py "$@"
