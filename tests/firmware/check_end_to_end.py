"""A device, the gateway, a service and a collector that is not ours: one trace, across and back, at honest times."""

import os
import re

import defmt_log
from collector import Rotel, attributes_of
from rig import Device, Gateway, Service, wait_until

CALLS = 12
CLIENT, SERVER = 3, 2
ERROR = 2
HAS_REMOTE, REMOTE = 0x100, 0x200
ELF = os.environ["FIRMWARE_EMBASSY"]


class Spans:
    """What the collector has, by id and by parent."""

    def __init__(self, rotel: Rotel):
        self.all, self.children = {}, {}
        for resource, _, span in rotel.received():
            assert span.span_id not in self.all, f"{span.name} came twice"
            self.all[span.span_id] = span
            self.children.setdefault(span.parent_span_id, []).append(span)
            self.services = getattr(self, "services", {})
            self.services[span.span_id] = attributes_of(resource.attributes)["service.name"]

    def of(self, service: str, name: str | None = None) -> list:
        return [s for i, s in self.all.items() if self.services[i] == service and name in (None, s.name)]

    def child(self, parent, service: str, name: str):
        """The one span of this name below `parent`, in its trace."""
        found = [s for s in self.children.get(parent.span_id, []) if (self.services[s.span_id], s.name) == (service, name)]
        assert len(found) == 1, f"{parent.name} has {len(found)} times {name} of {service} below it"
        assert found[0].trace_id == parent.trace_id
        return found[0]


def bound_ns(span) -> int:
    return attributes_of(span.attributes)["spanlet.clock.error_bound_ns"]


def is_complete(spans: Spans, call) -> bool:
    """Whether the call was answered in time, and everything that it led to has arrived, the device's own spans included."""
    return call.status.code != ERROR and {"POST /readings"} <= {s.name for s in spans.children.get(call.span_id, [])} and any(
        s.name == "set fan"
        for served in spans.children.get(call.span_id, [])
        for command in spans.children.get(served.span_id, [])
        for s in spans.children.get(command.span_id, [])
    )


def main() -> None:
    with Rotel() as rotel, Gateway("--otlp", rotel.url) as gateway:
        commands = f"{gateway.control}/devices/fan-0001/commands"
        with Service(commands, rotel.url) as service:
            with Device(ELF, "mps2-an386", gateway.port, None, service.port) as device:
                done = lambda: sum(is_complete(s, c) for s in [Spans(rotel)] for c in s.of("fan", "POST")) >= CALLS
                wait_until(f"{CALLS} calls there and back", done, 60)
                log = device.written(1)
            # What the device had sent when it was switched off.
            ledger = gateway.stop()["fan-0001"]
            service_ledger = service.stop()
        spans = wait_until(
            "all that was exported is at the collector",
            lambda: (s := Spans(rotel)) and len(s.of("fan")) >= ledger["exported"] and len(s.of("fan-service")) >= service_ledger["exported"] and s,
        )

    assert len(spans.of("fan")) == ledger["exported"] and len(spans.of("fan-service")) == service_ledger["exported"]
    lost = {what: n for what, n in ledger.items() if n and what not in ("started", "exported", "open", "pending on the device")}
    complete, slack, worst = 0, [], 0
    for call in spans.of("fan", "POST"):
        if not is_complete(spans, call):
            continue
        complete += 1
        # Device → cloud.
        reading = spans.all[call.parent_span_id]
        assert reading.name == "read sensor" and not reading.parent_span_id
        spans.child(reading, "fan", "conversion done")
        answer = spans.child(call, "fan", "answer")
        served = spans.child(call, "fan-service", "POST /readings")
        assert (call.kind, served.kind) == (CLIENT, SERVER)
        # Cloud → device.
        command = spans.child(served, "fan-service", "POST")
        fan = spans.child(command, "fan", "set fan")
        ramp = spans.child(fan, "fan", "ramp up")
        assert (command.kind, fan.kind) == (CLIENT, SERVER)
        assert attributes_of(fan.attributes)["fan.percent"] == attributes_of(command.attributes)["fan.percent"]
        for span, is_remote in [(served, True), (fan, True), (call, False), (ramp, False), (answer, False)]:
            assert span.flags & (HAS_REMOTE | REMOTE) == HAS_REMOTE | (REMOTE if is_remote else 0), (span.name, span.flags)
        # The host's clock is the gateway's and the service's: what caused what bounds how far the device's is off.
        bound = max(bound_ns(span) for span in (call, fan))
        for earlier, later, what in [
            (call.start_time_unix_nano, served.start_time_unix_nano, "the call starts before it is served"),
            (served.end_time_unix_nano, call.end_time_unix_nano, "it is served before the call ends"),
            (command.start_time_unix_nano, fan.start_time_unix_nano, "the command is given before the fan is set"),
        ]:
            assert earlier <= later + bound, f"{what}: off by {earlier - later} ns, of {bound} allowed"
            slack.append(later - earlier)
        worst = max(worst, bound)
        # The device's own spans: placed in different frames, each within its bound.
        for inner, outer in [(answer, call), (call, reading), (ramp, fan)]:
            assert inner.start_time_unix_nano <= inner.end_time_unix_nano
            apart = max(outer.start_time_unix_nano - inner.start_time_unix_nano, inner.end_time_unix_nano - outer.end_time_unix_nano)
            assert apart <= bound_ns(inner) + bound_ns(outer), f"{inner} is {apart} ns outside {outer}"
    assert complete >= CALLS
    # A bound that is never wrong because it is huge says nothing.
    assert worst < 500_000_000, f"the error bound is {worst} ns"

    fans = {span.span_id.hex(): span for span in spans.of("fan", "set fan")}
    logged = [m for line in defmt_log.lines(ELF, log) if (m := re.fullmatch(r"info fan to (\d+) % trace_id=(\w+) span_id=(\w+)", line))]
    known = [m for m in logged if m[3] in fans]
    assert len(known) >= complete, (len(known), complete)
    for percent, trace_id, span_id in (m.groups() for m in known):
        fan = fans[span_id]
        assert (fan.trace_id.hex(), attributes_of(fan.attributes)["fan.percent"]) == (trace_id, int(percent))
    print(
        f"{complete} calls device -> cloud -> device, each one trace; error bound at most {worst / 1e6:.2f} ms, "
        f"causes precede effects by {min(slack) / 1e6:.2f} ms or more; {len(known)} log lines with their span's ids; "
        f"{ledger['started']} spans started = {ledger['exported']} at the collector + {ledger.get('open', 0)} open + "
        f"{ledger.get('pending on the device', 0)} unsent{''.join(f' + {n} {what}' for what, n in lost.items())}"
    )


if __name__ == "__main__":
    main()
