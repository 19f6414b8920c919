#!/usr/bin/env bash
# the rings with an interrupt placed at every step of a writer
. "$(dirname "$0")/lib.sh"
. tests/gate/cfg-tests.sh
cfg_tests step ring_interrupts
