#!/usr/bin/env bash
# Prints `name value` lines: what core's operations cost on an M4 (mps2-an386) and an M0 (microbit).
# The M4 is run twice: reserving by compare-and-swap, and in a critical section (`section`), of which run only
# the stretches with interrupts off count. The longest is printed as irq_off_instructions (of the first run as
# irq_off_cas_instructions, of the runs with the flight recorder as irq_off_flight_instructions), and every stretch to standard error with the function it began in.
set -euo pipefail
. "$(dirname "$0")/../../tests/gate/lib.sh"
cd "$ROOT/benches/cortex_m"

need qemu-system-arm qemu-system-arm >&2
need gcc gcc >&2
nm=$(llvm_tool nm)
plugin=$OUT/cross/masked.so
mkdir -p "$OUT/cross"
[ "$plugin" -nt masked.c ] || gcc -shared -fPIC -O2 -Wall -Wextra -o "$plugin" masked.c

for machine in thumbv7em-none-eabihf:mps2-an386:m4: thumbv7em-none-eabihf:mps2-an386:m4:section \
  thumbv7em-none-eabihf:mps2-an386:m4:flight thumbv6m-none-eabi:microbit:m0: thumbv6m-none-eabi:microbit:m0:flight; do
  IFS=: read -r target board prefix features <<<"$machine"
  case $prefix:$features in
    m4:) longest=irq_off_cas_instructions ;;
    *:flight) longest=irq_off_flight_instructions ;;
    *) longest=irq_off_instructions ;;
  esac
  (cd "$ROOT" && tests/cross-targets.sh "$target" >&2)
  rustc=$("$ROOT/tests/cross-targets.sh" --rustc "$target")
  RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross cargo build -q "${LOCKED[@]}" --release --target "$target" \
    --no-default-features --features "$prefix,$features" >&2
  elf=$OUT/cross/$target/release/spanlet-cortex-m
  qemu=(timeout 120 qemu-system-arm -M "$board" -display none -monitor none -serial null
    -chardev stdio,id=host
    -semihosting-config enable=on,target=native,chardev=host -kernel "$elf")
  # One run gives both: the counts on standard output, the stretches on standard error.
  "${qemu[@]}" -icount shift=8 -plugin "$plugin" </dev/null >"$OUT/cross/counts.txt" 2>"$OUT/cross/masked.log" ||
    { cat "$OUT/cross/counts.txt" >&2; cat "$OUT/cross/masked.log" >&2; fail "the rig on $board"; }
  [ "$features" = section ] || cat "$OUT/cross/counts.txt"
  grep '^masked ' "$OUT/cross/masked.log" | sort | uniq -c >"$OUT/cross/masked.$prefix"
  "$nm" -C --numeric-sort "$elf" | python3 masked.py "$prefix.$longest" "$OUT/cross/masked.$prefix" || fail "interrupts off on $board"
done
