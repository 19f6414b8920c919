#!/usr/bin/env bash
# the spanlet binary and every WASM program link without a critical-section provider
. "$(dirname "$0")/lib.sh"

tests/cross-targets.sh wasm32-unknown-unknown
nm=$(llvm_tool nm)

# A provider that a dependency brought along would hide the need for one: none may be in the binary at all.
cargo build -q "${LOCKED[@]}" -p spanlet-cli
found=$("$nm" "$OUT/debug/spanlet" | grep -i critical_section || true)
[ -z "$found" ] || fail "the spanlet binary has a critical section: $found"
echo "spanlet: $("$nm" "$OUT/debug/spanlet" | wc -l) symbols, none of a critical section"

# What a WASM module does not find becomes an import.
. benches/code_size/programs.sh
for program in "${WASM_PROGRAMS[@]}"; do
  wasm=$(build_wasm "$program")
  imports=$(node -e '
    const module = new WebAssembly.Module(require("fs").readFileSync(process.argv[1]));
    console.log(WebAssembly.Module.imports(module).map((i) => `${i.module}.${i.name}`).join(" "));' "$wasm")
  [ -z "$imports" ] || fail "$program imports $imports"
done
echo "wasm: ${WASM_PROGRAMS[*]} import nothing"
