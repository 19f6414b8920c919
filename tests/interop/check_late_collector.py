"""A collector that comes late, requests of limited size, more spans than there is room for: sent again or counted."""

import json
import subprocess
import time

from collector import Rotel, free_port
import peer

LATE_SECONDS = 1
SPANS = 19
BURST = 20_000


def late() -> None:
    """The first attempts find nobody. No span is lost, none comes twice."""
    port = free_port()
    began = time.monotonic()
    process = subprocess.Popen(
        [peer.BINARY, "spans"],
        env=peer.environment(f"http://127.0.0.1:{port}", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="7"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # All have ended; what follows is its attempts to send them.
        reported = [json.loads(process.stdout.readline()) for _ in range(SPANS)]
        time.sleep(LATE_SECONDS)
        assert process.poll() is None, "it gave up before there was a collector"
        with Rotel(port) as rotel:
            out, _ = process.communicate(timeout=30)
            took = time.monotonic() - began
            ledger = peer.balanced(json.loads(out))
            rotel.wait_for(len(reported))
            received = [span.span_id.hex() for _, _, span in rotel.received()]
            assert sorted(received) == sorted(span["span_id"] for span in reported), (received, reported)
            assert ledger["exported"] == len(reported) and took > LATE_SECONDS, ledger
            print(f"collector {LATE_SECONDS} s late: all {len(received)} spans, once each, after {took:.1f} s")
    finally:
        process.kill()
        process.wait()


def burst() -> None:
    """Much more than the rings, the queue or a request hold: what rotel has is what the ledger says."""
    with Rotel() as rotel:
        _, ledger = peer.run("burst", str(BURST), url=rotel.url, OTEL_BSP_SCHEDULE_DELAY="100")
        assert ledger["started"] == BURST and ledger["exported"] > 0, ledger
        rotel.wait_for(ledger["exported"], 30)
        received = [span.span_id for _, _, span in rotel.received()]
        assert len(received) == len(set(received)) == ledger["exported"], (len(received), ledger)
        lost = {cause: n for cause, n in ledger.items() if n and cause not in ("started", "exported")}
        print(f"{BURST} spans at once: {len(received)} at rotel, the rest {lost or 'none'}, as the ledger has it")


if __name__ == "__main__":
    late()
    burst()
