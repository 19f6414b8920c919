#!/usr/bin/env bash
# The project's gate, in named sections; each is tests/gate/SECTION.sh and may be run alone.
#   tests/gate.sh              runs every section in order, stops at the first that fails
#   tests/gate.sh SECTION...   runs those
#   tests/gate.sh --keep-going [SECTION...]   runs on after a failure; the exit status still tells
#   tests/gate.sh --list       names them, with a line each
# A section installs what it needs (apt, pip, npm, cargo) and prints what it measured and its seconds. A part
# that cannot run prints `SKIPPED <reason>`; with CI=true that fails the section.
set -euo pipefail
cd "$(dirname "$0")/.."

# Cheap first, so that a slip in formatting does not wait for an hour.
readonly SECTIONS=(format unsafe policy dependencies clippy docs targets links loom step dual-core firmware boards wasm budgets fuzz demo databases interop)
# Run by name only: needs the RustSec database, which not every network reaches.
readonly BY_NAME=(advisories)

about() { sed -n '2s/^# //p' "tests/gate/$1.sh"; }
known() { local name; for name in "${SECTIONS[@]}" "${BY_NAME[@]}"; do [ "$name" != "$1" ] || return 0; done; return 1; }

keep_going=0 names=()
for argument in "$@"; do
  case $argument in
    --list)
      for name in "${SECTIONS[@]}"; do printf '%-12s %s\n' "$name" "$(about "$name")"; done
      for name in "${BY_NAME[@]}"; do printf '%-12s %s (by name only)\n' "$name" "$(about "$name")"; done
      exit ;;
    --keep-going) keep_going=1 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit ;;
    *) known "$argument" || { echo "gate: no section '$argument'; there are: ${SECTIONS[*]} ${BY_NAME[*]}" >&2; exit 2; }
       names+=("$argument") ;;
  esac
done
[ ${#names[@]} -gt 0 ] || names=("${SECTIONS[@]}")

export GATE_SKIPS
GATE_SKIPS=$(mktemp)
trap 'rm -f "$GATE_SKIPS"' EXIT
failed=() started=$SECONDS
for name in "${names[@]}"; do
  echo "=== $name: $(about "$name")"
  from=$SECONDS
  if bash "tests/gate/$name.sh" </dev/null; then verdict=passed; else verdict=FAILED failed+=("$name"); fi
  echo "=== $name: $verdict, $((SECONDS - from)) s"
  [ "$verdict" = passed ] || [ $keep_going = 1 ] || break
done

if [ -s "$GATE_SKIPS" ]; then echo "skipped:"; sed 's/^/  /' "$GATE_SKIPS"; fi
if [ ${#failed[@]} -gt 0 ]; then echo "gate: FAILED: ${failed[*]} (after $((SECONDS - started)) s)"; exit 1; fi
echo "gate: ${#names[@]} sections passed in $((SECONDS - started)) s"
