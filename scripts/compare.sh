#!/usr/bin/env bash
# Compares echo servers, load generators, or ways to run them. Prints Markdown.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONDONTWRITEBYTECODE=1 exec python3 scripts/measure/compare.py "$@"
