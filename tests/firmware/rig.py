"""Firmware in QEMU with what is around it: the gateway, and a service that the device calls and that calls the device.

Each is a context manager over one process. QEMU runs in real time; its UARTs are TCP connections.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

SPANLET = os.environ["SPANLET_BIN"]
SERVICE = os.environ["FAN_SERVICE"]


def wait_until(what: str, done, seconds: float = 30):
    """Polls until `done` gives something; that is returned."""
    deadline = time.monotonic() + seconds
    while not (result := done()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return result


class Process:
    def __init__(self, arguments: list[str], **more):
        self.process = subprocess.Popen(arguments, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Lines(threading.Thread):
    """Reads a pipe to its end, so that nobody waits for us."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.lines = pipe, []
        self.start()

    def run(self):
        for line in self.pipe:
            self.lines.append(line.rstrip("\n"))

    def find(self, pattern: str):
        return next((m for line in list(self.lines) if (m := re.search(pattern, line))), None)


class Gateway(Process):
    """`spanlet gateway` on free ports."""

    def __init__(self, *arguments: str):
        super().__init__(
            [SPANLET, "gateway", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--stats", "0", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OTEL_BSP_SCHEDULE_DELAY": "100"},
        )
        self.said = Lines(self.process.stderr)
        self.port = int(wait_until("the gateway listens", lambda: self.said.find(r"^listening at .*:(\d+)$"))[1])
        self.control = wait_until("it takes commands", lambda: self.said.find(r"(http://\S+)$"))[1]

    def stop(self) -> dict[str, dict[str, int]]:
        """Ends it. Its ledger, per device: `started`, and what became of them."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self.said.join(10)
        assert status == 0, "\n".join(self.said.lines)
        ledgers = {}
        for line in self.said.lines:
            if match := re.match(r"(\S+): (\d+) started = (\d+ exported[^;]*)", line):
                parts = (part.split(" ", 1) for part in match[3].split(" + "))
                ledger = {what: int(n) for n, what in parts}
                assert int(match[2]) == sum(ledger.values()), line
                ledgers[match[1]] = ledger | {"started": int(match[2])}
        return ledgers


class Service(Process):
    """examples/fan_service.rs."""

    def __init__(self, commands: str, otlp: str):
        super().__init__(
            [SERVICE, "127.0.0.1:0", commands],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp, "OTEL_BSP_SCHEDULE_DELAY": "100"},
        )
        self.port = int(json.loads(self.process.stdout.readline())["listens"].rsplit(":", 1)[1])

    def stop(self) -> dict[str, int]:
        out, _ = self.process.communicate(timeout=20)
        told = json.loads(out)
        assert self.process.returncode == 0 and told["missing"] == 0, out
        return told["ledger"]


class Device(Process):
    """Firmware on a board of QEMU: `uarts` are what its UARTs lead to, a TCP port each or None."""

    def __init__(self, elf: str, board: str, *uarts: int | None):
        self.dir = tempfile.TemporaryDirectory()
        serial = []
        for n, port in enumerate(uarts):
            if port is None:
                serial += ["-serial", f"file:{self.dir.name}/uart{n}"]
            else:
                chardev = f"socket,id=uart{n},host=127.0.0.1,port={port},nodelay=on"
                serial += ["-chardev", chardev, "-serial", f"chardev:uart{n}"]
        super().__init__(
            ["qemu-system-arm", "-M", board, "-display", "none", "-monitor", "none", *serial]
            + ["-semihosting-config", "enable=on,target=native", "-kernel", elf],
            stdin=subprocess.DEVNULL,
        )

    def __exit__(self, *_):
        super().__exit__()
        self.dir.cleanup()

    def written(self, uart: int) -> bytes:
        """What went to a UART that leads nowhere."""
        with open(f"{self.dir.name}/uart{uart}", "rb") as file:
            return file.read()
