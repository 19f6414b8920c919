#!/usr/bin/env bash
# spans and contexts against software that is not ours: the rotel collector, Python, Node
. "$(dirname "$0")/lib.sh"

interop_python
interop_node

# Each check_*.py is a check of its own: exit status 0 and a line that says what it saw. It finds our binaries here.
export SPANLET_BIN=$OUT/debug/spanlet INTEROP_NODE_DIRECTORY
export INTEROP_PEER=$OUT/debug/examples/interop_peer INTEROP_SERVICE=$OUT/debug/examples/interop_service
cargo build -q "${LOCKED[@]}" -p spanlet-cli
cargo build -q "${LOCKED[@]}" -p spanlet-examples --example interop_peer --example interop_service
for check in tests/interop/check_*.py; do
  from=$(now)
  PYTHONPATH=tests/interop timeout 300 "$INTEROP_PYTHON" "$check" || fail "$check"
  echo "$(basename "$check") ($(seconds_since "$from") s)"
done
