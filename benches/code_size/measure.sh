#!/usr/bin/env bash
# Prints `name value` lines: bytes of flash that core adds to a program, bytes of a WASM module.
set -euo pipefail
. "$(dirname "$0")/../../tests/gate/lib.sh"
. benches/code_size/programs.sh

for entry in "${FIRMWARE_PROGRAMS[@]}"; do
  IFS=: read -r program target name <<<"$entry"
  tests/cross-targets.sh "$target" >&2
  with=$(flash_bytes "$program" "$target" with) || fail "$program with core on $target"
  without=$(flash_bytes "$program" "$target") || fail "$program without core on $target"
  echo "$name $((with - without))"
done

tests/cross-targets.sh wasm32-unknown-unknown >&2
for program in "${WASM_PROGRAMS[@]}"; do
  wasm=$(build_wasm "$program") || fail "$program as WASM"
  echo "wasm.${program}_bytes $(stat -c %s "$wasm")"
  echo "wasm.${program}_gzip_bytes $(gzip -9 -n -c "$wasm" | wc -c)"
done
