"""Checks std-adapter/COMPLIANCE.md: each row says +, - or N/A with a reason, and each + names tests that exist."""

import pathlib
import re
import sys

VERDICTS = ("+", "-", "N/A")
REFERENCE = re.compile(r"`([\w./-]+\.(?:rs|py|sh|md))(::|#)([^`]+)`")


def is_test(path: pathlib.Path, name: str) -> bool:
    """Whether a test, or of a Python check a function, of this name is in the file."""
    text = path.read_text()
    if path.suffix == ".py":
        return bool(re.search(rf"^def {re.escape(name)}\(", text, re.M))
    # Its attribute is among the lines in front of it.
    attributes = r"#\[(?:\w+::)?test[^\n]*\n(?:\s*(?:#\[[^\n]*|//[^\n]*)\n)*\s*(?:async )?"
    return bool(re.search(rf"{attributes}fn {re.escape(name)}\(", text))


def faults_of(row: str) -> list[str]:
    cells = [cell.strip() for cell in row.strip().strip("|").split(" | ")]
    if len(cells) != 3:
        return [f"{len(cells)} cells, not 3"]
    _, verdict, why = cells
    references = REFERENCE.findall(why)
    faults = []
    if verdict not in VERDICTS:
        faults.append(f"verdict {verdict!r}")
    if not why or (verdict == "+" and not references):
        faults.append("names no test")
    for file, kind, name in references:
        path = pathlib.Path(file)
        if not path.is_file():
            faults.append(f"no file {file}")
        elif kind == "#" and name not in path.read_text():
            faults.append(f"{file} does not say {name!r}")
        elif kind == "::" and not is_test(path, name):
            faults.append(f"no test {name} in {file}")
    return faults


def main() -> None:
    lines = pathlib.Path("std-adapter/COMPLIANCE.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith("|---") and "| test, or why |" not in line]
    faults = [f"{row}\n    {fault}" for row in rows for fault in faults_of(row)]
    if faults or not rows:
        sys.exit("COMPLIANCE.md:\n" + "\n".join(faults or ["no rows"]))
    counts = ", ".join(f"{sum(f' | {v} | ' in row for row in rows)} {v}" for v in VERDICTS)
    print(f"{len(rows)} rows of the compliance matrix: {counts}; every test that is named exists")


if __name__ == "__main__":
    main()
