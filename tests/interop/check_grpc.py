"""gRPC both ways with a Python peer: Python asks our tonic service, which asks Python, which asks ours again.

Python's side is grpcio under OpenTelemetry's automatic instrumentation; ours is traced by the layers that we
ship. One trace at one collector, with the tracestate and the baggage that its caller sent.
"""

import json
import subprocess

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from collector import Rotel, attributes_of
from services import Ours, Service, chain_of, python

METHOD = "/spanlet.interop.Relay/Ask"
SERVER, CLIENT = 2, 3
NOT_FOUND = 5
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
BAGGAGE = "tenant.id=7%2C8%2B9%25,secret=1,user.name=Bl%C3%BCte%F0%9F%8C%B8"
CARRIED = {"tenant.id": "7,8+9%", "user.name": "Blüte🌸"}


def call(address: str, text: str, **metadata: str) -> dict:
    """What the last service answers to a client that no instrumentation touches."""
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(METHOD, StringValue.SerializeToString, StringValue.FromString)
        return json.loads(ask(StringValue(value=text), metadata=tuple(metadata.items()), timeout=20).value)


def check_ours(spans: list, address: str) -> None:
    """Name and attributes of our spans, by today's conventions for RPC."""
    for span in spans:
        attributes = attributes_of(span.attributes)
        assert span.name == "spanlet.interop.Relay/Ask", span
        assert attributes["rpc.system.name"] == "grpc", attributes
        assert attributes["rpc.method"] == "spanlet.interop.Relay/Ask", attributes
        assert attributes["rpc.response.status_code"] in ("OK", "NOT_FOUND"), attributes
        if span.kind == CLIENT:
            host, port = address.split(":")
            assert (attributes["server.address"], attributes["server.port"]) == (host, int(port)), attributes


def main() -> None:
    with Rotel() as rotel:
        with Ours("INTEROP_SERVICE", "rust last", rotel.url, arguments=["grpc"]) as last:
            with Service(python("grpc_peer.py", "serve"), "python middle", rotel.url, last.address) as middle:
                middle_url = f"http://{middle.address}"
                with Ours("INTEROP_SERVICE", "rust first", rotel.url, middle_url, arguments=["grpc"]) as first:
                    check(rotel, first, middle, last)
        wanted = [{"started": 2 * 3 + 2, "sampled_out": 2, "exported": 6}, {"started": 4, "sampled_out": 1, "exported": 3}]
        for ours, counts in zip((first, last), wanted):
            got = {cause: n for cause, n in ours.ledger.items() if n}
            assert got == counts, f"{ours.ledger}, not {counts}"


def check(rotel: Rotel, first: Ours, middle: Service, last: Ours) -> None:
    # Unsampled first, so that what it must not export has the longest time to arrive.
    carried = {"tracestate": STATE, "baggage": BAGGAGE}
    unsampled = call(first.address, "x", traceparent=f"00-{TRACE}-{PARENT}-00", **carried)
    assert (unsampled["trace_id"], unsampled["is_sampled"]) == (TRACE, False), unsampled
    assert (unsampled["trace_state"], unsampled["baggage"]) == (STATE, CARRIED), unsampled

    answer = call(first.address, "x", traceparent=f"00-{TRACE}-{PARENT}-01", **carried)
    assert (answer["trace_id"], answer["is_sampled"]) == (TRACE, True), answer
    assert (answer["trace_state"], answer["baggage"]) == (STATE, CARRIED), answer

    # A Python client that is traced, from a root of its own; and an error that comes back all the way.
    environment = middle.environment | {"DOWNSTREAM": first.address, "OTEL_SERVICE_NAME": "python client"}
    texts = ["x", "absent"]
    asked = [
        subprocess.run(python("grpc_peer.py", "ask", text), env=environment, capture_output=True, text=True, timeout=60)
        for text in texts
    ]
    roots = [json.loads(done.stdout) for done in asked]
    assert roots[0]["is_sampled"], asked[0]
    assert roots[1] == {"status": "NOT_FOUND", "details": "no such thing"}, asked[1]
    middle.wait_for_export(rotel, 3 * 2)
    rotel.wait_for(3 * 5 + 2)

    tail = [("rust first", SERVER), ("rust first", CLIENT), ("python middle", SERVER), ("python middle", CLIENT), ("rust last", SERVER)]
    chains = [chain_of(rotel, TRACE, PARENT)]
    assert [(service, span.kind) for service, span in chains[0]] == tail, chains[0]
    assert {span.trace_state for _, span in chains[0]} == {STATE}, chains[0]
    assert chains[0][-1][1].span_id.hex() == answer["span_id"], answer

    traces = {span.trace_id.hex() for _, _, span in rotel.received()} - {TRACE}
    assert len(traces) == len(texts) and roots[0]["trace_id"] in traces, traces
    for trace in traces:
        chain = chain_of(rotel, trace, "")
        assert [(service, span.kind) for service, span in chain] == [("python client", CLIENT), *tail], chain
        failed = trace != roots[0]["trace_id"]
        ours = [span for service, span in chain if service.startswith("rust")]
        codes = [span.status.code for span in ours]
        # NOT_FOUND is an error of the client's, not of the server's.
        assert codes == ([0, 2, 0] if failed else [0, 0, 0]), ours
        statuses = {attributes_of(span.attributes)["rpc.response.status_code"] for span in ours}
        assert statuses == ({"NOT_FOUND"} if failed else {"OK"}), ours
        chains.append(chain)
    for chain in chains:
        check_ours([span for service, span in chain if service.startswith("rust")], middle.address)
    print("Python, tonic, Python, tonic by gRPC: one trace each of 5 spans under a remote parent and of 6 from a root")
    print("tracestate and baggage as sent, unsampled stays unsampled, NOT_FOUND comes back and is the client's error")


if __name__ == "__main__":
    main()
