#!/usr/bin/env bash
# the rings with an interrupt placed at every step of a writer, and a reset after every store
. "$(dirname "$0")/lib.sh"
. tests/gate/cfg-tests.sh
cfg_tests step ring_interrupts flight_crash
