"""A real OTLP collector that is not ours: starts rotel, and says what it took.

Two witnesses of the same spans. rotel prints each span that it received (`printed()`), and sends on what it
decoded to a sink of ours (`received()`), where Python's own OTLP classes decode it again: that shows the fields
that the print leaves out, such as dropped counts, flags and tracestate.
"""

import gzip
import http.server
import importlib.util
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

STARTUP_SECONDS = 10


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sink:
    """An OTLP/HTTP endpoint that keeps the requests it gets."""

    def __init__(self):
        self.requests: list[ExportTraceServiceRequest] = []
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sink.requests.append(sink.read(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def read(self, body: bytes) -> ExportTraceServiceRequest:
        return ExportTraceServiceRequest.FromString(body)

    def close(self):
        self.server.shutdown()


class Rotel:
    """rotel on free ports, for the length of a `with`. Give `url` to an OTLP/HTTP exporter as its endpoint."""

    def __init__(self, port: int | None = None):
        """`port` for an exporter that has to know it before there is a collector."""
        self.port = port

    def __enter__(self):
        binary = pathlib.Path(importlib.util.find_spec("rotel").origin).with_name("rotel-agent")
        self.sink = Sink()
        self.dir = tempfile.TemporaryDirectory()
        self.log = pathlib.Path(self.dir.name, "rotel.log")
        port, grpc = self.port or free_port(), free_port()
        self.url, self.grpc = f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc}"
        self.process = subprocess.Popen(
            [str(binary), "start"]
            + ["--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", self.grpc]
            + ["--debug-log", "traces", "--debug-log-verbosity", "detailed"]
            + ["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", self.sink.url]
            + ["--pid-file", f"{self.dir.name}/pid", "--log-file", f"{self.dir.name}/log"],
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    text = self.log.read_text()
                    self.__exit__()
                    raise RuntimeError(f"rotel does not listen after {STARTUP_SECONDS} s:\n{text}")
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.sink.close()
        self.dir.cleanup()

    def wait_for(self, spans: int, seconds: float = 10) -> None:
        """Waits until both witnesses have so many spans; an error says what they have."""
        deadline = time.monotonic() + seconds
        while len(self.received()) < spans or len(self.printed()) < spans:
            if time.monotonic() > deadline:
                have = f"{len(self.received())} sent on, {len(self.printed())} printed"
                raise TimeoutError(f"{spans} spans expected, {have}:\n{self.log.read_text()}")
            time.sleep(0.05)

    def received(self) -> list[tuple]:
        """(resource, scope, span) of each span that rotel sent on, as OTLP messages."""
        return [
            (of_resource.resource, of_scope.scope, span)
            for request in list(self.sink.requests)
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def blocks(self) -> list[str]:
        """What rotel printed of each span, as it stands in its log."""
        blocks = re.split(r"^Span #\d+$", self.log.read_text(), flags=re.M)[1:]
        return [re.split(r"^(?:ResourceSpans|ScopeSpans) ", block, flags=re.M)[0] for block in blocks]

    def printed(self) -> list[dict]:
        """The ids and single-line fields that rotel printed of each span, under the names that rotel gives them."""
        spans = []
        for block in self.blocks():
            block = re.split(r"^(?:Attributes|Events|Links)\b", block, flags=re.M)[0]
            fields = re.findall(r"^ *([A-Z][A-Za-z ]*?) *: ?(.*)$", block, re.M)
            # A block that is still being written lacks this one; a span without a status has no line behind it.
            if "End time" in dict(fields):
                spans.append({name: value.strip() for name, value in fields})
        return spans


def value_of(any_value):
    """An OTLP AnyValue as a Python value."""
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(v) for v in any_value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(any_value.kvlist_value.values)
    return getattr(any_value, kind) if kind else None


def attributes_of(key_values) -> dict:
    """OTLP attributes as a dict; a key that stands twice is an error."""
    attributes = {}
    for kv in key_values:
        assert kv.key not in attributes, f"attribute {kv.key} twice"
        attributes[kv.key] = value_of(kv.value)
    return attributes
