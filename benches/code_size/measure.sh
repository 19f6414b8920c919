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

with=$(flash_bytes core_path thumbv6m-none-eabi with) || fail "core_path on thumbv6m"
for feature in "${PATH_FEATURES[@]}"; do
  more=$(flash_bytes core_path thumbv6m-none-eabi "with,$feature") || fail "core_path with $feature"
  echo "v6m.feature_${feature}_flash_bytes $((more - with))"
done

# A library that is instrumented: compiled out by a feature, filtered out, and with no tracer installed.
tests/cross-targets.sh thumbv7em-none-eabihf >&2
size=$(llvm_tool size) nm=$(llvm_tool nm) objcopy=$(llvm_tool objcopy)
bare=$(library_program bare "") && off=$(SPANLET_FILTER=off library_program off trace) &&
  untraced=$(SPANLET_FILTER=trace library_program untraced trace) || fail "the instrumented library"
# Flash and RAM: not one byte of either may remain.
bytes() { "$size" "$1" | awk 'NR == 2 { print $1 + $2 + $3 }'; }
echo "v7em.filter_off_flash_bytes $(($(bytes "$off") - $(bytes "$bare")))"
echo "v7em.library_without_tracer_flash_bytes $(($(bytes "$untraced") - $(bytes "$bare")))"
for program in "$bare" "$off"; do "$objcopy" -O binary "$program" "$program.image"; done
cmp "$bare.image" "$off.image" >&2 || fail "SPANLET_FILTER=off leaves another image than no instrumentation"
left=$("$nm" -C "$off" | grep -E 'spanlet::' || true)
[ -z "$left" ] || fail "SPANLET_FILTER=off leaves: $left"
"$nm" -C "$untraced" | grep "spanlet::" >/dev/null || fail "the library is not instrumented at all"

tests/cross-targets.sh wasm32-unknown-unknown >&2
for program in "${WASM_PROGRAMS[@]}"; do
  wasm=$(build_wasm "$program") || fail "$program as WASM"
  echo "wasm.${program}_bytes $(stat -c %s "$wasm")"
  echo "wasm.${program}_gzip_bytes $(gzip -9 -n -c "$wasm" | wc -c)"
done
