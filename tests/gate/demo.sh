#!/usr/bin/env bash
# the demo's bottleneck against one found independently: 20 seeds for each incident
. "$(dirname "$0")/lib.sh"

need python3 python3
cargo build -q "${LOCKED[@]}" -p spanlet-cli
cargo build -q "${LOCKED[@]}" -p spanlet-examples --examples
python3 tests/bottleneck_oracle.py --self-test
python3 tests/demo_oracle.py "$OUT/debug/spanlet" --seeds "${SEEDS:-20}"
