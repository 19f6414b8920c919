"""Decodes a defmt log (rzcobs frames, strings in the ELF), as far as this project's firmware uses defmt.

`python3 defmt_log.py ELF LOG` prints the lines; `lines(elf, log)` gives them.
"""

import json
import os
import re
import struct
import subprocess
import sys

FIXED = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i8": "<b", "i16": "<h", "i32": "<i", "i64": "<q", "bool": "<?"}
PARAMETER = re.compile(r"\{(?:=(\w+))?(?::(0?)(\d*)(x|us|\?)?)?\}")


def rzcobs(frame: bytes) -> bytes:
    """Undoes reverse-zero-compressing COBS, which is read from its end."""
    data, out = iter(reversed(frame)), bytearray()
    for code in data:
        if code < 0x80:
            for bit in range(6, -1, -1):
                out.append(0 if code & 1 << bit else next(data))
        elif code < 0xFF:
            out.append(0)
            out.extend(next(data) for _ in range((code & 0x7F) + 7))
        else:
            out.extend(next(data) for _ in range(134))
    return bytes(reversed(out))


def strings(elf: str) -> dict[int, dict]:
    """What the image interned: tag and text by index."""
    names = subprocess.run([os.environ.get("LLVM_NM", "llvm-nm"), elf], capture_output=True, text=True, check=True)
    found = (re.match(r"([0-9a-f]+) \S (\{.*\})$", line) for line in names.stdout.splitlines())
    return {int(m[1], 16) & 0xFFFF: json.loads(m[2]) for m in found if m}


class Frame:
    def __init__(self, data: bytes, table: dict[int, dict]):
        # Zeros at the end are not sent.
        self.data, self.at, self.table = data + bytes(256), 0, table

    def take(self, kind: str):
        format = FIXED[kind]
        (value,) = struct.unpack_from(format, self.data, self.at)
        self.at += struct.calcsize(format)
        return value

    def text(self, pattern: str) -> str:
        def parameter(match):
            kind, zero, width, hint = match.groups()
            if kind is None:
                return self.text(self.table[self.take("u16")]["data"])
            if kind == "__internal_FormatSequence":
                # One text for each `defmt::write!` of an implementation, up to a zero.
                return "".join(self.text(self.table[index]["data"]) for index in iter(lambda: self.take("u16"), 0))
            if kind == "str":
                length = self.take("u32")
                self.at += length
                return self.data[self.at - length : self.at].decode()
            value = self.take(kind)
            digits = f"{value:x}" if hint == "x" else str(value)
            return digits.rjust(int(width or 0), "0" if zero else " ")

        return PARAMETER.sub(parameter, pattern)


def lines(elf: str, log: bytes) -> list[str]:
    """`LEVEL text` of each whole frame."""
    table = strings(elf)
    stamp = next((entry["data"] for entry in table.values() if entry["tag"] == "defmt_timestamp"), "")
    out = []
    for raw in log.split(b"\0")[:-1]:
        if raw:
            frame = Frame(rzcobs(raw), table)
            entry = table[frame.take("u16")]
            frame.text(stamp)
            out.append(entry["tag"].removeprefix("defmt_") + " " + frame.text(entry["data"]).rstrip())
    return out


if __name__ == "__main__":
    with open(sys.argv[2], "rb") as file:
        print(*lines(sys.argv[1], file.read()), sep="\n")
