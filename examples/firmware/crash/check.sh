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
  for slot in a b; do
    features=() && [ $slot = a ] || features=(--features slot-b)
    (cd "$crate" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross/crash-$slot cargo build -q "${LOCKED[@]}" --release \
      --target "$target" "${features[@]}") || fail "$crate: slot $slot does not build for $target"
  done
  # What a programmer writes into the flash, and nothing that QEMU would load into RAM at each reset.
  for slot in a b; do
    "$objcopy" -O binary "$OUT/cross/crash-$slot/$target/release/crash" "$OUT/cross/crash-$slot.bin"
  done
  got=$OUT/cross/crash@$machine.txt status=0
  # Virtual time: 256 ns an instruction, which the sweep counts on.
  timeout 300 qemu-system-arm -M "$machine" -display none -monitor none -serial file:"$OUT/cross/crash@$machine.uart" \
    -serial null -icount shift=8,sleep=off -chardev stdio,id=host \
    -semihosting-config enable=on,target=native,chardev=host \
    -kernel "$OUT/cross/crash-a.bin" -device loader,file="$OUT/cross/crash-b.bin",addr=0x20000,force-raw=on </dev/null >"$got" || status=$?
  [ $status = 0 ] || { tail -n 20 "$got"; fail "$crate on $machine: exit status $status"; }
  # Lines with `#` hold counts that change with the compiler.
  diff -u "$crate/expected/crash@$machine.txt" <(grep -v '^#' "$got") || fail "$crate on $machine prints something else"
  echo "$crate on $machine: $(grep '^#' "$got" | cut -c3-) ($(seconds_since "$from") s)"
done
