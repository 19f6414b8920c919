#!/usr/bin/env bash
# every crate of examples/firmware runs in QEMU, prints and sends what its expected/ files say, and cannot panic
. "$(dirname "$0")/lib.sh"

# A crate keeps `expected/BIN@BOARD.txt` for each of its programs and each board it runs on; the text is what the
# program prints by semihosting until it exits by itself. Time is virtual (-icount), so every run is the same.
# BOARD may name a poorer target than its own, `mps2-an385+thumbv6m-none-eabi`. Where there is a
# `BIN@BOARD.spans.txt`, what the program sent over its first UART decodes to that text.
board_target() {
  case $1 in
    *+*) echo "${1#*+}" ;;
    mps2-an386 | mps2-an500) echo thumbv7em-none-eabihf ;;
    mps2-an385 | lm3s6965evb) echo thumbv7m-none-eabi ;;
    microbit) echo thumbv6m-none-eabi ;;
    *) fail "no target known for the board $1" ;;
  esac
}

# run_firmware CRATE EXPECTED: builds the program for the board that the file's name says, runs and compares.
run_firmware() {
  local crate=$1 expected=$2 name bin board target rustc elf got sent from status=0
  name=$(basename "$expected" .txt) from=$(now)
  bin=${name%@*} board=${name#*@} target=$(board_target "${name#*@}")
  tests/cross-targets.sh "$target"
  rustc=$(tests/cross-targets.sh --rustc "$target")
  (cd "$crate" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross cargo build -q "${LOCKED[@]}" --release \
    --target "$target" --bin "$bin") || fail "$crate: $bin does not build for $target"
  elf=$OUT/cross/$target/release/$bin got=$OUT/cross/$name.txt sent=$OUT/cross/$name.uart
  timeout 120 qemu-system-arm -M "${board%+*}" -display none -monitor none -serial file:"$sent" -serial null \
    -icount shift=5,sleep=off -chardev stdio,id=host \
    -semihosting-config enable=on,target=native,chardev=host -kernel "$elf" </dev/null >"$got" || status=$?
  [ $status = 0 ] || { tail -n 20 "$got"; fail "$crate: $bin on $board: exit status $status"; }
  diff -u "$expected" "$got" || fail "$crate: $bin on $board prints something else"
  if [ -f "${expected%.txt}.spans.txt" ]; then
    "$OUT/debug/examples/decode_capture" "$sent" >"$got" || { cat "$got"; fail "$crate: what $bin on $board sent"; }
    diff -u "${expected%.txt}.spans.txt" "$got" || fail "$crate: $bin on $board sends something else"
  fi
  echo "$crate: $bin on $board, $(wc -l <"$got") lines as expected, flash $("$size" "$elf" | awk 'NR == 2 { print $1 + $2 }') bytes ($(seconds_since "$from") s)"
}

# prove_no_panic CRATE: its programs link with a panic handler that calls what no linker finds, so there is no
# panic in them.
prove_no_panic() {
  local crate=$1 target
  for target in thumbv7em-none-eabihf thumbv7m-none-eabi thumbv6m-none-eabi; do
    tests/cross-targets.sh "$target"
    (cd "$crate" && RUSTC=$("$ROOT/tests/cross-targets.sh" --rustc "$target") CARGO_TARGET_DIR=$OUT/cross/no-panic \
      cargo build -q "${LOCKED[@]}" --release --target "$target" --features prove-no-panic --bins) ||
      fail "$crate: a panic is left in it on $target"
  done
  echo "$crate: no panic on thumbv7em, thumbv7m, thumbv6m"
}

need qemu-system-arm qemu-system-arm
cargo build -q "${LOCKED[@]}" -p spanlet-examples --example decode_capture
size=$(llvm_tool size)
# FIRMWARE_DIR is for trying the section out on crates elsewhere.
dir=${FIRMWARE_DIR:-examples/firmware}
manifests=($(find "$dir" -name Cargo.toml -not -path '*/target/*' -not -path '*/boards/*' 2>/dev/null | sort || true))
[ ${#manifests[@]} -gt 0 ] || { skip "no crate under $dir"; exit; }
for manifest in "${manifests[@]}"; do
  crate=$(dirname "$manifest")
  bins=$(cargo metadata --format-version 1 --no-deps --manifest-path "$manifest" |
    python3 -c 'import json,sys; [print(t["name"]) for p in json.load(sys.stdin)["packages"] for t in p["targets"] if "bin" in t["kind"]]')
  for bin in $bins; do
    compgen -G "$crate/expected/$bin@*.txt" >/dev/null || fail "$crate: no expected/$bin@BOARD.txt"
  done
  for expected in "$crate"/expected/*@*.txt; do
    [[ $expected == *.spans.txt ]] || run_firmware "$crate" "$expected"
  done
  ! grep -q '^prove-no-panic' "$manifest" || prove_no_panic "$crate"
done
