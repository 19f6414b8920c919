#!/usr/bin/env bash
# Makes the bare-metal and WASM targets buildable. Idempotent; several at once wait for each other.
#   cross-targets.sh [TARGET...]            makes sure of each target (default: all six)
#   cross-targets.sh --rustc TARGET         prints the rustc that has the target
# A target that the active toolchain has is taken from there (`rustup target add TARGET` puts it there; this
# script never calls rustup). Else the Debian route: rustc and the library sources from apt, `core` and
# `alloc` built from them once, and cargo told to use that compiler:
#   RUSTC=$(tests/cross-targets.sh --rustc thumbv6m-none-eabi) cargo build --target thumbv6m-none-eabi
# CROSS_ROUTE=debian takes the Debian route for every target, so that one compiler builds them all.
set -euo pipefail

readonly ALL=(thumbv7em-none-eabihf thumbv7m-none-eabi thumbv6m-none-eabi
  riscv32imc-unknown-none-elf riscv32imac-unknown-none-elf wasm32-unknown-unknown)
readonly DEBIAN_RUSTC=/usr/bin/rustc DEBIAN_LIB=/usr/lib/rustlib
# Asked with RUSTC out of the way: a caller may have exported it for the very targets in question.
ACTIVE_RUSTC=$(command -v rustc || true)
ACTIVE_LIB=$([ -z "$ACTIVE_RUSTC" ] || "$ACTIVE_RUSTC" --print sysroot)/lib/rustlib

active_has() { [ "${CROSS_ROUTE:-}" != debian ] && compgen -G "$ACTIVE_LIB/$1/lib/libcore-*.rlib" >/dev/null; }
debian_has() {
  [ -x "$DEBIAN_RUSTC" ] && [ "$(cat "$DEBIAN_LIB/$1/lib/.built-by" 2>/dev/null)" = "$("$DEBIAN_RUSTC" -V)" ]
}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
die() { echo "cross-targets: $*" >&2; exit 1; }

if [ "${1:-}" = --rustc ]; then
  target=${2:?a target}
  if active_has "$target"; then echo "$ACTIVE_RUSTC"
  elif debian_has "$target"; then echo "$DEBIAN_RUSTC"
  else die "$target is not there: run tests/cross-targets.sh $target"; fi
  exit
fi

[ $# -gt 0 ] || set -- "${ALL[@]}"
wanted=()
for target in "$@"; do active_has "$target" || wanted+=("$target"); done
[ ${#wanted[@]} -gt 0 ] || exit 0

exec 9>"${TMPDIR:-/tmp}/spanlet-cross-targets.$(id -u).lock"
flock 9

missing=()
for target in "${wanted[@]}"; do debian_has "$target" || missing+=("$target"); done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || die "no ${missing[*]} here and no apt-get: rustup target add ${missing[*]}"
if ! [ -x "$DEBIAN_RUSTC" ] || ! [ -d /usr/src/rustc-"$("$DEBIAN_RUSTC" -V | cut -d' ' -f2)" ]; then
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rustc-web rust-web-src >/dev/null
fi
host=$("$DEBIAN_RUSTC" -vV | sed -n 's/^host: //p')
# Debian's rustc comes without rust-lld; the active toolchain's does, or any lld.
if ! [ -x "$DEBIAN_LIB/$host/bin/rust-lld" ]; then
  lld=$ACTIVE_LIB/$host/bin/rust-lld
  [ -x "$lld" ] || lld=$(command -v lld || die "no lld: apt-get install lld")
  as_root mkdir -p "$DEBIAN_LIB/$host/bin"
  as_root ln -sfn "$lld" "$DEBIAN_LIB/$host/bin/rust-lld"
fi

# The upgrade of the package may have brought a new compiler: ask again.
version=$("$DEBIAN_RUSTC" -V) missing=()
for target in "${wanted[@]}"; do debian_has "$target" || missing+=("$target"); done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
printf '#![no_std]\nextern crate alloc;\n' >"$work/src/lib.rs"
cat >"$work/Cargo.toml" <<TOML
[package]
name = "seed"
version = "0.0.0"
edition = "2021"
[profile.release]
panic = "abort"
[workspace]
TOML
# embed-bitcode: without it these rlibs could not take part in the project's LTO.
(cd "$work" && env -u CARGO_TARGET_DIR -u RUSTC_WRAPPER -u CARGO_ENCODED_RUSTFLAGS \
  RUSTC="$DEBIAN_RUSTC" RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes \
  cargo build -q --release -Zbuild-std=core,alloc "${missing[@]/#/--target=}")
for target in "${missing[@]}"; do
  lib=$DEBIAN_LIB/$target/lib
  as_root rm -rf "$lib"
  as_root mkdir -p "$lib"
  for crate in core alloc compiler_builtins; do
    as_root install -m644 "$work/target/$target"/release/deps/lib$crate-*.rlib "$lib/"
  done
  echo "$version" | as_root tee "$lib/.built-by" >/dev/null
  echo "built core and alloc for $target with $version"
done
