"""Runs spanlet's side: `examples/interop_peer`, which prints a line of JSON for all that it did."""

import contextlib
import json
import os
import pathlib
import subprocess

BINARY = pathlib.Path(os.environ["INTEROP_PEER"])
# Nothing of the environment that the tests run in may decide what is exported.
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_") and k not in ("TRACEPARENT", "TRACESTATE", "BAGGAGE")}
SERVICE = "interop peer"


def tool(variable: str) -> str:
    """A path that tests/gate/interop.sh hands over."""
    return os.environ[variable]


def environment(url: str, **more: str) -> dict[str, str]:
    return CLEAN | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": SERVICE} | more


def run(*arguments: str, url: str, **more: str) -> tuple[list[dict], dict]:
    """What it reports of its spans, and its ledger, which must balance."""
    done = subprocess.run(
        [BINARY, *arguments], env=environment(url, **more), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stderr, f"{arguments}: status {done.returncode}\n{done.stderr}"
    *spans, last = map(json.loads, done.stdout.splitlines())
    return spans, balanced(last)


def balanced(last: dict) -> dict:
    """The last line's ledger, if it accounts for every span."""
    ledger = last["ledger"]
    assert ledger["started"] == sum(ledger.values()) - ledger["started"] and last["missing"] == 0, last
    assert last["errors"] == [], last
    return ledger


class Server:
    """`interop_peer serve` for the length of a `with`; then `ledger` says what became of its spans."""

    def __init__(self, url: str):
        self.environment = environment(url, OTEL_SERVICE_NAME="rust server")

    def __enter__(self):
        self.process = subprocess.Popen(
            [BINARY, "serve"], env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://{json.loads(self.process.stdout.readline())['listens']}/"
        return self

    def __exit__(self, kind, *_):
        # The end of its input ends it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, _ = self.process.communicate(timeout=30)
            if kind is None:
                self.ledger = balanced(json.loads(out.splitlines()[-1]))
        self.process.kill()
        self.process.wait()
