"""The table of what the parts of core cost on a device, in examples/firmware/README.md.

Usage: costs.py LIMITS README [--write]
Made of the limits in tests/budgets.txt, which a build holds, so that the table is the same with each compiler.
Stands between two comments in README. Without --write: exit status 1 if it is not current.
"""

import sys

BEGIN, END = "<!-- costs: tests/gate/costs.py --write -->", "<!-- /costs -->"

FLASH = [
    ("trace context alone: `traceparent` in and out", "v6m.context_flash_bytes"),
    ("spans and their ring", "v6m.span_ring_flash_bytes"),
    ("**the whole path**: context, spans, ring, drain, frames", "v6m.core_path_flash_bytes"),
    ("the same on a Cortex-M4", "v7em.core_path_flash_bytes"),
    ("+ attributes with copied texts", "v6m.feature_text_flash_bytes"),
    ("+ events with attributes", "v6m.feature_event_flash_bytes"),
    ("+ the hello with resource attributes", "v6m.feature_hello_flash_bytes"),
    ("+ acknowledged delivery, with the way down", "v6m.feature_acknowledged_flash_bytes"),
    ("+ a flight recorder instead of the ring: spans that a reset keeps", "v6m.feature_flight_flash_bytes"),
    ("+ OTLP on the device, without a gateway", "v6m.feature_otlp_flash_bytes"),
    ("+ baggage, out only", "v6m.feature_baggage_flash_bytes"),
    ("an instrumented library under `SPANLET_FILTER=off`", "v7em.filter_off_flash_bytes"),
]
REST = [
    ("a span with two integers, start to end, Cortex-M4", "m4.span_2_int_attrs_instructions"),
    ("the same, Cortex-M0", "m0.span_2_int_attrs_instructions"),
    ("its way through the drain in a frame of its own, Cortex-M4", "m4.drain_1_span_instructions"),
    ("the same with a flight recorder, Cortex-M4", "m4.flight_span_instructions"),
    ("interrupts off, Cortex-M4 with compare-and-swap", "m4.irq_off_cas_instructions"),
    ("interrupts off, Cortex-M0", "m0.irq_off_instructions"),
    ("the open span, on the stack", "ram.open_span_bytes"),
    ("an open span in a flight recorder's table, besides", "ram.flight_open_span_bytes"),
    ("such spans in a ring of 4 KiB", "ram.ring_4k_spans"),
    ("tracer with that ring, and drain", "ram.static_total_bytes"),
    ("a span on the wire, everything counted", "wire.bytes_per_span"),
]


def limits(path: str) -> dict[str, tuple[str, str]]:
    rows = [line.split() for line in open(path) if line.strip() and not line.startswith("#")]
    return {name: (limit, unit) for name, limit, unit in rows}


def amount(limit: str, unit: str) -> str:
    if limit.startswith(">="):
        return f"at least {limit[2:]} {unit}"
    number = float(limit) if "." in limit else int(limit)
    return f"{number:,} {unit}"


def table(of: dict[str, tuple[str, str]]) -> str:
    lines = ["| flash, Cortex-M0, `opt-level = \"s\"` | at most |", "|---|---|"]
    lines += [f"| {what} | {amount(*of[name])} |" for what, name in FLASH]
    lines += ["", "| time and RAM | at most |", "|---|---|"]
    lines += [f"| {what} | {amount(*of[name])} |" for what, name in REST]
    return "\n".join(lines)


def main() -> int:
    limits_path, readme = sys.argv[1:3]
    text = open(readme).read()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        print(f"{readme}: not once {BEGIN} and {END}", file=sys.stderr)
        return 1
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    current = f"{before}{BEGIN}\n{table(limits(limits_path))}\n{END}{after}"
    if "--write" in sys.argv:
        open(readme, "w").write(current)
    elif current != text:
        print(f"{readme}: its table of costs is not that of {limits_path}; run tests/gate/costs.py {limits_path} {readme} --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
