#!/usr/bin/env bash
# every WASM program runs in node and answers as its .mjs expects
. "$(dirname "$0")/lib.sh"
. benches/code_size/programs.sh

tests/cross-targets.sh wasm32-unknown-unknown
need node nodejs
for program in "${WASM_PROGRAMS[@]}"; do
  wasm=$(build_wasm "$program") || fail "$program does not build"
  timeout 60 node "benches/code_size/examples/$program.mjs" "$wasm" || fail "$program in node"
done

# The examples: each crate of examples/edge-wasm*/ brings `run.mjs`, which gets the built module.
for manifest in examples/edge-wasm*/Cargo.toml; do
  [ -f "$manifest" ] || continue
  crate=$(dirname "$manifest")
  rustc=$(tests/cross-targets.sh --rustc wasm32-unknown-unknown)
  wasm=$(cd "$crate" && RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross cargo build "${LOCKED[@]}" --release \
    --target wasm32-unknown-unknown --message-format json 2>/dev/null | grep -o '[^"]*\.wasm"' | tail -n 1 | tr -d '"') ||
    fail "$crate does not build"
  timeout 120 node "$crate/run.mjs" "$wasm" || fail "$crate in node"
done
