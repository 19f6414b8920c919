#!/usr/bin/env bash
# two cores on one tracer: threads under an RP2040-like spinlock, with compare-and-swap and built without
. "$(dirname "$0")/lib.sh"

for flags in "" "--cfg no_cas"; do
  output=$(cd tests/dual-core && RUSTFLAGS=$flags CARGO_TARGET_DIR=$OUT/dual-core \
    cargo test -q "${LOCKED[@]}" --test dual_core -- --nocapture 2>&1) || { echo "$output"; fail "dual-core ${flags:-with compare-and-swap}"; }
  count=$(echo "$output" | sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p')
  [ "${count:-0}" -gt 0 ] || fail "dual-core ran no test"
  echo "$output" | sed -n 's/^\.*\(spanlet::.*\)/\1/p'
  echo "${flags:-with compare-and-swap}: $count tests"
done
