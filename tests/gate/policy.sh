#!/usr/bin/env bash
# licences, duplicate and refused dependencies, sources (cargo-deny, deny.toml); the compliance table names tests that exist
. "$(dirname "$0")/lib.sh"
. tests/gate/cargo-deny.sh

manifests=(Cargo.toml $(own_workspaces))
for manifest in "${manifests[@]}"; do
  # Duplicates count where they are shipped; rigs and example firmware take what their boards' crates bring.
  duplicates=(--allow duplicate --allow unmatched-skip)
  [ "$manifest" != Cargo.toml ] || duplicates=()
  "$CARGO_DENY" --log-level error --manifest-path "$manifest" --all-features --config "$ROOT/deny.toml" check \
    --hide-inclusion-graph "${duplicates[@]}" licenses bans sources || fail "policy of $manifest"
done
for manifest in $(git ls-files '*Cargo.toml'); do
  [ -n "$(git ls-files "$(dirname "$manifest")/Cargo.lock")" ] || ! grep -q '^\[workspace\]' "$manifest" ||
    fail "$manifest has a workspace but no committed Cargo.lock"
done
echo "${#manifests[@]} workspaces, $(grep -c '^name = ' Cargo.lock) packages locked in the first"
python3 tests/gate/compliance.py || fail "compliance"
