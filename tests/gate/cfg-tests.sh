# Sourced: tests that need core built under a cfg of its own, in a directory of its own.

# cfg_tests CFG TEST...: `tests/TEST.rs` under `--cfg CFG`; a run without a single test is a failure.
cfg_tests() {
  local cfg=$1 test output count
  shift
  for test in "$@"; do
    [ -f "tests/$test.rs" ] || { skip "tests/$test.rs is not there"; continue; }
    output=$(RUSTFLAGS="--cfg $cfg" CARGO_TARGET_DIR=$OUT/$cfg \
      cargo test -q "${LOCKED[@]}" --release -p spanlet-tests --test "$test" -- --nocapture 2>&1) ||
      { echo "$output"; fail "$test under --cfg $cfg"; }
    count=$(echo "$output" | sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' | awk '{ n += $1 } END { print n + 0 }')
    [ "$count" -gt 0 ] || fail "$test ran no test under --cfg $cfg"
    # What the tests say of themselves, without the compiler's part before it.
    echo "$output" | sed -n '/^running/,$p' | grep -vE '^$|^running|^test result|^\.+$' || true
    echo "$test: $count tests"
  done
}
