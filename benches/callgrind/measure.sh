#!/usr/bin/env bash
# Prints `name value` lines: instructions per operation on the host. Repeats exactly for the same binary.
set -euo pipefail
. "$(dirname "$0")/../../tests/gate/lib.sh"

need valgrind valgrind >&2
readonly FEW=1000 MANY=3000
(cd benches/callgrind && CARGO_TARGET_DIR=$OUT/callgrind cargo build -q "${LOCKED[@]}" --release >&2)
program=$OUT/callgrind/release/spanlet-callgrind

# collected CASE TIMES: instructions of the whole process.
collected() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
    awk '$2 == "Collected" { print $4; found = 1 } END { exit !found }' || fail "callgrind over $1"
}
# Instructions of one repetition times (MANY - FEW).
repetitions() { echo $(($(collected "$1" $MANY) - $(collected "$1" $FEW))); }

empty=$(repetitions loop)
for case in $("$program"); do
  [ "$case" = loop ] && continue
  total=$(repetitions "$case")
  awk -v name="$case" -v total=$((total - empty)) -v times=$((MANY - FEW)) 'BEGIN { printf "%s %.0f\n", name, total / times }'
done
