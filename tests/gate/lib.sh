# What the gate's sections share. Sourced, never run; every section starts in the repository's root.
set -Eeuo pipefail
trap 'echo "FAILED at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
# Where builds go. `target/budgets.json` stays under the root whatever the build directory is.
OUT=${CARGO_TARGET_DIR:-$ROOT/target}
case $OUT in /*) ;; *) OUT=$ROOT/$OUT ;; esac
TOOLS=$OUT/gate-tools
mkdir -p "$TOOLS" "$ROOT/target"
# A change of the lock file is part of the change: CI takes it as committed.
LOCKED=(${CI:+--locked})

BARE_TARGETS=(thumbv7em-none-eabihf thumbv7m-none-eabi thumbv6m-none-eabi
  riscv32imc-unknown-none-elf riscv32imac-unknown-none-elf)
TARGETS=("${BARE_TARGETS[@]}" wasm32-unknown-unknown)

fail() { echo "FAILED $*" >&2; exit 1; }

# skip REASON: this part cannot run here. Under CI that is a failure.
skip() {
  echo "SKIPPED $*"
  [ -z "${GATE_SKIPS:-}" ] || echo "$(basename "$0" .sh): $*" >>"$GATE_SKIPS"
  [ -z "${CI:-}" ] || fail "skipped under CI: $*"
}

# Two readings of `date`, in seconds with tenths: seconds_since "$(now)".
now() { date +%s%N; }
seconds_since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", (to - from) / 1e9 }'; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# need COMMAND PACKAGE: installs Debian's PACKAGE where COMMAND is not found.
need() {
  command -v "$1" >/dev/null && return
  command -v apt-get >/dev/null || fail "$1 is not here, and no apt-get to install $2"
  echo "installing $2"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
  command -v "$1" >/dev/null || fail "$2 is installed, but there is no $1"
}

# llvm_tool size|nm|objcopy|objdump: the name under which the tool is here (distributions put a version behind it).
llvm_tool() {
  command -v "llvm-$1" || compgen -c "llvm-$1-" | grep -E "^llvm-$1-[0-9]+$" | sort -V | tail -n 1 | grep . || {
    need "llvm-$1" llvm >&2
    echo "llvm-$1"
  }
}

# cross_cargo TARGET SUBCOMMAND ARGUMENT...: cargo for a bare-metal or WASM target, by the rustc that has it.
# A directory of its own: the compiler may not be the one of the other builds.
cross_cargo() {
  local target=$1 subcommand=$2 rustc
  shift 2
  rustc=$(tests/cross-targets.sh --rustc "$target")
  RUSTC=$rustc CARGO_TARGET_DIR=$OUT/cross cargo "$subcommand" "${LOCKED[@]}" --target "$target" "$@"
}

# metadata EXPRESSION: prints each item of a Python list over `p`, the workspace's packages.
metadata() {
  cargo metadata --format-version 1 --no-deps "${LOCKED[@]}" |
    python3 -c "import json,sys; p={x['name']:x for x in json.load(sys.stdin)['packages']}; [print(i) for i in ($1)]"
}
packages() { metadata "sorted(p)"; }
# features PACKAGE: its features, `default` left out.
features() { metadata "sorted(f for f in p['$1']['features'] if f != 'default')"; }

# interop_python: sets INTEROP_PYTHON to a Python that has the peers of tests/interop/requirements.txt.
interop_python() {
  local requirements=tests/interop/requirements.txt venv=$TOOLS/interop-venv
  need python3 python3
  # Once per set of versions; a venv that was left half-made has no stamp.
  if ! cmp -s "$requirements" "$venv/installed.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" 2>/dev/null || { rm -rf "$venv"; need virtualenv python3-virtualenv; virtualenv -q "$venv"; }
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
  fi
  INTEROP_PYTHON=$venv/bin/python
}

# interop_node: sets INTEROP_NODE_DIRECTORY to where the programs of tests/interop/node are, with what they need.
interop_node() {
  local from=tests/interop/node to=$TOOLS/interop-node
  need node nodejs
  need npm npm
  mkdir -p "$to"
  # Once per set of versions; an installation that was left half-made has no stamp.
  if ! cmp -s "$from/package-lock.json" "$to/installed.json"; then
    rm -rf "$to/node_modules" "$to/installed.json"
    cp "$from/package.json" "$from/package-lock.json" "$to"
    npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    cp "$from/package-lock.json" "$to/installed.json"
  fi
  cp "$from"/*.js "$to"
  INTEROP_NODE_DIRECTORY=$to
}

# Manifests of the crates that have a workspace of their own (firmware, WASM, fuzz, rigs).
own_workspaces() { git ls-files --cached --others --exclude-standard '*Cargo.toml' | xargs grep -l '^\[workspace\]' | grep -v '^Cargo.toml$' || true; }
