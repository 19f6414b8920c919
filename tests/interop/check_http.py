"""HTTP both ways with Python and Node: each calls our axum service, which calls the other, which calls ours again.

Flask and requests, and Node's http, are under OpenTelemetry's automatic instrumentation; our services are traced by
the layers that we ship and by nothing else. One trace at one collector, with the tracestate and the baggage that its
caller sent, of which `secret` is not to leave our process.
"""

import requests

from collector import Rotel, attributes_of
from services import Ours, Service, chain_of, node, python

SERVER, CLIENT = 2, 3
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
BAGGAGE = "tenant.id=7%2C8%2B9%25,secret=1,user.name=Bl%C3%BCte%F0%9F%8C%B8"
CARRIED = {"tenant.id": "7,8+9%", "user.name": "Blüte🌸"}
PEERS = {"python": lambda: python("python_middle.py"), "node": lambda: node("middle.js")}
AGENTS = {"python": "python-requests/", "node": ""}


def call(url: str, flags: str | None) -> dict:
    """What the last service answers to a client that no instrumentation touches."""
    trace = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}", "tracestate": STATE} if flags else {}
    return requests.get(url, headers={"baggage": BAGGAGE} | trace, timeout=20).json()


def check_ours(chain: list[tuple], before: str, asked: str) -> None:
    """Names and attributes of our spans, by today's conventions for HTTP."""
    for service, span in chain:
        attributes = attributes_of(span.attributes)
        if not service.startswith("rust"):
            continue
        assert attributes["http.request.method"] == "GET" and attributes["http.response.status_code"] == 200, attributes
        assert span.status.code == 0, span
        if span.kind == CLIENT:
            assert span.name == "GET" and attributes["url.full"] == asked, span
            host, port = asked.split("/")[2].split(":")
            assert (attributes["server.address"], attributes["server.port"]) == (host, int(port)), attributes
        else:
            assert span.name == "GET /" and attributes["http.route"] == "/", span
            assert (attributes["url.path"], attributes["url.scheme"]) == ("/", "http"), attributes
            assert attributes["network.protocol.version"] == "1.1", attributes
            assert attributes["client.address"] == "127.0.0.1", attributes
    [first] = [span for service, span in chain if (service, span.kind) == ("rust first", SERVER)]
    assert attributes_of(first.attributes).get("user_agent.original", "").startswith(AGENTS[before]), first


def check_between(before: str, after: str) -> None:
    """`before` asks our first service, that asks `after`, that asks our last."""
    with Rotel() as rotel:
        with Ours("INTEROP_SERVICE", "rust last", rotel.url, arguments=["http"]) as last:
            with Service(PEERS[after](), after, rotel.url, last.url) as middle:
                with Ours("INTEROP_SERVICE", "rust first", rotel.url, middle.url, arguments=["http"]) as first:
                    with Service(PEERS[before](), before, rotel.url, first.url) as outer:
                        # Unsampled first, so that what it must not export has the longest time to arrive.
                        unsampled = call(outer.url, "00")
                        assert (unsampled["trace_id"], unsampled["is_sampled"]) == (TRACE, False), unsampled
                        assert (unsampled["trace_state"], unsampled["baggage"]) == (STATE, CARRIED), unsampled
                        answer, root = call(outer.url, "01"), call(outer.url, None)
                        assert (answer["trace_id"], answer["is_sampled"]) == (TRACE, True), answer
                        assert (answer["trace_state"], answer["baggage"]) == (STATE, CARRIED), answer
                        assert root["trace_id"] != TRACE and root["is_sampled"] and root["trace_state"] == "", root
                        for peer in (outer, middle):
                            peer.wait_for_export(rotel, 2 * 2)
                        # What a peer does not have is the client's error, and the server's where it cannot help it.
                        absent = requests.get(f"{first.url}absent", timeout=20)
                        assert absent.status_code == (502 if after == "python" else 200), absent
        rotel.wait_for(2 * 7 + 2)

        expected = [(before, SERVER), (before, CLIENT), ("rust first", SERVER), ("rust first", CLIENT)]
        expected += [(after, SERVER), (after, CLIENT), ("rust last", SERVER)]
        for trace, parent, state, got in ((TRACE, PARENT, STATE, answer), (root["trace_id"], "", "", root)):
            chain = chain_of(rotel, trace, parent)
            assert [(service, span.kind) for service, span in chain] == expected, chain
            assert {span.trace_state for _, span in chain} == {state}, chain
            assert chain[-1][1].span_id.hex() == got["span_id"], (chain, got)
            check_ours(chain, before, middle.url)
        if after == "python":
            check_failure(rotel, {TRACE, root["trace_id"]})
        for ours, spans in ((first, 2), (last, 1)):
            assert ours.ledger["sampled_out"] == spans, ours.ledger
        print(f"{before}, axum, {after}, axum: one trace of 7 spans under a remote parent and one from a root, tracestate and baggage as sent")


def check_failure(rotel: Rotel, others: set[str]) -> None:
    """Our spans of the request for what the peer does not have: its 404, our 502."""
    ours = {}
    for resource, _, span in rotel.received():
        service = attributes_of(resource.attributes)["service.name"]
        if service == "rust first" and span.trace_id.hex() not in others:
            ours[span.kind] = (span, attributes_of(span.attributes))
    for kind, status in ((CLIENT, 404), (SERVER, 502)):
        span, attributes = ours[kind]
        assert attributes["http.response.status_code"] == status, attributes
        assert (attributes["error.type"], span.status.code) == (str(status), 2), span
    assert ours[CLIENT][0].parent_span_id == ours[SERVER][0].span_id, ours


if __name__ == "__main__":
    check_between("python", "node")
    check_between("node", "python")
