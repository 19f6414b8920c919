#!/usr/bin/env bash
# instructions (QEMU, callgrind), flash, WASM and wire sizes against tests/budgets.txt; writes target/budgets.json
. "$(dirname "$0")/lib.sh"

# To add a measurement, let one of these print one more `name value` line, or add a script that does.
MEASUREMENTS=(benches/cortex_m/measure.sh benches/code_size/measure.sh benches/callgrind/measure.sh
  benches/callgrind/wire.sh)

values=$OUT/budget-values.txt
: >"$values"
for script in "${MEASUREMENTS[@]}"; do
  from=$(now)
  "$script" >>"$values" || fail "$script"
  echo "$script ($(seconds_since "$from") s)"
done
python3 tests/gate/budgets.py tests/budgets.txt "$values" target/budgets.json
# The table for firmware developers, of these limits.
python3 tests/gate/costs.py tests/budgets.txt examples/firmware/README.md
