#!/usr/bin/env bash
# core for the six targets, every pair of features; no std and no alloc in its graph or in a linked program
. "$(dirname "$0")/lib.sh"

tests/cross-targets.sh "${TARGETS[@]}"
features=($(features spanlet))

# Every pair of features is checked on the poorest target (no CAS, no 64-bit atomics): two that do not go together show,
# and a feature more costs a handful of checks, where all combinations would double. Elsewhere none, each and all are
# built down to code, which also evaluates what only a build evaluates.
from=$(now) pairs=0
for ((i = 0; i < ${#features[@]}; i++)); do
  for ((j = i + 1; j < ${#features[@]}; j++)); do
    cross_cargo thumbv6m-none-eabi check -q -p spanlet --no-default-features --features "${features[i]},${features[j]}" ||
      fail "thumbv6m-none-eabi with features '${features[i]},${features[j]}'"
    pairs=$((pairs + 1))
  done
done
echo "thumbv6m-none-eabi: $pairs pairs of ${features[*]} checked ($(seconds_since "$from") s)"
for target in "${TARGETS[@]}"; do
  from=$(now)
  for list in "" "${features[@]}" "$(IFS=,; echo "${features[*]}")"; do
    cross_cargo "$target" build -q -p spanlet --no-default-features --features "$list" || fail "$target with features '$list'"
  done
  echo "$target: none, each of ${#features[@]}, all built ($(seconds_since "$from") s)"
done

# Nothing in the graph may ask a dependency for std or alloc, whatever features are on.
for target in "${TARGETS[@]}"; do
  tree=$(cargo tree "${LOCKED[@]}" -p spanlet --all-features --target "$target" -e normal,no-proc-macro --prefix none -f '{p}|{f}')
  bad=$(echo "$tree" | sort -u | awk -F'|' '$2 ~ /(^|,)(std|alloc|use-std|use-alloc)(,|$)/')
  [ -z "$bad" ] || fail "std or alloc in core's graph on $target: $bad"
done
echo "core's graph with all features: $(echo "$tree" | sed 's/|.*//' | sort -u | wc -l) packages, none with std or alloc"

# A program without an allocator: rustc refuses to link it as soon as one crate of its graph uses `alloc`.
nm=$(llvm_tool nm)
for target in "${BARE_TARGETS[@]}"; do
  (cd tests/bare && CARGO_TARGET_DIR=$OUT/cross RUSTC=$("$ROOT/tests/cross-targets.sh" --rustc "$target") \
    cargo build -q "${LOCKED[@]}" --release --target "$target") || fail "a program without an allocator does not link on $target"
  elf=$OUT/cross/$target/release/spanlet-bare
  bad=$("$nm" -C "$elf" | grep -E '__rust_alloc|__rg_alloc|__rdl_alloc|alloc::(vec|string|boxed|raw_vec)' || true)
  [ -z "$bad" ] || fail "allocation in the program for $target: $bad"
  "$nm" -C "$elf" | grep -q bare_program || fail "the program for $target is empty"
done
echo "a program without an allocator links on ${#BARE_TARGETS[@]} bare targets"
