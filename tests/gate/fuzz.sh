#!/usr/bin/env bash
# each fuzz target of tests/fuzz for a short time over its seeds (FUZZ_SECONDS, 10 by default), on stable
. "$(dirname "$0")/lib.sh"

[ -f tests/fuzz/Cargo.toml ] || { skip "tests/fuzz is not there"; exit; }
need c++ g++
seconds=${FUZZ_SECONDS:-10}
# Coverage as libFuzzer wants it, through stable options: cargo-fuzz asks for the same, with a nightly for its sanitizers.
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target the options reach the targets only, not build scripts and macros.
RUSTFLAGS=$coverage CARGO_TARGET_DIR=$OUT/fuzz cargo build -q "${LOCKED[@]}" --release --target "$host" \
  --manifest-path tests/fuzz/Cargo.toml --bins || fail "the fuzz targets do not build"

count=0
for source in tests/fuzz/fuzz_targets/*.rs; do
  target=$(basename "$source" .rs)
  seeds=tests/fuzz/seeds/$target
  [ -n "$(ls "$seeds" 2>/dev/null)" ] || fail "$target has no seeds in $seeds"
  corpus=$OUT/fuzz/corpus/$target log=$OUT/fuzz/$target.log
  mkdir -p "$corpus"
  "$OUT/fuzz/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -verbosity=1 \
    -artifact_prefix="$OUT/fuzz/$target-" "$corpus" "$seeds" >"$log" 2>&1 || { tail -n 40 "$log"; fail "$target"; }
  # Without coverage it would run blind and find nothing for ever.
  cover=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2)
  [ "${cover:-0}" -gt 10 ] || fail "$target: no coverage feedback"
  echo "$target: $(grep -o 'Done [0-9]* runs' "$log" | cut -d' ' -f2) runs in $seconds s, $cover edges, $(ls "$corpus" | wc -l) inputs kept"
  count=$((count + 1))
done
[ $count -gt 0 ] || fail "tests/fuzz has no target"
