"""Rust calls a Python service, which calls Rust: one trace, with what it carries, at one collector.

The Python service is Flask and requests under OpenTelemetry's automatic instrumentation, with its default
propagators. Python's baggage writes a space as `+` and takes a `;` for part of the value, which W3C Baggage
does not; both are left out here.
"""

import json

import requests

from collector import Rotel
import peer
from services import Service, chain_of, python

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
# As it is sent, and as it is meant. `secret` is not among what the peer lets out.
BAGGAGE = "tenant.id=7%2C8%2B9%25,secret=1,user.name=Bl%C3%BCte%F0%9F%8C%B8"
CARRIED = {"tenant.id": "7,8+9%", "user.name": "Blüte🌸"}
OWN, REMOTE = 0x101, 0x200

MALFORMED = [
    "",
    "garbage",
    f"00-{TRACE}-{PARENT}",
    f"00-{TRACE}-{PARENT}-1",
    f"00-{TRACE}-{PARENT}-01-extra",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-+{TRACE[1:]}-{PARENT}-01",
    f"ff-{TRACE}-{PARENT}-01",
    f"0-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-0x",
]


def call(url: str, collector: str, flags: str | None) -> tuple[dict, dict, dict]:
    """What the caller reports, what the last service answers, the caller's ledger."""
    trace = {"TRACEPARENT": f"00-{TRACE}-{PARENT}-{flags}", "TRACESTATE": STATE} if flags else {}
    [client], ledger = peer.run("call", url, url=collector, OTEL_SERVICE_NAME="rust client", BAGGAGE=BAGGAGE, **trace)
    return client, json.loads(client["more"]), ledger


def check_chain(rotel, client, answer, parent: str, state: str) -> None:
    """Four spans of three services, each the child of the one before."""
    chain = chain_of(rotel, client["trace_id"], parent)
    expected = [("rust client", 3), ("python middle", 2), ("python middle", 3), ("rust server", 2)]
    assert [(service, span.kind) for service, span in chain] == expected, chain
    spans = [span for _, span in chain]
    assert spans[0].span_id.hex() == client["span_id"] and spans[-1].span_id.hex() == answer["span_id"], chain
    assert {span.trace_state for span in spans} == {state}, chain
    # The sampled flag holds all along. Python's exporter leaves it out of its own spans' flags.
    assert spans[0].flags & ~0x02 == OWN | (REMOTE if parent else 0), spans[0]
    assert spans[-1].flags & ~0x02 == OWN | REMOTE, spans[-1]


def main() -> None:
    with Rotel() as rotel:
        with (
            peer.Server(rotel.url) as server,
            Service(python("python_middle.py"), "python middle", rotel.url, server.url) as middle,
        ):
            # Unsampled first, so that what it must not export has the longest time to arrive.
            client, answer, ledger = call(middle.url, rotel.url, "00")
            assert (client["trace_id"], answer["trace_id"]) == (TRACE, TRACE), (client, answer)
            assert not answer["is_recording"], answer
            assert (answer["trace_state"], answer["baggage"]) == (STATE, CARRIED), answer
            assert (ledger["sampled_out"], ledger["exported"]) == (1, 0), ledger
            unsampled = {client["span_id"], answer["span_id"]}

            client, answer, ledger = call(middle.url, rotel.url, "01")
            assert client["trace_id"] == answer["trace_id"] == TRACE, (client, answer)
            assert answer["is_recording"] and answer["fault"] is None, answer
            assert (answer["trace_state"], answer["baggage"]) == (STATE, CARRIED), answer
            assert (ledger["sampled_out"], ledger["exported"]) == (0, 1), ledger
            root = call(middle.url, rotel.url, None)
            assert root[0]["trace_id"] == root[1]["trace_id"] != TRACE, root

            # Straight from a Python client, as it came.
            fresh = []
            for header in MALFORMED:
                headers = {"traceparent": header, "tracestate": STATE, "baggage": "tenant.id=7"}
                got = requests.get(server.url, headers=headers, timeout=10).json()
                assert got["is_recording"] and got["trace_id"] != TRACE, (header, got)
                assert (got["trace_state"], got["baggage"]) == ("", {"tenant.id": "7"}), (header, got)
                assert got["fault"] and "traceparent" in got["fault"], (header, got)
                fresh.append(got)
            middle.wait_for_export(rotel, 4)
            assert len({got["trace_id"] for got in fresh}) == len(MALFORMED), fresh
        sent = 2 + len(MALFORMED)
        exported = {k: v for k, v in server.ledger.items() if v}
        assert exported == {"started": sent + 1, "exported": sent, "sampled_out": 1}, exported

        rotel.wait_for(2 * 4 + len(MALFORMED))
        check_chain(rotel, client, answer, PARENT, STATE)
        check_chain(rotel, root[0], root[1], "", "")
        received = {span.span_id.hex(): span for _, _, span in rotel.received()}
        assert len(received) == len(rotel.received()) == 2 * 4 + len(MALFORMED), "more spans than were sampled"
        assert not unsampled & received.keys()
        for got in fresh:
            span = received[got["span_id"]]
            # A root: no parent, no state, and the other side unknown to be remote.
            assert (span.trace_id.hex(), span.parent_span_id, span.trace_state) == (got["trace_id"], b"", ""), span
            assert span.flags & ~0x02 == OWN, span
    print("Rust, Python, Rust: one trace of 4 spans under a remote parent, and one from a root, tracestate and baggage as sent")
    print("unsampled: context, tracestate and baggage went through, nothing was exported")
    print(f"{len(MALFORMED)} malformed traceparents of a Python client: a fresh trace each, baggage kept")


if __name__ == "__main__":
    main()
