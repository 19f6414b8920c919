#!/usr/bin/env python3
"""Rewrites golden frames as annotated hex. Reads the wire by core/WIRE.md, not by the Rust sources.

    python3 tests/golden/annotate.py tests/golden/*.hex          rewrite
    python3 tests/golden/annotate.py --check tests/golden/*.hex  fail if a file would change
"""
import struct
import sys
import zlib


class Reader:
    def __init__(self, data):
        self.data, self.at, self.mark, self.lines = data, 0, 0, []

    def note(self, text):
        self.lines.append((self.data[self.mark:self.at].hex(" "), text))
        self.mark = self.at

    def take(self, n):
        assert self.at + n <= len(self.data), "ends inside an item"
        self.at += n
        return self.data[self.at - n:self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while True:
            b = self.byte()
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                assert value < 1 << 64
                return value

    def zigzag(self):
        v = self.varint()
        return v >> 1 ^ -(v & 1)

    def block(self):
        return self.take(self.varint())

    def text(self):
        return self.block().decode()

    def ref(self):
        symbol = self.varint()
        return f"symbol {symbol}" if symbol else repr(self.text())


COUNTERS = ["pending", "open", "sampled out", "ring full", "too large", "overwritten",
            "unsendable", "lost at reset", "escalated incomplete"]
KINDS = ["internal", "server", "client", "producer", "consumer"]


def value(r, code):
    if code < 2:
        return bool(code)
    if code == 2:
        return r.zigzag()
    if code == 3:
        return struct.unpack("<d", r.take(8))[0]
    if code == 4:
        return struct.unpack("<d", r.varint().to_bytes(8, "little")[::-1])[0]
    if code == 5:
        return f"symbol {r.varint()}"
    if code == 6:
        return repr(r.text())
    if code in (7, 12):
        return ("any " if code == 12 else "bytes ") + r.block().hex()
    item = {8: lambda: bool(r.byte()), 9: r.zigzag, 11: r.text,
            10: lambda: struct.unpack("<d", r.take(8))[0]}[code]
    return [item() for _ in range(r.varint())]


def entry(r, start):
    b = r.byte()
    code, pad = b & 31, "    of it: " if b & 32 else "  "
    if code == 31:
        r.note("  end of entries")
        return False
    if code <= 12:
        key = r.ref()
        r.note(f"{pad}{key} = {value(r, code)}")
    elif code == 13:
        r.note(f"{pad}event {r.ref()} at start + {r.zigzag()}")
    elif code == 14:
        bits, flags = r.take(2)
        trace = "the same trace" if bits & 2 else r.take(16).hex()
        r.note(f"{pad}link to {trace} {r.take(8).hex()} flags {flags:02x}{' remote' if bits & 1 else ''}")
    elif code == 15:
        r.note(f"{pad}it lost {r.varint()} attributes")
    elif code == 16:
        r.note(f"{pad}lost: attributes, events, links, cut values {[r.varint() for _ in range(4)]}")
    else:
        what = {17: "event name", 18: "status description", 19: "trace state"}[code]
        r.note(f"{pad}{what} {r.text()!r}")
    return True


def record(r, n, end):
    first, second = r.take(2)
    more = r.byte() if first & 128 else 0
    entries = second >> 3
    r.note(f"record {n}: {KINDS[first & 7]}, status {first >> 3 & 3}, "
           f"{'open end' if entries == 31 else entries} entries, more {more:05b}")
    if first & 32:
        r.take(16)
        r.note("  trace id")
    if first & 64:
        r.note("  span id: the previous record's parent")
    else:
        r.take(8)
        r.note("  span id")
    parent = second & 3
    if parent >= 2:
        r.take(8)
    r.note("  " + ["no parent", "the previous record's parent", "parent id", "remote parent id"][parent])
    if second & 4:
        r.byte()
        r.note("  W3C flags")
    end += r.zigzag()
    r.note(f"  end {end}")
    duration = r.varint()
    r.note(f"  duration {duration}")
    r.note(f"  name {r.ref()}")
    if more & 16:
        r.note(f"  scope {r.ref()}, {r.ref()}, {r.ref()}")
    while entries != 0 and entry(r, end - duration):
        entries -= entries != 31
    return end


def records(r, stop):
    bits = r.varint()
    r.note(f"presence {bits:012b}")
    first, count = r.varint(), r.varint()
    r.note(f"first {first}, count {count}")
    if bits & 4:
        kept = r.varint()
        r.note(f"kept {kept}: oldest {first - kept & 0xffffffff}")
    for i, name in enumerate(COUNTERS):
        if bits >> 3 + i & 1:
            r.note(f"{name} {r.varint()}")
    records_end = stop
    if bits & 1:
        records_end = r.varint() + r.at
        r.note(f"records up to byte {records_end}")
    end = 0
    for n in range(first, first + count):
        end = record(r, n, end)
    assert r.at == records_end, "records do not end where they should"
    while r.at < stop:
        r.note(f"symbol {r.varint()} is {r.text()!r}")


def message(r, stop):
    tag = r.byte()
    r.note({1: "hello", 2: "clock pong", 0x81: "acknowledgement", 0x82: "clock ping",
            0x83: "command in a trace", 0x84: "send the dictionary", 0x85: "send a hello"}[tag])
    if tag == 1:
        r.note(f"device id {r.text()!r}")
        r.note(f"build id {r.block().hex()}")
        r.note(f"{r.varint()} ticks per second")
        r.note(f"capabilities {r.varint():03b}")
        r.note(f"scope {r.text()!r}, {r.text()!r}, {r.text()!r}")
        length = r.varint()
        r.note(f"{length} bytes of resource attributes")
        while r.at < stop:
            entry(r, 0)
    elif tag == 2:
        r.note(f"id {r.varint()}, ping sent at {r.varint()} ns, received at {r.varint()} ticks")
    elif tag == 0x81:
        r.note(f"next {r.varint()}")
    elif tag == 0x82:
        r.note(f"id {r.varint()}, sent at {r.varint()} ns")
    elif tag == 0x83:
        r.take(25)
        r.note("trace id, span id, W3C flags")
        r.note(f"payload {r.block()!r}")


def uncobs(data):
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        out += data[at + 1:at + code]
        at += code
        if code != 255 and at < len(data):
            out.append(0)
    return bytes(out)


def frame(data):
    r = Reader(data)
    stop = len(data) - 4
    assert r.byte() == 0x54
    r.note("channel")
    kind = r.byte()
    r.note(f"version {kind >> 4}, type {kind & 15}")
    flags = r.byte()
    r.note(f"flags {flags:02b}")
    r.note(f"epoch {r.varint():#x}")
    r.note(f"sent at {r.varint()}")
    if flags & 2:
        r.note(f"fragment of {r.varint()}, offset {r.varint()}, total {r.varint()}")
        r.take(stop - r.at)
        r.note("part of the content")
    else:
        (message if kind & 15 else records)(r, stop)
    assert r.at == stop, "the content does not end at the CRC"
    assert struct.unpack("<I", r.take(4))[0] == zlib.crc32(data[:stop]), "CRC"
    r.note("CRC-32")
    return r.lines


def annotate(text):
    out, frames = [], "".join(line.split("#")[0].replace(" ", "") for line in
                              text.replace("---", "/").splitlines()).split("/")
    for data in map(bytes.fromhex, frames):
        lines = []
        if data[-1] == 0 and data[0] != 0x54:
            lines.append((data.hex(" "), "with COBS and delimiter; without:"))
            commented = True
            data = uncobs(data[:-1])
        else:
            commented = False
        for octets, what in frame(data):
            lines.append((f"# {octets}", what) if commented else (octets, what))
        width = 48
        block = []
        for octets, what in lines:
            if octets and len(octets) > width:
                block += [octets, f"{'':{width}} # ^ {what}"]
            else:
                block.append(f"{octets:{width}} # {what}")
        out.append("\n".join(block))
    return "\n---\n".join(out) + "\n"


def main():
    check = sys.argv[1] == "--check"
    stale = []
    for path in sys.argv[1 + check:]:
        text = open(path, encoding="utf-8").read()
        new = annotate(text)
        if new != text:
            stale.append(path)
            if not check:
                open(path, "w", encoding="utf-8").write(new)
    if check and stale:
        sys.exit(f"not as annotated: {', '.join(stale)}")


main()
