"""A UART that is cut, held back, corrupted and heard twice: what was kept arrives, what was lost is counted to the span."""

import json
import os
import tempfile
import time

from rig import Device, FaultyLink, Gateway, wait_until

FAN, PUMP = os.environ["FIRMWARE_EMBASSY"], os.environ["FIRMWARE_RTIC"]
# What is left out of the comparison at the end of a run, where spans are open or on their way.
UNSETTLED = 5


class Traffic:
    """The spans of one run, as the gateway wrote them."""

    def __init__(self, path: str, name: str, counter: str):
        with open(path) as file:
            lines = file.read().split("\n")
        # The last may be half a line.
        self.spans = [json.loads(line) for line in lines[:-1] if line]
        assert len({span["spanId"] for span in self.spans}) == len(self.spans), "a span came twice"
        # Lines come in the order in which the device recorded, at least where the link has done nothing for a while.
        self.line = {s["attributes"][counter]: at for at, s in enumerate(self.spans) if s["name"] == name}
        self.numbers = sorted(self.line)

    def last(self) -> int:
        return self.numbers[-1] if self.numbers else -1

    def before(self, number: int) -> int:
        """How many spans were recorded before this one."""
        return self.line[number]

    def check_sense(self, allowed: dict[str, set[str]]) -> None:
        """Nothing torn, nothing invented."""
        for span in self.spans:
            keys = set(span.get("attributes", {})) - {"spanlet.clock.error_bound_ns", "spanlet.clock.error"}
            assert keys <= allowed[span["name"]], span
            assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]), span


class Run:
    """A device behind a faulty link."""

    def __init__(self, elf: str, board: str, name: str, counter: str):
        self.dir = tempfile.TemporaryDirectory()
        self.json = f"{self.dir.name}/spans.jsonl"
        self.parts = [Gateway("--json", self.json)]
        self.gateway = self.parts[0]
        self.link = FaultyLink(self.gateway.port)
        self.device = Device(elf, board, self.link.port)
        self.parts += [self.link, self.device]
        self.name, self.counter = name, counter

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for part in reversed(self.parts):
            part.__exit__()
        self.dir.cleanup()

    def traffic(self) -> Traffic:
        return Traffic(self.json, self.name, self.counter)

    def wait_for(self, number: int) -> None:
        wait_until(f"{self.name} {number}", lambda: self.traffic().last() >= number)

    def heal(self) -> int:
        """From now on the link works. The last number from before."""
        before = self.traffic().last()
        self.link.say("heal")
        # What had waited comes first.
        self.wait_for(before + 50)
        self.wait_for(self.traffic().last() + 50)
        return before

    def stop(self, device: str) -> tuple[Traffic, dict[str, int], str]:
        self.device.__exit__()
        harm = self.link.report()
        ledger = self.gateway.stop()[device]
        return self.traffic(), ledger, harm


def said(ledger: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in ledger.items() if n)


def acknowledged(commands: str, seconds: float, outage: bool) -> None:
    """The fan's ring holds 4 KiB of what was not acknowledged."""
    with Run(FAN, "mps2-an386", "read sensor", "reading") as run:
        run.wait_for(25)
        run.link.say(commands)
        time.sleep(seconds)
        before = run.heal()
        traffic, ledger, harm = run.stop("fan-0001")
    traffic.check_sense(
        {"read sensor": {"reading"}, "conversion done": {"celsius_tenths"}, "POST": {"http.request.method", "url.path"}}
    )
    rounds = traffic.last() - UNSETTLED
    # Two spans a round, and in every tenth the call that nobody answers; the reading ends last.
    expected = 2 * rounds + (rounds + 9) // 10
    refused = ledger.get("ring full", 0)
    arrived = traffic.before(rounds - 1) + 1
    assert expected - arrived == refused, (expected, arrived, ledger)
    assert set(ledger) <= {"started", "exported", "ring full", "open", "pending on the device"}, ledger
    missing = sorted(set(range(rounds)) - set(traffic.numbers))
    if outage:
        # One gap; before it all that there was, and what the ring held.
        assert missing == list(range(missing[0], missing[-1] + 1)) and missing[0] > before, (missing, before)
        kept = 2 * (missing[0] - before)
        assert refused + kept >= 10 * kept, f"the outage was too short: {refused} refused, {kept} kept"
    print(f"acknowledged, {commands} for {seconds} s: {said(ledger)}; readings {missing[:1]}..{missing[-1:]} refused; {harm}")


def one_way(commands: str, seconds: float) -> None:
    with Run(PUMP, "lm3s6965evb", "sample", "sample") as run:
        run.wait_for(25)
        run.link.say(commands)
        time.sleep(seconds)
        before = run.heal()
        traffic, ledger, harm = run.stop("pump-0001")
    traffic.check_sense(
        {"sample": {"sample", "vibration", "evaluations", "stops"}, "evaluate": set(), "stop pump": set()}
    )
    # A sample whose evaluation could begin: all that came before it has ended.
    rounds = next(n for n in reversed(traffic.numbers[:-UNSETTLED]) if "status" not in traffic.spans[traffic.line[n]])
    begun = traffic.spans[traffic.line[rounds]]["attributes"]
    expected = rounds + begun["evaluations"] + begun["stops"]
    lost = ledger.get("lost on the link", 0)
    arrived = traffic.before(rounds)
    assert expected - arrived == lost > 0, (expected, arrived, ledger)
    assert set(ledger) <= {"started", "exported", "lost on the link", "open", "pending on the device"}, ledger
    print(f"one way, {commands} for {seconds} s: {said(ledger)}; {harm}")


if __name__ == "__main__":
    acknowledged("cut", 6, outage=True)
    acknowledged("stall", 2, outage=False)
    acknowledged("corrupt=1% duplicate=5%", 3, outage=False)
    one_way("cut", 1)
    one_way("up.corrupt=1% up.duplicate=5%", 3)
