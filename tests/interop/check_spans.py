"""Everything that a span of spanlet can hold, as rotel took it, by each protocol, plain and through gzip."""

import base64
import collections
import http.client
import http.server
import json
import math
import threading
import urllib.parse

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import Rotel, Sink, attributes_of
import peer

LIMITS = {
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "24",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "4",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "3",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "3",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "2",
    # Within a two-byte letter.
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "63",
}
SAMPLED, RANDOM, HAS_REMOTE, REMOTE = 0x01, 0x02, 0x100, 0x200
OWN = SAMPLED | RANDOM | HAS_REMOTE
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
# Between two readings of two clocks.
TOLERANCE_NANOS = 5_000_000

VALUES = {
    "static": "constant",
    "copied": "made at run time",
    "empty": "",
    "unicode": 'größer 🚀 \0 "quoted"\n',
    "schlüssel.größe": 1,
    "true": True,
    "false": False,
    "i64.min": -(2**63),
    "i64.max": 2**63 - 1,
    "f64.nan": math.nan,
    "f64.minus.zero": -0.0,
    "f64.tiny": 5e-324,
    "bytes": b"\0\xff\x80",
    "bools": [True, False],
    "ints": [-(2**63), 0, 2**63 - 1],
    "doubles": [0.5, -math.inf],
    "texts": ["a", "", "🚀"],
    "no.texts": [],
    "map": {"n": 7, "s": ["x", True]},
    "set.twice": 2,
}
# OTLP/JSON says "NaN" and "-Infinity"; rotel does not read them there. What it gets instead:
FINITE = {"f64.nan": 0.1, "doubles": [0.5, 1e300]}
# Of those, what the collector's own print shows on one line and without rounding.
VALUES_PRINTED = """
     -> static: Str(constant)
     -> schlüssel.größe: Int(1)
     -> true: Bool(true)
     -> i64.min: Int(-9223372036854775808)
     -> f64.nan: Double(NaN)
     -> f64.minus.zero: Double(-0)
     -> bytes: Bytes([0, 255, 128])
     -> bools: Slice(Bool(true), Bool(false))
     -> ints: Slice(Int(-9223372036854775808), Int(0), Int(9223372036854775807))
     -> doubles: Slice(Double(0.5), Double(-inf))
     -> texts: Slice(Str(a), Str(), Str(🚀))
     -> map: Map(n:Int(7), s:Slice(Str(x), Bool(true)))
     -> set.twice: Int(2)
"""
KINDS = ["internal", "server", "client", "producer", "consumer"]
# How each says it to HTTP; gRPC says nothing to it.
PROTOCOLS = {"http/protobuf": "application/x-protobuf", "http/json": "application/json", "grpc": None}


class Tap:
    """Passes requests on to a collector and keeps what their headers said."""

    def __init__(self, target: str):
        tap, self.headers = self, []
        host = urllib.parse.urlsplit(target).netloc

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                tap.headers.append(self.headers)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                onward = http.client.HTTPConnection(host, timeout=10)
                onward.request("POST", self.path, body, dict(self.headers))
                answer = onward.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.getheader("Content-Type", "application/x-protobuf"))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def exactly(value):
    """For comparisons that tell -0.0 from 0.0, True from 1, and take NaN as equal to itself."""
    if isinstance(value, dict):
        return {key: exactly(v) for key, v in value.items()}
    if isinstance(value, list):
        return [exactly(v) for v in value]
    return repr(value)


def same(got, wanted, what="") -> None:
    assert exactly(got) == exactly(wanted), f"{what}\ngot    {got!r}\nwanted {wanted!r}"


def check(protocol: str, compression: str) -> int:
    finite = protocol == "http/json"
    with Rotel() as rotel:
        # What the headers say is seen in between; gRPC goes straight there.
        tap = Tap(rotel.url) if PROTOCOLS[protocol] else None
        reported, ledger = peer.run(
            *(["spans", "finite"] if finite else ["spans"]),
            url=tap.url if tap else f"http://{rotel.grpc}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_COMPRESSION=compression,
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=te%2Cst,set.in.code=in the environment",
            **LIMITS,
        )
        rotel.wait_for(len(reported))
        if tap:
            assert tap.headers, "nothing went by"
            for headers in tap.headers:
                assert headers["Content-Encoding"] == (compression if compression == "gzip" else None), headers
                assert headers["Content-Type"] == PROTOCOLS[protocol], headers
                assert headers["User-Agent"].startswith("OTel-OTLP-Exporter-Rust"), headers
            tap.server.shutdown()

        received = rotel.received()
        wanted = {"started": len(reported) + 1, "sampled_out": 1, "exported": len(received)}
        same({k: v for k, v in ledger.items() if v}, wanted)
        same(len(received), len(reported))
        check_identity(reported, received, rotel)
        check_contents(reported, {span.name: span for _, _, span in received}, rotel, FINITE if finite else {})
        check_places(rotel, received)
        return len(received)


