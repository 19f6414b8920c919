# Sourced after tests/gate/lib.sh: the programs, and how each is built.

# Firmware programs in src/bin and the budget's name of each: PROGRAM:TARGET:NAME.
FIRMWARE_PROGRAMS=(
  context:thumbv6m-none-eabi:v6m.context_flash_bytes
  span_ring:thumbv6m-none-eabi:v6m.span_ring_flash_bytes
  core_path:thumbv6m-none-eabi:v6m.core_path_flash_bytes
  core_path:thumbv7em-none-eabihf:v7em.core_path_flash_bytes
)
# What core_path may have besides, each alone: its feature, which is also in the budget's name.
PATH_FEATURES=(text event hello acknowledged flight otlp baggage)
# WASM programs in examples/: each has a NAME.mjs beside it that runs it in node.
WASM_PROGRAMS=(traceparent)

# flash_bytes PROGRAM TARGET [FEATURES]: code, constants and initial values.
flash_bytes() {
  local rustc
  rustc=$("$ROOT/tests/cross-targets.sh" --rustc "$2")
  (cd "$ROOT/benches/code_size" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross cargo build -q "${LOCKED[@]}" --release \
    --target "$2" --features "${3:-}" --bin "$1" >&2) || return
  "$(llvm_tool size)" "$OUT/cross/$2/release/$1" | awk 'NR == 2 { print $1 + $2 }'
}

# library_program NAME FEATURES: builds the program around the instrumented library, in a directory NAME of its own
# (SPANLET_FILTER differs); prints its path.
library_program() {
  local rustc target=thumbv7em-none-eabihf
  rustc=$("$ROOT/tests/cross-targets.sh" --rustc $target)
  (cd "$ROOT/benches/code_size" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross/library-$1 cargo build -q "${LOCKED[@]}" \
    --release --target $target --features "$2" --bin library >&2) || return
  echo "$OUT/cross/library-$1/$target/release/library"
}

# build_wasm PROGRAM: prints the path of the module, shrunk by wasm-opt.
build_wasm() {
  local target=wasm32-unknown-unknown rustc raw small
  rustc=$("$ROOT/tests/cross-targets.sh" --rustc $target)
  wasm_opt_needed >&2
  (cd "$ROOT/benches/code_size" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross CARGO_PROFILE_RELEASE_OPT_LEVEL=z \
    CARGO_PROFILE_RELEASE_STRIP=symbols cargo build -q "${LOCKED[@]}" --release --target $target \
    --features with --example "$1" >&2) || return
  raw=$OUT/cross/$target/release/examples/$1.wasm small=$OUT/cross/$1.min.wasm
  "$TOOLS/node_modules/.bin/wasm-opt" -Oz --strip-debug --strip-producers --strip-target-features -o "$small" "$raw" || return
  echo "$small"
}

# Installs wasm-opt from npm where it is not there yet.
wasm_opt_needed() {
  [ -x "$TOOLS/node_modules/.bin/wasm-opt" ] && return
  need node nodejs
  need npm npm
  npm install --silent --no-audit --no-fund --no-save --prefix "$TOOLS" binaryen@132.0.0
}
