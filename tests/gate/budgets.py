"""Compares measured values with their limits and writes both as JSON.

Usage: budgets.py LIMITS VALUES JSON
LIMITS holds `name limit unit` lines, VALUES `name value` lines. JSON becomes a list of
{"name", "value", "unit", "limit"}. A limit `>=N` is the least that the value may be. Exit status 1 when a value is past its limit, measured without a limit,
measured twice, or limited without being measured; the JSON is written all the same.
"""

import json
import sys


def rows(path: str, columns: int) -> list[list[str]]:
    lines = [line.split() for line in open(path) if line.strip() and not line.startswith("#")]
    for line in lines:
        if len(line) != columns:
            sys.exit(f"{path}: not {columns} columns: {' '.join(line)}")
    return lines


def number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def main() -> int:
    limits_path, values_path, json_path = sys.argv[1:]
    limits = {}
    for name, limit, unit in rows(limits_path, 3):
        if name in limits:
            sys.exit(f"{limits_path}: {name} twice")
        limits[name] = (number(limit.removeprefix(">=")), unit, limit.startswith(">="))
    wrong, measured = [], {}
    for name, value in rows(values_path, 2):
        if name in measured:
            wrong.append(f"{name}: measured twice")
        measured[name] = number(value)
        if name not in limits:
            wrong.append(f"{name}: {value} measured, but {limits_path} has no limit")
    budgets = []
    for name, (limit, unit, is_least) in limits.items():
        if name not in measured:
            wrong.append(f"{name}: a limit of {limit} {unit}, but nothing measured it")
            continue
        value = measured[name]
        good = value >= limit if is_least else value <= limit
        verdict = "" if good else "  PAST ITS LIMIT"
        relation = "at least" if is_least else "of"
        print(f"  {name:44} {value:>9} {relation} {limit:>9} {unit}{verdict}")
        if verdict:
            wrong.append(f"{name}: {value} {unit}, limit {limit}")
        budgets.append({"name": name, "value": value, "unit": unit, "limit": limit})
    with open(json_path, "w") as out:
        json.dump(budgets, out, indent=1)
        out.write("\n")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(budgets)} budgets, {len(wrong)} failures; {json_path}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
