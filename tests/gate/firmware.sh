#!/usr/bin/env bash
# firmware in QEMU: golden runs in virtual time, panics ruled out; in real time to the gateway, a service and a collector
. "$(dirname "$0")/lib.sh"

# A crate of examples/firmware keeps `expected/BIN@BOARD.txt` for each of its programs and each board it runs on: what
# the program prints by semihosting until it exits by itself. Time is virtual (-icount), so every run is the same. BOARD
# may name a poorer target than its own, `mps2-an385+thumbv6m-none-eabi`. Beside it, where they are:
#   BIN@BOARD.spans.txt   what the program sent over its first UART, decoded
#   BIN@BOARD.log.txt     what it logged by defmt over its second UART
# A feature `golden` is switched on for these runs. A crate that needs more than that has a `check.sh`, which does all
# of it; those below boards/ are only linked, in a section of their own. SPANLET_BLESS=1 writes the expectations anew, to
# be read in a diff.
board_target() {
  case $1 in
    *+*) echo "${1#*+}" ;;
    mps2-an386 | mps2-an500) echo thumbv7em-none-eabihf ;;
    mps2-an385 | lm3s6965evb) echo thumbv7m-none-eabi ;;
    microbit) echo thumbv6m-none-eabi ;;
    *) fail "no target known for the board $1" ;;
  esac
}

# build_firmware CRATE BIN TARGET [FEATURES]: sets ELF to the program.
build_firmware() {
  local crate=$1 bin=$2 target=$3 features=${4:-} rustc
  tests/cross-targets.sh "$target"
  rustc=$(tests/cross-targets.sh --rustc "$target")
  (cd "$crate" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross cargo build -q "${LOCKED[@]}" --release \
    --target "$target" --features "$features" --bin "$bin") || fail "$crate: $bin does not build for $target"
  ELF=$OUT/cross/$target/release/$bin
}

# compare EXPECTED GOT WHAT
compare() {
  [ -z "${SPANLET_BLESS:-}" ] || cp "$2" "$1"
  diff -u "$1" "$2" || fail "$3"
}

# run_golden CRATE EXPECTED: builds the program for the board that the file's name says, runs and compares.
run_golden() {
  local crate=$1 expected=$2 name bin board target got sent log from status=0
  name=$(basename "$expected" .txt) from=$(now)
  bin=${name%@*} board=${name#*@} target=$(board_target "${name#*@}")
  build_firmware "$crate" "$bin" "$target" "$(! grep -q '^golden = ' "$crate/Cargo.toml" || echo golden)"
  got=$OUT/cross/$name.txt sent=$OUT/cross/$name.uart log=$OUT/cross/$name.defmt
  timeout 120 qemu-system-arm -M "${board%+*}" -display none -monitor none -serial file:"$sent" -serial file:"$log" \
    -icount shift=5,sleep=off -chardev stdio,id=host \
    -semihosting-config enable=on,target=native,chardev=host -kernel "$ELF" </dev/null >"$got" || status=$?
  [ $status = 0 ] || { tail -n 20 "$got"; fail "$crate: $bin on $board: exit status $status"; }
  compare "$expected" "$got" "$crate: $bin on $board prints something else"
  if [ -f "${expected%.txt}.spans.txt" ]; then
    "$OUT/debug/examples/decode_capture" "$sent" >"$got" || { cat "$got"; fail "$crate: what $bin on $board sent"; }
    compare "${expected%.txt}.spans.txt" "$got" "$crate: $bin on $board sends something else"
  fi
  if [ -f "${expected%.txt}.log.txt" ]; then
    LLVM_NM=$nm python3 tests/firmware/defmt_log.py "$ELF" "$log" >"$got.log" || fail "$crate: what $bin on $board logged"
    compare "${expected%.txt}.log.txt" "$got.log" "$crate: $bin on $board logs something else"
  fi
  echo "$crate: $bin on $board, $(wc -l <"$got") lines as expected, flash $("$size" "$ELF" | awk 'NR == 2 { print $1 + $2 }') bytes ($(seconds_since "$from") s)"
}

# prove_no_panic CRATE: its programs link with a panic handler that calls what no linker finds, so there is no
# panic in them.
prove_no_panic() {
  local crate=$1 target
  for target in thumbv7em-none-eabihf thumbv7m-none-eabi thumbv6m-none-eabi; do
    tests/cross-targets.sh "$target"
    (cd "$crate" && RUSTC=$("$ROOT/tests/cross-targets.sh" --rustc "$target") CARGO_TARGET_DIR=$OUT/cross \
      cargo build -q "${LOCKED[@]}" --release --target "$target" --features prove-no-panic --bins) ||
      fail "$crate: a panic is left in it on $target"
  done
  echo "$crate: no panic on thumbv7em, thumbv7m, thumbv6m"
}

need qemu-system-arm qemu-system-arm
cargo build -q "${LOCKED[@]}" -p spanlet-examples --example decode_capture --example fan_service
size=$(llvm_tool size) nm=$(llvm_tool nm)
# FIRMWARE_DIR is for trying the section out on crates elsewhere.
dir=${FIRMWARE_DIR:-examples/firmware}
manifests=($(find "$dir" -name Cargo.toml -not -path '*/target/*' -not -path '*/boards/*' 2>/dev/null | sort || true))
[ ${#manifests[@]} -gt 0 ] || { skip "no crate under $dir"; exit; }
for manifest in "${manifests[@]}"; do
  crate=$(dirname "$manifest")
  if [ -x "$crate/check.sh" ]; then
    "$crate/check.sh" || fail "$crate"
    continue
  fi
  bins=$(cargo metadata --format-version 1 --no-deps --manifest-path "$manifest" |
    python3 -c 'import json,sys; [print(t["name"]) for p in json.load(sys.stdin)["packages"] for t in p["targets"] if "bin" in t["kind"]]')
  for bin in $bins; do
    compgen -G "$crate/expected/$bin@*.txt" >/dev/null || fail "$crate: no expected/$bin@BOARD.txt"
  done
  for expected in "$crate"/expected/*@*.txt; do
    [[ $expected == *.spans.txt || $expected == *.log.txt ]] || run_golden "$crate" "$expected"
  done
  ! grep -q '^prove-no-panic' "$manifest" || prove_no_panic "$crate"
done

# In real time: each check_*.py is a check of its own, with an exit status and a line that says what it saw.
interop_python
cargo build -q "${LOCKED[@]}" -p spanlet-cli -p spanlet-tests --bin spanlet --bin link-faults
export SPANLET_BIN=$OUT/debug/spanlet FAN_SERVICE=$OUT/debug/examples/fan_service LLVM_NM=$nm
export LINK_FAULTS=$OUT/debug/link-faults
build_firmware examples/firmware/embassy embassy thumbv7em-none-eabihf
export FIRMWARE_EMBASSY=$ELF
build_firmware examples/firmware/rtic rtic thumbv7m-none-eabi
export FIRMWARE_RTIC=$ELF
GUIDE_RUSTC=$(tests/cross-targets.sh --rustc thumbv7em-none-eabihf)
export GUIDE_RUSTC GUIDE_TARGET_DIR=$OUT/cross
for check in tests/firmware/check_*.py; do
  from=$(now)
  PYTHONPATH=tests/interop:tests/firmware timeout 300 "$INTEROP_PYTHON" "$check" || fail "$check"
  echo "$(basename "$check") ($(seconds_since "$from") s)"
done
