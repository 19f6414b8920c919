# Sourced: sets CARGO_DENY to cargo-deny at the version the project is checked with, built once and kept.
CARGO_DENY_VERSION=0.20.2
CARGO_DENY=$(command -v cargo-deny || true)
if [ -z "$CARGO_DENY" ] || [ "$("$CARGO_DENY" --version)" != "cargo-deny $CARGO_DENY_VERSION" ]; then
  CARGO_DENY=$TOOLS/bin/cargo-deny
  if [ "$("$CARGO_DENY" --version 2>/dev/null)" != "cargo-deny $CARGO_DENY_VERSION" ]; then
    echo "installing cargo-deny $CARGO_DENY_VERSION"
    # Unoptimised: it builds in half the time and runs for two seconds.
    CARGO_TARGET_DIR=$TOOLS/build cargo install -q --locked --debug --root "$TOOLS" "cargo-deny@$CARGO_DENY_VERSION"
    rm -rf "$TOOLS/build"
  fi
fi
