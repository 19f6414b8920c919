"""The machinery itself: spans of Python's OpenTelemetry SDK pass rotel whole, seen by both witnesses."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from collector import Rotel, attributes_of

SENT = {"s": "text", "i": -5, "f": 2.5, "b": True, "raw": b"\x00\xff", "ints": [1, 2], "words": ["a", "b"]}


def main() -> None:
    with Rotel() as rotel:
        provider = TracerProvider(
            resource=Resource.create({"service.name": "interop"}), span_limits=SpanLimits(max_span_attributes=len(SENT))
        )
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{rotel.url}/v1/traces")))
        tracer = provider.get_tracer("scope", "1.2")
        elsewhere = SpanContext(0x10, 0x20, True, TraceFlags(1))
        with tracer.start_as_current_span("parent", kind=SpanKind.SERVER) as parent:
            with tracer.start_as_current_span("child", links=[Link(elsewhere, {"l": 1})]) as child:
                child.set_attributes({"dropped": 1} | SENT)
                child.add_event("event", {"k": "v"})
                child.set_status(Status(StatusCode.ERROR, "bad"))
        provider.shutdown()
        rotel.wait_for(2)

        received = {span.name: (resource, scope, span) for resource, scope, span in rotel.received()}
        resource, scope, got = received["child"]
        assert attributes_of(resource.attributes)["service.name"] == "interop"
        assert (scope.name, scope.version) == ("scope", "1.2")
        assert got.trace_id == parent.get_span_context().trace_id.to_bytes(16, "big")
        assert got.parent_span_id == parent.get_span_context().span_id.to_bytes(8, "big")
        assert got.span_id == child.get_span_context().span_id.to_bytes(8, "big")
        assert attributes_of(got.attributes) == SENT and got.dropped_attributes_count == 1
        assert [(e.name, attributes_of(e.attributes)) for e in got.events] == [("event", {"k": "v"})]
        # Python's exporter leaves a link's tracestate out.
        assert [(l.span_id[-1], attributes_of(l.attributes)) for l in got.links] == [(0x20, {"l": 1})]
        assert (got.status.code, got.status.message) == (2, "bad")
        assert received["parent"][2].kind == 2

        printed = {span["Name"]: span for span in rotel.printed()}
        assert printed["child"]["Trace ID"] == got.trace_id.hex()
        assert printed["child"]["Parent ID"] == printed["parent"]["ID"]
        assert printed["child"]["Status code"] == "STATUS_CODE_ERROR"
    print("rotel printed and sent on 2 spans of the Python SDK: every field as it was sent")


if __name__ == "__main__":
    main()
