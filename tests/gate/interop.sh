#!/usr/bin/env bash
# spans against peers that are not ours: the rotel collector and Python's OpenTelemetry SDK
. "$(dirname "$0")/lib.sh"

interop_python

# Each check_*.py is a check of its own: exit status 0 and a line that says what it saw. It finds our binaries here.
export SPANLET_BIN=$OUT/debug/spanlet INTEROP_PEER=$OUT/debug/examples/interop_peer
cargo build -q "${LOCKED[@]}" -p spanlet-cli
cargo build -q "${LOCKED[@]}" -p spanlet-examples --example interop_peer
for check in tests/interop/check_*.py; do
  from=$(now)
  PYTHONPATH=tests/interop timeout 300 "$INTEROP_PYTHON" "$check" || fail "$check"
  echo "$(basename "$check") ($(seconds_since "$from") s)"
done