def check_identity(reported, received, rotel) -> None:
    """Ids and parents: what the program said of itself, and what either witness has."""
    of_program = sorted((r["trace_id"], r["span_id"], r["parent_id"] or "") for r in reported)
    same(sorted((s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex()) for _, _, s in received), of_program)
    printed = {p["ID"]: p for p in rotel.printed()}
    same(sorted((p["Trace ID"], p["ID"], p["Parent ID"]) for p in printed.values()), of_program)
    for _, _, span in received:
        assert span.start_time_unix_nano <= span.end_time_unix_nano, span
        kind = KINDS[span.kind - 1]
        assert span.name.removeprefix("kind ") == kind or (kind == "internal" and "kind" not in span.name), span
        status = ["", "STATUS_CODE_OK", "STATUS_CODE_ERROR"][span.status.code]
        shown = printed[span.span_id.hex()]
        same(
            [shown.get(k, "") for k in ("Name", "Kind", "Start time", "End time", "TraceState", "Status code", "Status message")],
            [span.name, f"SPAN_KIND_{kind.upper()}", str(span.start_time_unix_nano), str(span.end_time_unix_nano)]
            + [span.trace_state, status, span.status.message],
        )
        is_remote = REMOTE if span.name == "remote parent" else 0
        same(span.flags, OWN | is_remote, f"flags of {span.name}")
        same(span.trace_state, STATE if span.name in ("remote parent", "inside it") else "", span.name)


def check_contents(reported, spans, rotel, instead: dict) -> None:
    more = {bytes.fromhex(r["span_id"]): r["more"] for r in reported}
    blocks = {name: next(b for b in rotel.blocks() if f"\n    ID             : {span.span_id.hex()}\n" in b) for name, span in spans.items()}
    root = spans["values"]

    same(attributes_of(root.attributes), VALUES | instead)
    for line in VALUES_PRINTED.strip().splitlines():
        assert any(key in line for key in instead) or line.strip() in blocks["values"], f"{line} not in\n{blocks['values']}"

    events = spans["events"]
    same(
        [(e.name, attributes_of(e.attributes)) for e in events.events],
        [("plain", {}), ("earlier", {}), ("with 🚀", {"n": -1, "s": "é"})],
    )
    plain, earlier, third = (e.time_unix_nano for e in events.events)
    assert events.start_time_unix_nano <= plain <= third <= events.end_time_unix_nano, events
    assert abs(earlier - more[events.span_id]["earlier"]) < TOLERANCE_NANOS, events
    assert "     -> Name: with 🚀\n" in blocks["events"] and "          -> n: Int(-1)\n" in blocks["events"]

    to, unsampled = spans["linked to"], ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    remote = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    links = [
        ((to.trace_id.hex(), to.span_id.hex()), OWN, "", {}),
        (unsampled, HAS_REMOTE | REMOTE, "", {"why": "not sampled"}),
        (remote, OWN | REMOTE, STATE, {"ok": True}),
    ]
    same(
        [((x.trace_id.hex(), x.span_id.hex()), x.flags, x.trace_state, attributes_of(x.attributes)) for x in spans["links"].links],
        links,
    )
    for (trace_id, span_id), _, state, _ in links:
        assert f"     -> Trace ID: {trace_id}\n     -> ID: {span_id}\n     -> TraceState: {state}\n" in blocks["links"]
    same((spans["remote parent"].trace_id.hex(), spans["remote parent"].parent_span_id.hex()), remote)
    same(spans["inside it"].parent_span_id, spans["remote parent"].span_id)

    failure = "invalid digit found in string"
    statuses = {"status ok": (1, ""), "status error": (2, "zu groß"), "error recorded": (2, failure)}
    for name, span in spans.items():
        same((span.status.code, span.status.message), statuses.get(name, (0, "")), name)
    [exception] = spans["error recorded"].events
    same(exception.name, "exception")
    same(
        attributes_of(exception.attributes),
        {"exception.type": "core::num::error::ParseIntError", "exception.message": failure},
    )

    timed = spans["timed"]
    for got, named in [(timed.start_time_unix_nano, "start"), (timed.end_time_unix_nano, "end")]:
        assert abs(got - more[timed.span_id][named]) < TOLERANCE_NANOS, (named, got, more[timed.span_id])
    # Thirty milliseconds lie between the time given as its end and the moment of the call.
    assert timed.end_time_unix_nano < spans["over the limits"].start_time_unix_nano - 20_000_000

    full = spans["over the limits"]
    same(attributes_of(full.attributes), {f"key.{i}": i for i in range(24)})
    dropped = (full.dropped_attributes_count, full.dropped_events_count, full.dropped_links_count)
    same((dropped, len(full.events), len(full.links)), ((6, 6, 7), 4, 3))
    for items, kept in ((full.events, 3), (full.links, 2)):
        for item in items:
            same((len(item.attributes), item.dropped_attributes_count), (kept, 5 - kept))
    counts = collections.Counter(line for line in blocks["over the limits"].splitlines() if "Dropped" in line)
    same(dict(counts), {"     -> DroppedAttributesCount: 2": 4, "     -> DroppedAttributesCount: 3": 3})
    cut = {"long": "ü" * 31, "list": ["x" * 63, "short"], "spanlet.truncated_values": 2}
    same(attributes_of(spans["cut values"].attributes), cut)
    for name, span in spans.items():
        if name != "over the limits":
            same((span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count), (0, 0, 0), name)
    same({"renamed 1", "kind client", "of a library"} - spans.keys(), set())
    assert "old name" not in spans and "unsampled" not in spans


