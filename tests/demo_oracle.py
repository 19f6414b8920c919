#!/usr/bin/env python3
"""Runs the demo for many seeds and compares the bottleneck that it names with one found independently.

Input: the binary, and how many seeds. Output: a table with a row for each incident; exit status 1 at a
disagreement. Bound: about a second a run.

    demo_oracle.py path/to/spanlet [--seeds 20]
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bottleneck_oracle  # noqa: E402

NAMED = re.compile(r"^▶ Bottleneck: (.+?): ([\d.]+) (ns|µs|ms|s) of ([\d.]+) (ns|µs|ms|s), (\d+) % of", re.M)
TRACE = re.compile(r"^trace ([0-9a-f]{32}) ", re.M)
NS = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}


def near(shown, unit, ns):
    """Whether a figure of three digits is that of `ns`."""
    return abs(float(shown) * NS[unit] - ns) <= 0.006 * ns + 1


def check(binary, incident, seed):
    """One run: what was named, its share, and what disagrees."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        command = [binary, "demo", "--incident", str(incident), "--seed", str(seed), "--width", "400"]
        run = subprocess.run(command + ["--json", file.name], capture_output=True, text=True, timeout=120)
        lines = Path(file.name).read_text(encoding="utf-8")
    if run.returncode != 0:
        return None, 0, f"exit status {run.returncode}: {run.stderr.strip()}"
    trace, named = TRACE.search(run.stdout), NAMED.search(run.stdout)
    if not trace or not named:
        return None, 0, f"no bottleneck in:\n{run.stdout}"
    (verdict,) = [v for v in bottleneck_oracle.judge_lines(lines) if v["traceId"] == trace[1]]
    ours = verdict["bottleneck"]
    name, percent = f"{ours['service']} {ours['name']}", int(named[6])
    agrees = (
        named[1].startswith(name)
        and percent == ours["percent"]
        and near(named[2], named[3], ours["criticalSelfNs"])
        and near(named[4], named[5], verdict["totalNs"])
    )
    return name, percent, "" if agrees else f"the demo says {named[0]}; the oracle {name}: {ours}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    print(f"{'incident':8}  {'agree':>7}  {'share':>9}  named")
    failed = False
    with ThreadPoolExecutor(2) as pool:
        for incident in range(1, 6):
            seeds = range(1, args.seeds + 1)
            runs = list(pool.map(lambda seed: check(args.binary, incident, seed), seeds))
            good = [r for r in runs if not r[2]]
            shares = [share for _, share, _ in good] or [0]
            names = ", ".join(f"{name} ({n})" for name, n in Counter(r[0] for r in good).most_common())
            share = f"{min(shares)}-{max(shares)} %"
            print(f"{incident:8}  {len(good):3}/{len(runs):3}  {share:>9}  {names}", flush=True)
            for seed, (_, _, fault) in zip(seeds, runs):
                if fault:
                    failed = True
                    print(f"  seed {seed}: {fault}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
