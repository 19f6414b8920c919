#!/usr/bin/env bash
# advisories and yanked versions against the RustSec database
. "$(dirname "$0")/lib.sh"
. tests/gate/cargo-deny.sh

if ! timeout 60 git ls-remote -q https://github.com/rustsec/advisory-db HEAD >/dev/null 2>&1; then
  skip "the RustSec database cannot be reached from here"
  exit
fi
"$CARGO_DENY" --all-features check advisories