def check_places(rotel, received) -> None:
    """Resource and scope."""
    for resource, scope, span in received:
        attributes = attributes_of(resource.attributes)
        assert attributes.pop("telemetry.sdk.version")
        same(
            attributes,
            {
                "deployment.environment.name": "te,st",
                "service.name": peer.SERVICE,
                # What code sets goes before the environment.
                "set.in.code": "größer als 3",
                "telemetry.sdk.language": "rust",
                "telemetry.sdk.name": "spanlet",
            },
        )
        same((scope.name, scope.version), ("interop.library", "4.5.6") if span.name == "of a library" else ("interop_peer", ""))
    of_scopes = [s for request in rotel.sink.requests for r in request.resource_spans for s in r.scope_spans]
    for of_scope in of_scopes:
        schema = "https://opentelemetry.io/schemas/1.37.0" if of_scope.scope.name == "interop.library" else ""
        same(of_scope.schema_url, schema)
    text = rotel.log.read_text()
    for line in (
        "     -> set.in.code: Str(größer als 3)\n",
        "InstrumentationScope interop.library 4.5.6\n",
        "ScopeSpans SchemaURL: https://opentelemetry.io/schemas/1.37.0\n",
    ):
        assert line in text, f"{line!r} not in\n{text}"


def check_json() -> int:
    """OTLP/JSON as Python's protobuf library reads it, doubles that are no numbers included."""

    def in_base64(value):
        """The ids, which OTLP/JSON has in hex, as protobuf's JSON has bytes."""
        if isinstance(value, list):
            return [in_base64(v) for v in value]
        if not isinstance(value, dict):
            return value
        ids = ("traceId", "spanId", "parentSpanId")
        return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ids else in_base64(v) for k, v in value.items()}

    class Reader(Sink):
        def read(self, body: bytes) -> ExportTraceServiceRequest:
            return json_format.ParseDict(in_base64(json.loads(body)), ExportTraceServiceRequest())

    sink = Reader()
    reported, _ = peer.run("spans", url=sink.url, OTEL_EXPORTER_OTLP_PROTOCOL="http/json", **LIMITS)
    sink.close()
    spans = [span for request in sink.requests for r in request.resource_spans for s in r.scope_spans for span in s.spans]
    same(len(spans), len(reported))
    [values] = [span for span in spans if span.name == "values"]
    same(attributes_of(values.attributes), VALUES)
    return len(spans)


if __name__ == "__main__":
    for protocol in PROTOCOLS:
        for compression in ("none", "gzip"):
            count = check(protocol, compression)
            print(f"rotel printed and sent on {count} spans by {protocol}, compression {compression}: each field as it was set, ledger equal")
    print(f"OTLP/JSON of {check_json()} spans is what Python's protobuf library reads, NaN and infinities included")
