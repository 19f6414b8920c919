#!/usr/bin/env bash
# the examples for real boards compile and link against their HALs; flash and static RAM of each
. "$(dirname "$0")/lib.sh"

boards=examples/firmware/boards
size=$(llvm_tool size)

# usage ELF: bytes of flash and of static RAM by where sections lie: an nRF52840's, RP2040's or ESP32-C3's memory. What
# the linker only reserves (dummies that keep code and data apart, the rest for the stack) is left out.
usage() {
  "$size" -A "$1" | python3 -c '
import sys
ROM = [(0, 0x100000), (0x10000000, 0x11000000), (0x3C000000, 0x3C800000), (0x42000000, 0x42800000)]
CODE_IN_RAM = [(0x4037C000, 0x403E0000)]
RAM = [(0x20000000, 0x20042000), (0x3FC80000, 0x3FCE0000)] + CODE_IN_RAM
flash = ram = 0
for line in sys.stdin:
    fields = line.split()
    if len(fields) != 3 or not fields[0].startswith(".") or fields[0] == ".stack" or "dummy" in fields[0]:
        continue
    name, length, at = fields[0], int(fields[1]), int(fields[2])
    of = lambda ranges: any(low <= at < high for low, high in ranges)
    loaded = of(ROM) and name not in (".comment", ".eh_frame", ".espressif.metadata") and "attributes" not in name \
        and not name.startswith((".debug", ".defmt", ".symtab", ".strtab", ".shstrtab"))
    initialised = of(RAM) and name.split(".")[1] not in ("bss", "uninit", "noinit")
    flash += length * (loaded or initialised)
    ram += length * of(RAM)
print(flash, ram)'
}

# link BOARD TARGET PROGRAM...: builds each program of the board, and sees that the board has it all.
link() {
  local board=$1 target=$2 from program elf flash ram
  shift 2
  from=$(now)
  tests/cross-targets.sh "$target"
  (cd "$boards/$board" && RUSTC=$("$ROOT/tests/cross-targets.sh" --rustc "$target") CARGO_TARGET_DIR=$OUT/cross \
    cargo build -q "${LOCKED[@]}" --release --target "$target" --bins) || fail "$board does not build for $target"
  for program in "$@"; do
    elf=$OUT/cross/$target/release/$program
    # The text of a span's name: the tracer is in the program, and has not been optimised away.
    grep -q 'read sensor' "$elf" || fail "$board: no span in $program"
    read -r flash ram < <(usage "$elf")
    [ "$flash" -gt 20000 ] && [ "$ram" -gt 8000 ] || fail "$board: $program has $flash bytes of flash and $ram of RAM: not its sections"
    printf '%-9s %-16s flash %6d  static RAM %6d bytes\n' "$board" "$program" "$flash" "$ram"
  done
  echo "$board links ($(seconds_since "$from") s)"
}

link nrf52840 thumbv7em-none-eabihf rtt usb_cdc
link rp2040 thumbv6m-none-eabi uart_dma usb_cdc
link esp32c3 riscv32imc-unknown-none-elf usb_serial_jtag uart
