#!/usr/bin/env bash
# spans against peers that are not ours: the rotel collector and Python's OpenTelemetry SDK
. "$(dirname "$0")/lib.sh"

need python3 python3
requirements=tests/interop/requirements.txt
venv=$OUT/gate-tools/interop-venv
# Once per set of versions; a venv that was left half-made has no stamp.
if ! cmp -s "$requirements" "$venv/installed.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv" 2>/dev/null || { rm -rf "$venv"; need virtualenv python3-virtualenv; virtualenv -q "$venv"; }
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$venv/installed.txt"
fi

# Each check_*.py is a check of its own: exit status 0 and a line that says what it saw. It finds our binaries here.
export SPANLET_BIN=$OUT/debug/spanlet INTEROP_PEER=$OUT/debug/examples/interop_peer
cargo build -q "${LOCKED[@]}" -p spanlet-cli
cargo build -q "${LOCKED[@]}" -p spanlet-examples --example interop_peer
for check in tests/interop/check_*.py; do
  from=$(now)
  PYTHONPATH=tests/interop timeout 300 "$venv/bin/python" "$check" || fail "$check"
  echo "$(basename "$check") ($(seconds_since "$from") s)"
done
