#!/usr/bin/env bash
# Prints `name value` lines: bytes that a span costs on the wire, everything counted. Virtual time: always the same.
set -euo pipefail
. "$(dirname "$0")/../../tests/gate/lib.sh"
cd benches/callgrind
CARGO_TARGET_DIR=$OUT/callgrind cargo run -q "${LOCKED[@]}" --release --bin wire
