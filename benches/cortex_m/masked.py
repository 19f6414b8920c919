"""Names the stretches with interrupts off, and prints the longest under NAME.

Usage: nm -C --numeric-sort ELF | masked.py NAME FILE, FILE holding `times masked ADDRESS COUNT` lines.
The calibrating stretch must be there with exactly its 20 instructions; it is left out of the maximum.
"""

import bisect
import sys


def main() -> int:
    metric, stretches = sys.argv[1], sys.argv[2]
    addresses, names = [], []
    for line in sys.stdin:
        address, kind, name = line.rstrip("\n").split(" ", 2)
        if kind in "tT":
            addresses.append(int(address, 16) & ~1)
            names.append(name)
    longest, calibrated = 0, False
    for line in open(stretches):
        times, _, address, count = line.split()
        name = names[bisect.bisect_right(addresses, int(address, 16)) - 1]
        if name == "calibrate_masked":
            if int(count) != 20:
                print(f"20 instructions counted as {count}", file=sys.stderr)
                return 1
            calibrated = True
            continue
        print(f"{metric}: {count} instructions with interrupts off, {times} times, from {name}", file=sys.stderr)
        longest = max(longest, int(count))
    if not calibrated:
        print("the calibrating stretch was not seen", file=sys.stderr)
        return 1
    print(f"{metric} {longest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
