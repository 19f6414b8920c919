#!/usr/bin/env bash
# rustdoc of every package with all features, warnings denied
. "$(dirname "$0")/lib.sh"

count=0
for package in $(packages); do
  RUSTDOCFLAGS="-D warnings" cargo doc -q "${LOCKED[@]}" --no-deps -p "$package" --all-features || fail "docs of $package"
  count=$((count + 1))
done
echo "$count packages documented"
