#!/usr/bin/env python3
"""Reads request_metrics.txt with Prometheus' own parser (pip install prometheus_client) and checks what it finds."""
import pathlib
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

text = pathlib.Path(__file__).with_name("request_metrics.txt").read_text()
families = {family.name: family for family in parse(text)}
assert len(families) == 5, families
server = families["http_server_request_duration_seconds"]
assert (server.type, server.unit) == ("histogram", "seconds")
exemplars = {s.labels["le"]: s.exemplar for s in server.samples if s.exemplar}
assert exemplars["0.05"].labels == {"trace_id": "4b" * 16, "span_id": "f0" * 8}
assert exemplars["0.05"].value == 0.042 and exemplars["+Inf"].value == 20
assert any(s.labels.get("http_route") == '/"\\\n' for s in server.samples)
print(f"{len(families)} families, {sum(len(f.samples) for f in families.values())} samples: well-formed OpenMetrics")
