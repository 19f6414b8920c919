#!/usr/bin/env bash
# unsafe code only in the modules that tests/gate/unsafe-modules.txt names, each with its argument
. "$(dirname "$0")/lib.sh"
python3 tests/gate/unsafe.py tests/gate/unsafe-modules.txt core core/macros std-adapter std-adapter/cli
