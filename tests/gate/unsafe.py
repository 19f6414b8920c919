"""Compares the files that hold unsafe code with the list of those that may.

Usage: unsafe.py LIST PACKAGE_DIR... . Exit status 1 and a line for each difference.
"""

import pathlib
import re
import sys

# Comments, string and char literals: what is left of a file without them is code.
NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^u]|\\u\{[^}]*\}|[^'\\\n])'""", re.S
)


def code_of(path: pathlib.Path) -> str:
    return NOT_CODE.sub(" ", path.read_text())


def main() -> int:
    listed = set()
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, argument = line.partition(" ")
            if not argument.strip():
                print(f"{name}: named without an argument")
                return 1
            listed.add(name)
    found, sites, files, wrong = set(), 0, 0, []
    for package in sys.argv[2:]:
        source = pathlib.Path(package, "src")
        # The lint stands in the code of each crate, so that it holds for whoever builds it.
        for root in (source / "lib.rs", source / "main.rs"):
            if root.exists() and not re.search(r"#!\[(deny|forbid)\(unsafe_code\)\]", root.read_text()):
                wrong.append(f"{root}: no #![deny(unsafe_code)]")
        for path in sorted(source.rglob("*.rs")):
            files += 1
            code = code_of(path)
            # `unsafe` as a keyword; attributes such as #[unsafe(no_mangle)] count too.
            count = len(re.findall(r"\bunsafe\b", code))
            if count:
                found.add(str(path))
                sites += count
            if re.search(r"#!\[(allow|expect)\([^)]*unsafe_code", code):
                wrong.append(f"{path}: unsafe_code is allowed inside the file; it belongs at the `mod` line or the item")
    wrong += [f"{path}: unsafe code, but not in {sys.argv[1]}" for path in sorted(found - listed)]
    wrong += [f"{path}: in {sys.argv[1]}, but without unsafe code" for path in sorted(listed - found)]
    for line in wrong:
        print(line)
    print(f"{files} files, {len(found)} of them with {sites} uses of unsafe")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
