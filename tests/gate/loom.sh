#!/usr/bin/env bash
# the rings under loom's C11 memory model
. "$(dirname "$0")/lib.sh"
. tests/gate/cfg-tests.sh
cfg_tests loom ring_loom flight_loom
