"""Services of other makers, and ours among them, each a process that asks the next one."""

import json
import pathlib
import socket
import subprocess
import sys
import time

from collector import Rotel, attributes_of, free_port
import peer

HERE = pathlib.Path(__file__).parent
STARTUP_SECONDS = 30
# Between two readings of the clocks of two processes; Node reads its own only to a millisecond.
TOLERANCE_NANOS = 5_000_000


class Service:
    """A process that listens on PORT and knows nothing of tracing, under somebody's automatic instrumentation.

    It asks DOWNSTREAM. Its spans go to `collector` under `name`. For the length of a `with`.
    """

    def __init__(self, command: list, name: str, collector: str, downstream: str, **more: str):
        port = free_port()
        self.name, self.command = name, command
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}/"
        self.environment = peer.CLEAN | {
            "PORT": str(port),
            "DOWNSTREAM": downstream,
            "OTEL_SERVICE_NAME": name,
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            **more,
        }

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                socket.create_connection(self.address.split(":"), 0.2).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    raise RuntimeError(f"{self.name} does not listen:\n{self.process.communicate()[0].decode()}")
                time.sleep(0.05)

    def wait_for_export(self, rotel: Rotel, spans: int) -> None:
        """Waits until the collector has so many spans of this service: it is killed in the end, and would lose them."""
        deadline = time.monotonic() + 10
        while (count := sum(service_of(resource) == self.name for resource, _, _ in rotel.received())) < spans:
            assert time.monotonic() < deadline, f"{self.name} exported {count} spans, not {spans}"
            time.sleep(0.02)

    def __exit__(self, kind, *_):
        self.process.kill()
        out, _ = self.process.communicate()
        if kind:
            print(out.decode(), file=sys.stderr)


def python(program: str, *arguments: str) -> list:
    """The command of a Python program under OpenTelemetry's automatic instrumentation."""
    return [pathlib.Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, HERE / program, *arguments]


def node(program: str) -> list:
    """The command of a Node program under OpenTelemetry's http instrumentation."""
    modules = pathlib.Path(peer.tool("INTEROP_NODE_DIRECTORY"))
    return ["node", "--require", modules / "tracing.js", modules / program]


class Ours:
    """One of our example services for the length of a `with`; then `ledger` says what became of its spans."""

    def __init__(self, binary: str, name: str, collector: str, downstream: str = "", arguments: list = [], **more: str):
        self.command = [peer.tool(binary), *arguments]
        self.environment = peer.environment(collector, OTEL_SERVICE_NAME=name, DOWNSTREAM=downstream, **more)

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = json.loads(self.process.stdout.readline())["listens"]
        self.url = f"http://{self.address}/"
        return self

    def __exit__(self, kind, *_):
        # The end of its input ends it.
        try:
            out, _ = self.process.communicate(timeout=30)
            if kind is None:
                self.ledger = peer.balanced(json.loads(out.splitlines()[-1]))
        finally:
            self.process.kill()
            self.process.wait()


def service_of(resource) -> str:
    return attributes_of(resource.attributes)["service.name"]


def chain_of(rotel: Rotel, trace_id: str, parent: str) -> list[tuple]:
    """(service, span) of a trace at the collector, from the child of `parent` down; every span must be in the chain."""
    found = [(service_of(r), span) for r, _, span in rotel.received() if span.trace_id.hex() == trace_id]
    by_parent = {span.parent_span_id.hex(): (service, span) for service, span in found}
    chain, next_parent = [], parent
    while next_parent in by_parent:
        chain.append(by_parent[next_parent])
        next_parent = chain[-1][1].span_id.hex()
    assert len(chain) == len(found), f"{len(chain)} of {len(found)} spans are in the chain:\n{chain}\nof {found}"
    spans = [span for _, span in chain]
    starts = [span.start_time_unix_nano for span in spans]
    assert all(a <= b + TOLERANCE_NANOS for a, b in zip(starts, starts[1:])), chain
    printed = {p["ID"]: p["Parent ID"] for p in rotel.printed() if p["Trace ID"] == trace_id}
    assert printed == {span.span_id.hex(): span.parent_span_id.hex() for span in spans}, printed
    return chain
