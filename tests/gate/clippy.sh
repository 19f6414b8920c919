#!/usr/bin/env bash
# clippy, warnings denied: each package alone, bare, with each feature and with all (MSRV held by incompatible_msrv)
. "$(dirname "$0")/lib.sh"

# One package at a time: a workspace build unifies features and would hide what a package lacks on its own.
runs=0
lint() {
  local from
  from=$(now)
  cargo clippy -q "${LOCKED[@]}" "$@" -- -D warnings || fail "cargo clippy $*"
  runs=$((runs + 1))
  echo "$* ($(seconds_since "$from") s)"
}
for package in $(packages); do
  all=($(features "$package"))
  lint --all-targets -p "$package" --no-default-features
  [ ${#all[@]} -eq 0 ] || lint --all-targets -p "$package" --all-features
  # Core's library as firmware gets it: dev-dependencies, which switch features on, stay out.
  if [ "$package" = spanlet ]; then
    lint --lib -p spanlet --no-default-features
    for feature in "${all[@]}"; do lint --lib -p spanlet --no-default-features --features "$feature"; done
  fi
done
echo "$runs runs, MSRV $(metadata "[p['spanlet']['rust_version']]")"
