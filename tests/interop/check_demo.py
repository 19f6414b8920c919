"""The demo's spans at rotel: those of its `--json` file, field by field, from the device's through every service's."""

import base64
import json
import os
import pathlib
import subprocess
import tempfile

from collector import Rotel, attributes_of
import peer

KINDS = ["internal", "server", "client", "producer", "consumer"]
STATUSES = ["unset", "ok", "error"]
SEED = 7


def filled(fields: dict) -> dict:
    """Without what is empty or zero: the file leaves it out."""
    return {key: value for key, value in fields.items() if value not in ("", 0, [], {})}


def plain(attributes) -> dict:
    def value(v):
        if isinstance(v, dict):
            return {key: value(inner) for key, inner in v.items()}
        if isinstance(v, list):
            return [value(inner) for inner in v]
        return {"bytesValue": base64.b64encode(v).decode()} if isinstance(v, bytes) else v

    return value(attributes_of(attributes))


def as_line(resource, scope, span) -> dict:
    """A span of the collector's in the words of the JSON file."""
    attributes = plain(resource.attributes)
    status = {"code": STATUSES[span.status.code]} | ({"message": span.status.message} if span.status.message else {})
    return filled(
        {
            "traceId": span.trace_id.hex(),
            "spanId": span.span_id.hex(),
            "parentSpanId": span.parent_span_id.hex(),
            "traceState": span.trace_state,
            "flags": span.flags,
            "name": span.name,
            "service": attributes["service.name"],
            "kind": KINDS[span.kind - 1],
            "startTimeUnixNano": str(span.start_time_unix_nano),
            "endTimeUnixNano": str(span.end_time_unix_nano),
            "status": {} if status == {"code": "unset"} else status,
            "attributes": plain(span.attributes),
            "droppedAttributesCount": span.dropped_attributes_count,
            "events": [
                {"timeUnixNano": str(e.time_unix_nano), "name": e.name}
                | filled({"attributes": plain(e.attributes), "droppedAttributesCount": e.dropped_attributes_count})
                for e in span.events
            ],
            "droppedEventsCount": span.dropped_events_count,
            "links": [
                {"traceId": x.trace_id.hex(), "spanId": x.span_id.hex()}
                | filled({"traceState": x.trace_state, "flags": x.flags, "attributes": plain(x.attributes)})
                | filled({"droppedAttributesCount": x.dropped_attributes_count})
                for x in span.links
            ],
            "droppedLinksCount": span.dropped_links_count,
            "resource": attributes,
            "scope": filled({"name": scope.name, "version": scope.version}),
        }
    )


def main() -> None:
    with Rotel() as rotel, tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory, "spans.jsonl")
        done = subprocess.run(
            [os.environ["SPANLET_BIN"], "demo", "--seed", str(SEED), "--otlp", rotel.url, "--json", file],
            env=peer.CLEAN,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stderr}\n{done.stdout}"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        by_id = {line["spanId"]: line for line in lines}
        assert len(by_id) == len(lines) > 0, "a span twice, or none, in the file"
        assert f"{len(lines)} spans" in done.stdout, done.stdout
        rotel.wait_for(len(lines))

        received = {span.span_id.hex(): as_line(r, s, span) for r, s, span in rotel.received()}
        assert len(received) == len(rotel.received()) == len(lines)
        for span_id, line in by_id.items():
            assert received[span_id] == line, f"sent  {line}\nrotel {received[span_id]}"
        printed = sorted((p["Trace ID"], p["ID"], p["Parent ID"]) for p in rotel.printed())
        assert printed == sorted((x["traceId"], x["spanId"], x.get("parentSpanId", "")) for x in lines)
        # One trace from a device to the last service, and a queue's message that is a link.
        largest = max({x["traceId"] for x in lines}, key=lambda t: sum(x["traceId"] == t for x in lines))
        trace = [x for x in received.values() if x["traceId"] == largest]
        roots = [x for x in trace if x.get("parentSpanId") not in received]
        assert len(roots) == 1, roots
        services = {x["service"] for x in trace}
        assert {"api-gateway", "order-service", "payment-service", "fraud-check"} < services and len(services) >= 6, services
        links = [link for x in received.values() for link in x.get("links", [])]
        assert links and all(link["spanId"] in received for link in links), links
    print(f"demo: {len(lines)} spans at rotel as in its JSON file; one trace of {len(trace)} spans over {', '.join(sorted(services))}")


if __name__ == "__main__":
    main()
