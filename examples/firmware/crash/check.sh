#!/usr/bin/env bash
# Builds both slots, runs them in QEMU through all their resets, and compares what they print. Called by
# `tests/gate.sh firmware`.
. "$(dirname "$0")/../../../tests/gate/lib.sh"
crate=examples/firmware/crash
need qemu-system-arm qemu-system-arm
objcopy=$(llvm_tool objcopy)

for board in mps2-an386:thumbv7em-none-eabihf mps2-an385:thumbv6m-none-eabi; do
  IFS=: read -r machine target <<<"$board"
  from=$(now)
  tests/cross-targets.sh "$target"
  rustc=$(tests/cross-targets.sh --rustc "$target")
  # One build directory, so that the slots share what they depend on. Of each, what a programmer writes into the
  # flash, and nothing that QEMU would load into RAM at each reset.
  for slot in a b; do
    features=() && [ $slot = a ] || features=(--features slot-b)
    (cd "$crate" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross cargo build -q "${LOCKED[@]}" --release \
      --target "$target" "${features[@]}") || fail "$crate: slot $slot does not build for $target"
    "$objcopy" -O binary "$OUT/cross/$target/release/crash" "$OUT/cross/crash-$slot.bin"
  done
  got=$OUT/cross/crash@$machine.txt status=0
  # Virtual time: 256 ns an instruction, which the sweep counts on.
  timeout 300 qemu-system-arm -M "$machine" -display none -monitor none -serial file:"$OUT/cross/crash@$machine.uart" \
    -serial null -icount shift=8,sleep=off -chardev stdio,id=host \
    -semihosting-config enable=on,target=native,chardev=host \
    -kernel "$OUT/cross/crash-a.bin" -device loader,file="$OUT/cross/crash-b.bin",addr=0x20000,force-raw=on </dev/null >"$got" || status=$?
  [ $status = 0 ] || { tail -n 20 "$got"; fail "$crate on $machine: exit status $status"; }
  # Lines with `#` hold counts that change with the compiler.
  grep -v '^#' "$got" >"$got.lines"
  [ -z "${SPANLET_BLESS:-}" ] || cp "$got.lines" "$crate/expected/crash@$machine.txt"
  diff -u "$crate/expected/crash@$machine.txt" "$got.lines" || fail "$crate on $machine prints something else"
  echo "$crate on $machine: $(grep '^#' "$got" | cut -c3-) ($(seconds_since "$from") s)"
done
